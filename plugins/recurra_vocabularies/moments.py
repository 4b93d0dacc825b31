"""Sums over numbers that come in runs, feature by feature, of which a scale is made."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recurra_vocabularies.ranks import Floats, Ranks

ScaleKind = Literal["max", "minmax", "mean", "none", "robust", "standard"]

QUARTERS = (0.25, 0.5, 0.75)
"""What of all numbers lies below those that a robust scale is made of."""


class Moments:
    """Mean, variance and bounds in one pass, merging the moments of each run (Chan et al. 1983).

    What is no larger than `tiny`, as a part of the greatest magnitude, counts as 0. They are to
    make a scale of a `kind`; what one of them alone needs is not learned for the others.
    """

    def __init__(self, tiny: float = 0.0, kind: ScaleKind = "none") -> None:
        self.tiny, self.kind = tiny, kind
        self.count = 0
        self.mean, self.squares = np.zeros(1), np.zeros(1)
        self.magnitude = np.zeros(1)
        self.ranks = Ranks() if kind == "robust" else None
        self.low, self.high = np.array([np.inf]), np.array([-np.inf])

    def add(self, run: Floats) -> None:
        """Take note of rows `[n, F]`."""
        if not len(run):
            return
        delta = run.mean(axis=0) - self.mean
        total = self.count + len(run)

        # The squares about the common mean: those about each one's own, and what lies between.
        within = run.var(axis=0) * len(run)
        between = delta**2 * (self.count * len(run) / total)
        self.squares = self.squares + within + between
        self.mean = self.mean + delta * (len(run) / total)
        larger = np.abs(run).mean(axis=0) - self.magnitude
        self.magnitude = self.magnitude + larger * (len(run) / total)
        if self.ranks:
            self.ranks.add(run)

        self.low = np.minimum(self.low, run.min(axis=0))
        self.high = np.maximum(self.high, run.max(axis=0))
        self.count = total

    @property
    def greatest(self) -> Floats:
        """The greatest magnitude of each feature."""
        greatest = np.maximum(np.abs(self.low), np.abs(self.high))
        return np.asarray(greatest)

    @property
    def changes(self) -> NDArray[np.bool_]:
        """Which features are not constant: rounding alone gives one that is some variance."""
        changes = self.high - self.low > self.tiny * self.greatest
        return np.asarray(changes)

    @property
    def variance(self) -> Floats:
        """The variance of each feature."""
        return self.squares / max(self.count, 1)

    def scale(self) -> tuple[Floats, Floats]:
        """Return shift and scale of at least one row; where the scale would be 0, it is 1."""
        shift = np.zeros_like(self.mean)
        scale = np.ones_like(self.mean)
        deviation = np.where(self.changes, np.sqrt(self.variance), 0.0)
        if self.kind == "max":
            scale = self.greatest
        elif self.kind == "mean":
            scale = self.magnitude
        elif self.kind == "minmax":
            shift = self.low
            scale = np.where(self.changes, self.high - self.low, 0.0)
        elif self.kind == "standard":
            shift = np.where(self.changes, self.mean, self.low)
            scale = deviation
        elif self.ranks:
            low, middle, high = self.ranks.quantiles(QUARTERS)
            shift = np.where(self.changes, middle, self.low)
            # Of a feature that is nearly always the same, the deviation.
            scale = np.where(self.changes & (high > low), high - low, deviation)
        return shift, np.where(scale > 0, scale, 1.0)
