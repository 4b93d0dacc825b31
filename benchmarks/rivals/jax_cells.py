"""Recurrent layers in JAX, as one writes them by hand, with time as the first axis.

The form of a layer is `scan`, a `jax.lax.scan` over the steps whose gradients JAX finds;
`products`, the same whose gradients of the recurrent weights are one product after the scan; or,
for a linear recurrence, `associative`, a `jax.lax.associative_scan`. A scan may be unrolled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import log_sigmoid, sigmoid
from numpy.typing import NDArray

Weights = dict[str, Any]
State = tuple[Array, ...]
Step = Callable[[State, Array, Array, Any], State]

SCANS = {"mingru": 2, "minlstm": 3}
"""Linear recurrences, and how many gates they have."""


def lstm(state: State, projected: Array, recurrent: Array, extra: None) -> State:
    """Return the next (h, c), of the products of the input and of h, both `[B, 4 H]`."""
    i, f, g, o = jnp.split(projected + recurrent, 4, -1)
    c = sigmoid(f) * state[1] + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def peephole(state: State, projected: Array, recurrent: Array, extra: Array) -> State:
    """Return the next (h, c); `extra` are the peepholes, `[3, H]`."""
    i, f, g, o = jnp.split(projected + recurrent, 4, -1)
    p_i, p_f, p_o = extra
    c = state[1]
    c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * jnp.tanh(g)
    return sigmoid(o + p_o * c) * jnp.tanh(c), c


def gru(state: State, projected: Array, recurrent: Array, extra: Array) -> State:
    """Return the next (h,); `extra` is the recurrent bias of the candidate, `[H]`."""
    (h,) = state
    r, z, n = jnp.split(projected, 3, -1)
    h_r, h_z, h_n = jnp.split(recurrent, 3, -1)
    z = sigmoid(z + h_z)
    n = jnp.tanh(n + sigmoid(r + h_r) * (h_n + extra))
    return ((1 - z) * n + z * h,)


STEPS: dict[str, tuple[Step, int]] = {"lstm": (lstm, 2), "peephole": (peephole, 2), "gru": (gru, 1)}
"""The step of a cell, and how many fields its state has."""


def prepared(cell: str, named: dict[str, NDArray[Any]]) -> Weights:
    """Return the weights of a layer of recurra as a layer here takes them, transposed."""

    def transposed(name: str) -> Array:
        return jnp.asarray(np.ascontiguousarray(named[name].T))

    if cell in SCANS:
        return {"W": transposed("gates.weight"), "b": jnp.asarray(named["gates.bias"])}

    prepared = {"W": transposed("weight_ih"), "U": transposed("weight_hh")}
    for name in ("bias_ih", "bias_hh", "peepholes"):
        if name in named:
            prepared[name] = jnp.asarray(named[name])
    return prepared


def named(cell: str, gradients: Weights) -> dict[str, NDArray[Any]]:
    """Return gradients of weights by the names that they have in recurra."""
    found = {name: np.asarray(each) for name, each in gradients.items()}
    weight = found.pop("W").T
    if cell in SCANS:
        return {"gates.weight": weight, "gates.bias": found["b"]}
    return {"weight_ih": weight, "weight_hh": found.pop("U").T, **found}


def biases(cell: str, weights: Weights) -> tuple[Array, Any]:
    """Return what is added to the products of the input, and what else a step needs.

    An optimizer moves both biases of torch's modules, so they stay two.
    """
    bias = weights["bias_ih"]
    if cell == "peephole":
        return bias, weights["peepholes"]
    other = weights["bias_hh"]
    if cell == "lstm":
        return bias + other, None
    kept = 2 * len(other) // 3
    return bias.at[:kept].add(other[:kept]), other[kept:]


def layer(cell: str, weights: Weights, x: Array, form: str, unroll: int) -> Array:
    """Return the outputs `[T, B, H]` of a layer on `[T, B, D]`."""
    if cell in SCANS:
        return scanned(cell, x @ weights["W"] + weights["b"], form, unroll)

    bias, extra = biases(cell, weights)
    projected = x @ weights["W"] + bias
    if form == "products":
        return recurrence(cell, unroll, projected, weights["U"], extra)
    return states_of(cell, projected, None, weights["U"], extra, unroll)[0]


def scanned(cell: str, projected: Array, form: str, unroll: int) -> Array:
    """Return the states of h_t = a_t h_{t-1} + b_t, of the gates' products."""
    *gates, candidate = jnp.split(projected, SCANS[cell], -1)
    if cell == "mingru":
        a, share = sigmoid(-gates[0]), sigmoid(gates[0])
    else:
        odds = log_sigmoid(gates[0]) - log_sigmoid(gates[1])
        a, share = sigmoid(odds), sigmoid(-odds)
    b = share * jnp.where(candidate >= 0, candidate + 0.5, sigmoid(candidate))

    if form == "associative":

        def joined(left: Any, right: Any) -> Any:
            return left[0] * right[0], right[0] * left[1] + right[1]

        return jax.lax.associative_scan(joined, (a, b), axis=0)[1]

    def step(h: Array, row: Any) -> tuple[Array, Array]:
        h = row[0] * h + row[1]
        return h, h

    return jax.lax.scan(step, jnp.zeros(b.shape[1:]), (a, b), unroll=unroll)[1]


