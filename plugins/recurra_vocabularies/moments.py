"""Sums over numbers that come in runs, feature by feature, of which a scale is made."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ScaleKind = Literal["max", "minmax", "standard", "none"]


class Moments:
    """Mean, variance and bounds in one pass, merging the moments of each run (Chan et al. 1983).

    What is no larger than `tiny`, as a part of the greatest magnitude, counts as 0.
    """

    def __init__(self, tiny: float = 0.0) -> None:
        self.tiny = tiny
        self.count = 0
        self.mean, self.squares = np.zeros(1), np.zeros(1)
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

    def scale(self, kind: ScaleKind) -> tuple[Floats, Floats]:
        """Return shift and scale of at least one row; where the scale would be 0, it is 1."""
        shift = np.zeros_like(self.mean)
        scale = np.ones_like(self.mean)
        if kind == "max":
            scale = self.greatest
        elif kind == "minmax":
            shift = self.low
            scale = np.where(self.changes, self.high - self.low, 0.0)
        elif kind == "standard":
            shift = np.where(self.changes, self.mean, self.low)
            scale = np.where(self.changes, np.sqrt(self.variance), 0.0)
        return shift, np.where(scale > 0, scale, 1.0)
