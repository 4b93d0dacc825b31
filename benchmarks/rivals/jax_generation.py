"""Rows 14 and 15 of `recurra bench`: generation in JAX, called a symbol at a time or in a loop.

Two LSTM layers between an embedding and a head. The likeliest symbol is taken, or one of the
`top_k` likeliest is drawn, at a temperature.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import sigmoid
from turns import Arrays, Side, serve

Carry = tuple[Array, tuple[Array, Array], Array]
"""Symbols `[S]`, the fields h and c of all layers `[L, S, H]`, and a key of the draws."""


def build(case: dict[str, Any], arrays: Arrays) -> Side:
    """Return what draws `steps` symbols of each of `streams` after the first of the vocabulary."""
    streams, steps = case["streams"], case["steps"]
    width, layers = arrays["embedding"].shape[1], case["layers"]
    weights = prepared(arrays, layers)

    def picked(logits: Array, key: Array) -> tuple[Array, Array]:
        if not case["top_k"]:
            return logits.argmax(-1), key
        key, now = jax.random.split(key)
        best, ids = jax.lax.top_k(logits, case["top_k"])
        place = jax.random.categorical(now, best / case["temperature"])
        return jnp.take_along_axis(ids, place[:, None], -1)[:, 0], key

    def step(weights: Any, carry: Carry) -> Carry:
        symbols, state, key = carry
        x = weights["embedding"][symbols]
        after = []
        for (weight, bias), h, c in zip(weights["layers"], *state, strict=True):
            gates = jnp.concatenate([x, h], -1) @ weight + bias
            i, f, g, o = jnp.split(gates, 4, -1)
            c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
            x = sigmoid(o) * jnp.tanh(c)
            after.append((x, c))

        symbols, key = picked(x @ weights["head"] + weights["bias"], key)
        hs, cs = zip(*after, strict=True)
        return symbols, (hs, cs), key

    zeros = (jnp.zeros((streams, width)),) * layers
    start = (jnp.zeros(streams, jnp.int32), (zeros, zeros), jax.random.key(0))
    if case["form"] == "called":
        called = jax.jit(step)

        def draw() -> Any:
            carry, rows = start, []
            for _ in range(steps):
                carry = called(weights, carry)
                rows.append(carry[0].tolist())
            return rows

    else:

        @jax.jit
        def looped(weights: Any, start: Carry) -> Array:
            def body(carry: Carry, _: None) -> tuple[Carry, Array]:
                carry = step(weights, carry)
                return carry, carry[0]

            return jax.lax.scan(body, start, None, length=steps)[1]

        def draw() -> Any:
            return looped(weights, start).tolist()

    return Side(draw, lambda: {"symbols": np.array(draw())})


def prepared(arrays: Arrays, layers: int) -> dict[str, Any]:
    """Return the weights: those of input and state of a layer as one matrix, transposed."""
    joined = []
    for number in range(layers):
        of = {name: arrays[f"{number}.{name}"] for name in ("weight_ih", "weight_hh")}
        weight = np.ascontiguousarray(np.concatenate(list(of.values()), 1).T)
        bias = arrays[f"{number}.bias_ih"] + arrays[f"{number}.bias_hh"]
        joined.append((jnp.asarray(weight), jnp.asarray(bias)))
    return {
        "embedding": jnp.asarray(arrays["embedding"]),
        "layers": joined,
        "head": jnp.asarray(np.ascontiguousarray(arrays["head.weight"].T)),
        "bias": jnp.asarray(arrays["head.bias"]),
    }


if __name__ == "__main__":
    serve(build, {"jax": jax.__version__})
