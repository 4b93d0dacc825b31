"""The answer to whole sequences, of any length.

They are read in windows, with states and pooled sums carried.
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
from recurra.shapes import Hidden, Inputs, Lengths, Logits

LONGEST = 512
"""Steps that are read at a time where no gradient is wanted; no answer hangs on it."""
STEPS = 1 << 15
"""Steps of sequences that are read side by side, but for one that is longer."""


def alike(steps: NDArray[np.int64], rows: int) -> Iterator[NDArray[np.int64]]:
    """Give the places of sequences of so many `steps` in groups of about the same length.

    A group is to be read side by side: it has `rows` sequences, and `STEPS` steps together, at
    most. Longer ones come first.
    """
    order = np.argsort(-steps, kind="stable")
    at = 0
    while at < len(order):
        longest = int(steps[order[at]])
        count = max(1, min(rows, STEPS // longest))
        yield order[at : at + count]
        at += count


def answers(
    network: Network,
    x: Inputs,
    steps: Lengths,
    window: int = 0,
    among: Lengths | None = None,
    first: int = 0,
) -> Logits:
    """Return the outputs `[B, V]` for sequences `[B, T]` or `[B, T, F]`, row i of `steps[i]` steps.

    The gradient goes back over the last `window` steps of each row, 0 for all of them, and what was
    pooled before that is a constant. A network that reads both ways takes all in one window. Where
    other processes have rows of the batch, these are the rows from `first` on of those that have
    `among` steps.
    """
    if network.reads_both_ways or not window or x.shape[1] <= window:
        return _whole(network, x, steps)

    before = (steps - window).clamp(min=0)
    with torch.no_grad():
        of_all = before if among is None else (among - window).clamp(min=0)
        states, sums = _before(network, x, before, of_all, first)
    # A first state may be one that is learned.
    initial = network.initial_states(len(x))
    states = mixed(before == 0, initial, states)

    # Each row's last window; a shorter row is filled up with its last step.
    places = before[:, None] + torch.arange(window, device=x.device)
    places = torch.minimum(places, steps[:, None] - 1)
    rows = torch.arange(len(x), device=x.device)[:, None]
    hidden, _ = network.hidden(x[rows, places], states)
    return _answer(network, hidden, sums, steps - before)


def read(network: Network, x: Inputs, steps: Lengths, size: int = LONGEST) -> Logits:
    """Return the same where no gradient is wanted: nothing is kept but states and sums."""
    if network.reads_both_ways or x.shape[1] <= size:
        return _whole(network, x, steps)

    pool = _pool(network)
    states = network.initial_states(len(x))
    sums = pool.begin(_like(network), len(x))
    for at in range(0, x.shape[1], size):
        hidden, states = network.hidden(x[:, at : at + size], states)
        places = at + torch.arange(hidden.shape[1], device=x.device)
        inside = places < steps[:, None]
        sums = pool.add(sums, hidden, inside)
    return network.answer(pool.give(sums))


def each_step(network: Network, x: Inputs, steps: Lengths, size: int = LONGEST) -> Logits:
    """Return the outputs `[B, T, V]` at each step where no gradient is wanted.

    What stands behind the end of a row says nothing.
    """
    if network.reads_both_ways or x.shape[1] <= size:
        output: Logits
        output, _ = network(x, lengths=steps)
        return output

    states, parts = None, []
    for at in range(0, x.shape[1], size):
        output, states = network(x[:, at : at + size], states)
        parts.append(output)
    return torch.cat(parts, dim=1)


def _whole(network: Network, x: Inputs, steps: Lengths) -> Logits:
    """Return the outputs for sequences in one window. A way back begins at each row's own end."""
    lengths = steps if network.reads_both_ways else None
    hidden, _ = network.hidden(x, network.initial_states(len(x)), lengths=lengths)
    sums = _pool(network).begin(_like(network), len(x))
    return _answer(network, hidden, sums, steps)


def _answer(network: Network, hidden: Hidden, sums: Sums, steps: Lengths) -> Logits:
    """Return the outputs after the last window, of which row i has `steps[i]` steps."""
    places = torch.arange(hidden.shape[1], device=hidden.device)
    inside = places < steps[:, None]
    pool = _pool(network)
    sums = pool.add(sums, hidden, inside)
    return network.answer(pool.give(sums))


def _before(
    network: Network, x: Inputs, before: Lengths, of_all: Lengths, first: int
) -> tuple[States, Sums]:
    """Return states and pooled sums after the first `before[i]` steps of each row.

    Rows are read together in runs of a power of two that each of them has left, so that none is
    ever filled up: a row's `before` is the sum of its runs. Those rows are the ones from `first` on
    of all, `of_all[i]` steps each, whose runs say what dropout draws.
    """
    pool = _pool(network)
    states = network.initial_states(len(x))
    sums = pool.begin(_like(network), len(x))
    at, at_all = torch.zeros_like(before), torch.zeros_like(of_all)
    parted = len(of_all) > len(before) and network.noise is not None

    # A row of 1100 steps is read in runs of 512, 512, 64, 8 and 4.
    size = LONGEST
    while size:
        together = torch.nonzero(of_all - at_all >= size)[:, 0]
        if not len(together):
            size //= 2
            continue

        at_all[together] += size
        rows = torch.nonzero(before - at >= size)[:, 0]
        if parted:
            assert network.noise is not None, "there is noise to be shared out"
            network.noise.among(len(together), int((together < first).sum()))
            if not len(rows):
                network.noise.skip(network.masks)
        if not len(rows):
            continue

        places = at[rows, None] + torch.arange(size, device=x.device)
        of_rows = partial(torch.index_select, dim=0, index=rows)
        own = tuple(map_state(of_rows, state) for state in states)
        hidden, after = network.hidden(x[rows[:, None], places], own)

        every = torch.ones(hidden.shape[:2], dtype=torch.bool, device=x.device)
        own_sums = tuple(part[rows] for part in sums)
        sums = _put(sums, rows, pool.add(own_sums, hidden, every))
        pairs = zip(states, detached(after), strict=True)
        states = tuple(_put(whole, rows, part) for whole, part in pairs)
        at[rows] += size
    if parted:
        assert network.noise is not None, "there is noise to be shared out"
        network.noise.among(len(of_all), first)
    return states, sums


def _put(whole: State, rows: Tensor, part: State) -> State:
    """Return fields some of whose rows are those of a part."""
    pairs = zip(whole, part, strict=True)
    return rebuild(whole, [field.index_copy(0, rows, own) for field, own in pairs])


def _pool(network: Network) -> Pooling:
    assert network.pool is not None, "a sequence is answered once"
    return network.pool


def _like(network: Network) -> Tensor:
    return network.head.weight
