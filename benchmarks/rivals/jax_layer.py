"""Row 13 of `recurra bench`: one layer in JAX, forward and backward, under jit."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax_cells import Weights, layer, named, prepared
from turns import Arrays, Side, serve


def build(case: dict[str, Any], arrays: Arrays) -> Side:
    """Return a layer that is given `x` and `back` `[B, T, H]`, and gives outputs and gradients."""
    cell, form, unroll = case["cell"], case["form"], case["unroll"]
    x, gradient = (jnp.asarray(np.swapaxes(arrays.pop(name), 0, 1)) for name in ("x", "back"))
    weights = prepared(cell, arrays)

    def loss(weights: Weights, x: Array, gradient: Array) -> tuple[Array, Array]:
        outputs = layer(cell, weights, x, form, unroll)
        return jnp.vdot(outputs, gradient), outputs

    step = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    start = time.perf_counter()
    compiled = step.lower(weights, x, gradient).compile()
    seconds = time.perf_counter() - start

    def turn() -> object:
        return jax.block_until_ready(compiled(weights, x, gradient))

    def answer() -> Arrays:
        (by_weight, by_input), outputs = compiled(weights, x, gradient)
        both = {"outputs": outputs, "x": by_input}
        windows = {name: np.swapaxes(np.asarray(each), 0, 1) for name, each in both.items()}
        return {**windows, **named(cell, by_weight)}

    return Side(turn, answer, {"compile": seconds})


if __name__ == "__main__":
    serve(build, {"jax": jax.__version__})
