"""The answer to whole sequences, of any length: read in windows, with states and pooled sums
carried.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.engine.recurrence import State, map_state, rebuild
from recurra.model.network import Network, States, detached, mixed
from recurra.model.pooling import Pooling, Sums
from recurra.shapes import Inputs, Lengths, Logits

LONGEST = 512
"""Steps that are read at a time where no gradient is wanted; no answer hangs on it."""
STEPS = 1 << 15
"""Steps of sequences that are read side by side, but for one that is longer."""


def alike(steps: NDArray[np.int64], rows: int) -> Iterator[NDArray[np.int64]]:
    """Give the places of sequences of so many `steps` in groups to be read side by side, each of
    about the same length.

    Longer ones come first; a group has `rows` of them and `STEPS` together, at most.
    """
    order = np.argsort(-steps, kind="stable")
    at = 0
    while at < len(order):
        count = max(1, min(rows, STEPS // int(steps[order[at]])))
        yield order[at : at + count]
        at += count


def answers(network: Network, x: Inputs, steps: Lengths, window: int = 0) -> Logits:
    """Return the outputs `[B, V]` for sequences `[B, T]` or `[B, T, F]`, of which row i has
    `steps[i]`.

    The gradient goes back over the last `window` steps of each row, 0 for all of them, and what was
    pooled before that is a constant. A network that reads both ways takes all in one window.
    """
    if network.reads_both_ways or not window or x.shape[1] <= window:
        return _whole(network, x, steps)

    before = (steps - window).clamp(min=0)
    with torch.no_grad():
        states, sums = _before(network, x, before)
    # A first state may be one that is learned.
    states = mixed(before == 0, network.initial_states(len(x)), states)
    left = steps - before
    places = before[:, None] + torch.arange(window, device=x.device)
    places = torch.minimum(places, steps[:, None] - 1)  # filled up with the last step
    rows = torch.arange(len(x), device=x.device)[:, None]
    hidden, _ = network.hidden(x[rows, places], states)
    return _given(network, hidden, sums, left)


def read(network: Network, x: Inputs, steps: Lengths, size: int = LONGEST) -> Logits:
    """Return the same where no gradient is wanted: nothing is kept but states and sums."""
    if network.reads_both_ways or x.shape[1] <= size:
        return _whole(network, x, steps)
    pool, states = _pool(network), network.initial_states(len(x))
    sums = pool.begin(_like(network), len(x))
    for at in range(0, x.shape[1], size):
        hidden, states = network.hidden(x[:, at : at + size], states)
        inside = at + torch.arange(hidden.shape[1], device=x.device) < steps[:, None]
        sums = pool.add(sums, hidden, inside)
    return network.answer(pool.give(sums))


def _whole(network: Network, x: Inputs, steps: Lengths) -> Logits:
    """Return the outputs for sequences in one window. A way back begins at each row's own end."""
    hidden, _ = network.hidden(
        x, network.initial_states(len(x)), steps if network.reads_both_ways else None
    )
    return _given(network, hidden, _pool(network).begin(_like(network), len(x)), steps)


def _given(network: Network, hidden: Tensor, sums: Sums, steps: Lengths) -> Logits:
    inside = torch.arange(hidden.shape[1], device=hidden.device) < steps[:, None]
    pool = _pool(network)
    return network.answer(pool.give(pool.add(sums, hidden, inside)))


def _before(network: Network, x: Inputs, before: Lengths) -> tuple[States, Sums]:
    """Return states and pooled sums after the first `before[i]` steps of each row.

    Rows are read together in runs of a power of two that each of them has left, so that none is
    ever filled up: a row's `before` is the sum of its runs.
    """
    pool, at = _pool(network), torch.zeros_like(before)
    states = network.initial_states(len(x))
    sums = pool.begin(_like(network), len(x))
    size = LONGEST
    while size:
        rows = torch.nonzero(before - at >= size)[:, 0]
        if not len(rows):
            size //= 2
            continue
        places = at[rows, None] + torch.arange(size, device=x.device)
        own = tuple(
            map_state(partial(torch.index_select, dim=0, index=rows), state) for state in states
        )
        hidden, after = network.hidden(x[rows[:, None], places], own)
        every = torch.ones(hidden.shape[:2], dtype=torch.bool, device=x.device)
        more = pool.add(tuple(part[rows] for part in sums), hidden, every)
        states = tuple(
            _put(whole, rows, part) for whole, part in zip(states, detached(after), strict=True)
        )
        sums = tuple(
            whole.index_copy(0, rows, part) for whole, part in zip(sums, more, strict=True)
        )
        at[rows] += size
    return states, sums


def _put(whole: State, rows: Tensor, part: State) -> State:
    """Return a state some of whose rows are those of a part."""
    return rebuild(
        whole, [field.index_copy(0, rows, own) for field, own in zip(whole, part, strict=True)]
    )


def _pool(network: Network) -> Pooling:
    assert network.pool is not None, "a sequence is answered once"
    return network.pool


def _like(network: Network) -> Tensor:
    return network.head.weight
