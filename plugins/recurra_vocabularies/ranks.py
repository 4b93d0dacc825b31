"""Quantiles of numbers that come in runs, feature by feature, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BITS = 40
"""Bits of a number that do not tell its bin: 12 of its digits and its size are left."""
ROWS = 1 << 16
"""Rows that are sorted into bins at a time."""


class Ranks:
    """Counts numbers in bins of one 4,096th of their size, each with the bounds of what it holds.

    What comes out hangs on neither order nor runs. Where a bin holds one number, as often as may
    be, it is exact.
    """

    def __init__(self) -> None:
        self.waiting: list[Floats] = []
        self.rows = 0
        self.bins: list[Bins] = []

    def add(self, run: Floats) -> None:
        """Take note of rows `[n, F]`; what is no number is missing, and left out."""
        self.waiting.append(run)
        self.rows += len(run)
        if self.rows >= ROWS:
            self._sort()

    def _sort(self) -> None:
        """Put the rows that wait into their bins."""
        if not self.rows:
            return
        rows = np.concatenate(self.waiting).astype(np.float64)
        self.waiting, self.rows = [], 0
        self.bins = self.bins or [Bins() for _ in range(rows.shape[1])]
        for bins, column in zip(self.bins, rows.T, strict=True):
            bins.add(np.ascontiguousarray(column[~np.isnan(column)]))

    def quantiles(self, shares: Sequence[float]) -> Floats:
        """Return below what the `shares` of the numbers lie, `[shares, F]`."""
        self._sort()
        return np.array([bins.quantiles(shares) for bins in self.bins]).T


class Bins:
    """The bins of one feature."""

    def __init__(self) -> None:
        self.keys: Ints = np.zeros(0, np.int64)
        self.counts: Ints = np.zeros(0, np.int64)
        self.low, self.high = np.zeros(0), np.zeros(0)

    def add(self, values: Floats) -> None:
        """Sort numbers into bins."""
        if not len(values):
            return
        keys = np.concatenate([self.keys, _key(values)])
        counts = np.concatenate([self.counts, np.ones(len(values), np.int64)])
        low, high = np.concatenate([self.low, values]), np.concatenate([self.high, values])

        order = np.argsort(keys, kind="stable")
        self.keys, first = np.unique(keys[order], return_index=True)
        self.counts = np.add.reduceat(counts[order], first)
        self.low = np.minimum.reduceat(low[order], first)
        self.high = np.maximum.reduceat(high[order], first)

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Return each quantile, on the line between the two numbers around it."""
        last = int(self.counts.sum()) - 1
        if last < 0:
            return [0.0] * len(shares)
        found = []
        for share in shares:
            place = share * last
            low, high = self._ranked(int(place)), self._ranked(min(int(place) + 1, last))
            found.append(low + (high - low) * (place - int(place)))
        return found

    def _ranked(self, rank: int) -> float:
        """Return about the number that stands at a rank, from 0 on."""
        index = int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))
        return float(self.low[index] + (self.high[index] - self.low[index]) / 2)


def _key(values: Floats) -> Ints:
    """Return the bin of each number; larger numbers have no lesser one."""
    bits = (values + 0.0).view(np.int64)  # of -0 and 0 the same
    ordered = np.where(bits < 0, bits ^ np.int64((1 << 63) - 1), bits)
    return np.asarray(ordered >> BITS, np.int64)
