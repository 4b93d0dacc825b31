"""Row 21 of `recurra bench`: a training step of a character model in JAX, whole under jit.

An embedding, recurrent layers and a head; cross entropy, gradients clipped by their norm, AdamW.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax_cells import layer, prepared
from turns import Arrays, Side, serve

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def build(case: dict[str, Any], arrays: Arrays) -> Side:
    """Return updates on windows of `ids` drawn at random, and the losses of those on `windows`."""
    start = begun(case, arrays)
    ids, windows = arrays["ids"], arrays["windows"]
    batch, steps = windows.shape[1], windows.shape[2] - 1
    update = partial(jax.jit(updated, static_argnums=0), Static(case))

    draw = np.random.default_rng(0)
    offsets = np.arange(steps + 1)
    last = [start]

    def turn() -> None:
        starts = draw.integers(len(ids) - steps, size=(batch, 1))
        last[0], _ = jax.block_until_ready(update(last[0], ids[starts + offsets]))

    def answer() -> Arrays:
        state, losses = start, []
        for window in windows:
            state, loss = update(state, window)
            losses.append(float(loss))
        return {"losses": np.array(losses)}

    return Side(turn, answer)


class Static:
    """The numbers of a case, which are compiled into it."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.cell, self.form, self.unroll = case["cell"], case["form"], case["unroll"]
        self.rate, self.decay, self.clip = case["lr"], case["weight_decay"], case["clip_norm"]


def begun(case: dict[str, Any], arrays: Arrays) -> Any:
    """Return weights, their moments and the number of updates before the first."""
    layers = []
    for number in range(case["layers"]):
        prefix = f"{number}."
        names = [name for name in arrays if name.startswith(prefix)]
        of = {name.removeprefix(prefix): arrays[name] for name in names}
        layers.append(prepared(case["cell"], of))
    weights = {
        "embedding": jnp.asarray(arrays["embedding"]),
        "layers": layers,
        "head": jnp.asarray(np.ascontiguousarray(arrays["head.weight"].T)),
        "bias": jnp.asarray(arrays["head.bias"]),
    }
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return weights, zeros, zeros, jnp.zeros((), jnp.int32)


def loss_of(case: Static, weights: Any, windows: Array) -> Array:
    """Return the mean cross entropy of each symbol of windows `[B, T + 1]` after the first."""
    x = weights["embedding"][windows[:, :-1].T]  # T B E
    for each in weights["layers"]:
        x = layer(case.cell, each, x, case.form, case.unroll)
    logits = x @ weights["head"] + weights["bias"]
    right = jnp.take_along_axis(logits, windows[:, 1:].T[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(logits, -1) - right).mean()


def updated(case: Static, state: Any, windows: Array) -> Any:
    """Return the state after an update by AdamW, and the loss before it."""
    weights, first, second, count = state
    loss, gradients = jax.value_and_grad(partial(loss_of, case))(weights, windows)

    norm = jnp.sqrt(sum((each**2).sum() for each in jax.tree.leaves(gradients)))
    factor = jnp.minimum(1.0, case.clip / (norm + 1e-6))
    gradients = jax.tree.map(lambda each: each * factor, gradients)

    count += 1
    one, two = BETAS
    first = jax.tree.map(lambda m, g: one * m + (1 - one) * g, first, gradients)
    second = jax.tree.map(lambda v, g: two * v + (1 - two) * g**2, second, gradients)

    def moved(weight: Array, m: Array, v: Array) -> Array:
        direction = m / (1 - one**count) / (jnp.sqrt(v / (1 - two**count)) + EPSILON)
        return weight * (1 - case.rate * case.decay) - case.rate * direction

    return (jax.tree.map(moved, weights, first, second), first, second, count), loss


if __name__ == "__main__":
    serve(build, {"jax": jax.__version__})
