"""Sums over numbers that come in runs, feature by feature, of which a scale is made."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recurra_vocabularies.ranks import Floats, Ranks

ScaleKind = Literal["max", "minmax", "mean", "none", "robust", "standard"]

Counts = NDArray[np.int64]

QUARTERS = (0.25, 0.5, 0.75)
"""What of all numbers lies below those that a robust scale is made of."""


class Moments:
    """Mean, variance and bounds in one pass, merging the moments of each run (Chan et al. 1983).

    What is no larger than `tiny`, as a part of the greatest magnitude, counts as 0. They are to
    make a scale of a `kind`; what one of them alone needs is not learned for the others. What is no
    number is missing, and left out; of a feature that is missing all along the scale is 1.
    """

    def __init__(self, tiny: float = 0.0, kind: ScaleKind = "none") -> None:
        self.tiny, self.kind = tiny, kind
        # Rows of each feature.
        self.counts = np.zeros(1, np.int64)
        self.mean, self.squares = np.zeros(1), np.zeros(1)
        self.magnitude = np.zeros(1)
        self.ranks = Ranks() if kind == "robust" else None
        self.low, self.high = np.array([np.inf]), np.array([-np.inf])

    def add(self, run: Floats) -> None:
        """Take note of rows `[n, F]`."""
        if not len(run):
            return
        came = ~np.isnan(run)
        if came.all():
            each = run.mean(axis=0), run.var(axis=0), np.abs(run).mean(axis=0)
            self._merge(np.full(run.shape[1], len(run)), *each)
        else:
            counts = came.sum(axis=0)
            divisor = np.maximum(counts, 1)
            mean = np.where(came, run, 0.0).sum(axis=0) / divisor
            variance = np.where(came, (run - mean) ** 2, 0.0).sum(axis=0) / divisor
            magnitude = np.where(came, np.abs(run), 0.0).sum(axis=0) / divisor
            self._merge(counts, mean, variance, magnitude)
        if self.ranks:
            self.ranks.add(run)

        self.low = np.minimum(self.low, np.where(came, run, np.inf).min(axis=0))
        self.high = np.maximum(self.high, np.where(came, run, -np.inf).max(axis=0))

    def _merge(self, counts: Counts, mean: Floats, variance: Floats, magnitude: Floats) -> None:
        """Take note of so many numbers of each feature, with their moments."""
        total = self.counts + counts
        divisor = np.maximum(total, 1)
        delta = mean - self.mean

        # The squares about the common mean: those about each one's own, and what lies between.
        within = variance * counts
        between = delta**2 * (self.counts * counts / divisor)
        self.squares = self.squares + within + between
        self.mean = self.mean + delta * (counts / divisor)
        larger = magnitude - self.magnitude
        self.magnitude = self.magnitude + larger * (counts / divisor)
        self.counts = total

    @property
    def count(self) -> int:
        """How many rows there are, of the feature that has most."""
        return int(self.counts.max())

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """The least and the greatest of each feature, 0 where nothing came."""
        some = self.counts > 0
        return np.where(some, self.low, 0.0), np.where(some, self.high, 0.0)

    @property
    def greatest(self) -> Floats:
        """The greatest magnitude of each feature."""
        low, high = self.bounds
        return np.asarray(np.maximum(np.abs(low), np.abs(high)))

    @property
    def changes(self) -> NDArray[np.bool_]:
        """Which features are not constant: rounding alone gives one that is some variance."""
        low, high = self.bounds
        changes = high - low > self.tiny * self.greatest
        return np.asarray(changes)

    @property
    def variance(self) -> Floats:
        """The variance of each feature."""
        return np.asarray(self.squares / np.maximum(self.counts, 1))

    def scale(self) -> tuple[Floats, Floats]:
        """Return shift and scale of at least one row; where the scale would be 0, it is 1."""
        shift = np.zeros_like(self.mean)
        scale = np.ones_like(self.mean)
        deviation = np.where(self.changes, np.sqrt(self.variance), 0.0)
        least, most = self.bounds
        if self.kind == "max":
            scale = self.greatest
        elif self.kind == "mean":
            scale = self.magnitude
        elif self.kind == "minmax":
            shift = least
            scale = np.where(self.changes, most - least, 0.0)
        elif self.kind == "standard":
            shift = np.where(self.changes, self.mean, least)
            scale = deviation
        elif self.ranks:
            low, middle, high = self.ranks.quantiles(QUARTERS)
            shift = np.where(self.changes, middle, least)
            # Of a feature that is nearly always the same, the deviation.
            scale = np.where(self.changes & (high > low), high - low, deviation)
        return shift, np.where(scale > 0, scale, 1.0)
