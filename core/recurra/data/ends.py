"""Series without their ends: what comes after is not there, so nothing can have seen it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recurra.contracts.source import Piece
from recurra.data.corpus import collected
from recurra.data.store import Ints, Store
from recurra.errors import InputError

BLOCK = 1 << 16
"""Rows that are copied at a time."""


def lengths_of(store: Store) -> Ints:
    """Return how many steps each series has."""
    lengths: Ints = store.ends - store.starts
    return lengths


def without_ends(store: Store, steps: int) -> Store:
    """Return the numbers of a store without the last `steps` of each series.

    A series that has no more than these is not there; the others keep their order. Raises
    `InputError` (RC041) where nothing is left.
    """
    if not steps:
        return store
    if not (lengths_of(store) > steps).any():
        longest = int(lengths_of(store).max())
        fact = (
            f"without its last {steps:,} steps no series has any: the longest has {longest:,} steps"
        )
        raise InputError.of("RC041", fact, key="sequence.leave_off", cure="leave fewer off")
    return collected(_rows(store, steps))


def _rows(store: Store, steps: int) -> Iterator[Piece]:
    """Give the rows that stay, series after series in blocks; what is said of each stays too."""
    spans = zip(store.starts.tolist(), (store.ends - steps).tolist(), strict=True)
    for row, (begin, end) in enumerate(spans):
        columns = {role: values[row] for role, values in store.columns.items()}
        for low in range(begin, end, BLOCK):
            block = np.asarray(store.values[low : min(low + BLOCK, end)])
            start = low == begin
            yield Piece(block, start, columns if start else {})
