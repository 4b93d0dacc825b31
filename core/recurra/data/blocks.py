"""A corpus a block at a time: one that is mapped from a file never comes into memory whole."""

from __future__ import annotations

from collections.abc import Iterator

from recurra.data.store import Ints

BLOCK = 1 << 16
"""Elements that are looked at at a time."""


def blocks(low: int, high: int) -> Iterator[slice]:
    """Give where the elements from `low` to before `high` stand, a block at a time."""
    for start in range(low, high, BLOCK):
        yield slice(start, min(start + BLOCK, high))


def of_spans(lows: Ints, highs: Ints) -> Iterator[slice]:
    """Give where the elements of spans stand, one span after the other, as those of a split."""
    for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
        yield from blocks(low, high)