def states_of(
    cell: str, projected: Array, shift: Array | None, recurrent: Array, extra: Any, unroll: int
) -> State:
    """Return all states, each field `[T, B, H]`; `shift` is added to the products of h."""
    function, fields = STEPS[cell]
    zero = jnp.zeros((projected.shape[1], recurrent.shape[0]))

    def step(state: State, rows: Any) -> tuple[State, State]:
        row, more = rows
        product = state[0] @ recurrent
        if more is not None:
            product += more
        state = function(state, row, product, extra)
        return state, state

    return jax.lax.scan(step, (zero,) * fields, (projected, shift), unroll=unroll)[1]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recurrence(cell: str, unroll: int, projected: Array, recurrent: Array, extra: Any) -> Array:
    """Return the outputs of a layer of whose products of the input are made."""
    return states_of(cell, projected, None, recurrent, extra, unroll)[0]


def forth(cell: str, unroll: int, projected: Array, recurrent: Array, extra: Any) -> Any:
    """Return the outputs, and what the way back needs."""

    def run(projected: Array, shift: Array | None = None) -> State:
        return states_of(cell, projected, shift, recurrent, extra, unroll)

    # Of a gru the products of input and state have gradients of their own; of the others the same.
    shifts = (jnp.zeros_like(projected),) if cell == "gru" else ()
    states, pull = jax.vjp(run, projected, *shifts)
    return states[0], (pull, states, recurrent)


def back(cell: str, unroll: int, kept: Any, gradient: Array) -> Any:
    """Return the gradients of the input's products, of the recurrent weights and of the rest."""
    pull, states, recurrent = kept
    rest = [jnp.zeros_like(field) for field in states[1:]]
    pulled = pull((gradient, *rest))
    by_input, by_state = pulled[0], pulled[-1]

    before = [jnp.concatenate([jnp.zeros_like(field[:1]), field[:-1]]) for field in states]
    by_recurrent = jnp.einsum("tbh,tbg->hg", before[0], by_state)
    by_extra = None
    if cell == "gru":
        by_extra = by_state[..., 2 * len(recurrent) :].sum((0, 1))
    elif cell == "peephole":
        i, f, _, o = jnp.split(by_input, 4, -1)
        sums = [(i * before[1]).sum((0, 1)), (f * before[1]).sum((0, 1))]
        by_extra = jnp.stack([*sums, (o * states[1]).sum((0, 1))])
    return by_input, by_recurrent, by_extra


recurrence.defvjp(forth, back)
