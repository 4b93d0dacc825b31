"""What is measured of distributions: their quantiles and intervals, as sums over what came.

With q_p the quantile of level p, e = actual - q_p, rho_p(e) = max(p e, (p - 1) e), over all values
that came (docs/figures.md has the formulas):

    pinball_10   mean rho_0.1(e), of each level by its percent
    wql          mean over the levels of 2 sum rho_p(e) / sum |actual|
    crps         mean of the continuous ranked probability score
    coverage_80  the share of values from q_0.1 to q_0.9; of each two levels that lie alike
    width_80     mean q_0.9 - q_0.1
    winkler_80   mean width, and what a value lies outside of it times 2 / 0.2

Of several columns all are the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.distribution import Distribution
from recurra.contracts.loss import Loss
from recurra.contracts.metric import NAUGHT, Figure, Metrics

Floats: TypeAlias = NDArray[np.float64]
ToOwn: TypeAlias = Callable[[Tensor], Floats]
"""Gives numbers `[N, F]` in the data's own units, of scaled ones."""

ALIKE = 1e-9
"""What the sum of two levels may differ from 1, where they lie alike about the median."""
STRAIGHT = 1e-6
"""By what part of a unit the next may differ, where the data's units are a multiple of scaled ones.

Of logarithms it differs more, unless they differ too little to matter.
"""


def percent(share: float) -> str:
    """Return a share as a percent is written in the name of a figure."""
    return f"{100 * share:.6g}"


def intervals(levels: Sequence[float]) -> list[tuple[int, int]]:
    """Return the pairs of levels, by their places, that lie alike about the median; widest first.

    Of 0.1, 0.5, 0.9 that is the first with the last.
    """
    pairs = []
    for low, level in enumerate(levels):
        for high in range(low + 1, len(levels)):
            if abs(level + levels[high] - 1) < ALIKE:
                pairs.append((low, high))
    return pairs


def interval_names(levels: Sequence[float]) -> list[str]:
    """Return the intervals between levels, each by the percent that it is to hold."""
    return [percent(levels[high] - levels[low]) for low, high in intervals(levels)]


def levels_of(loss: Loss[Any]) -> tuple[float, ...]:
    """Return the levels of a loss that is a distribution; of another none."""
    return loss.levels if isinstance(loss, Distribution) else ()


def spread_figures(levels: Sequence[float]) -> tuple[Figure, ...]:
    """Return what is measured of a distribution at some levels; at none nothing."""
    if not levels:
        return ()
    names = interval_names(levels)
    zeros = "every number of it is 0, and nothing can be divided by it"
    held = [
        Figure(f"coverage_{name}", most=1.0, aim=levels[high] - levels[low])
        for name, (low, high) in zip(names, intervals(levels), strict=True)
    ]
    return (
        Figure("crps", title="continuous ranked probability score"),
        Figure("wql", title="weighted quantile loss", absent=zeros),
        *held,
        *(Figure(f"width_{name}") for name in names),
        *(Figure(f"winkler_{name}") for name in names),
        *(Figure(f"pinball_{percent(level)}") for level in levels),
    )


class Spread:
    """Sums over the values that came, column by column."""

    SUMS = ("count", "size", "crps", "pinball", "covered", "width", "winkler")

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = tuple(levels)
        self.pairs = intervals(self.levels)
        # Of each column: values, their size, the scores; and of each level, or interval.
        self.count = self.size = self.crps = np.zeros(0)
        self.pinball = self.covered = self.width = self.winkler = np.zeros((0, 0))

    def add(
        self,
        loss: Distribution[Any],
        output: Tensor,
        target: Tensor,
        own: ToOwn,
        actual: Floats,
        scale: Tensor | None = None,
    ) -> None:
        """Add outputs `[N, output_size]` and scaled targets `[N, F]`, `actual` in their own units.

        `own` brings scaled numbers there, row by row as they stand.
        """
        quantiles = loss.quantile(output, self.levels, scale)  # N F L
        each = [own(quantiles[..., place]) for place in range(len(self.levels))]
        scores = loss.crps(output, target, scale)
        closed = None if scores is None else _in_own_units(scores, own)
        self.add_quantiles(np.stack(each, axis=-1), actual, closed)

    def add_quantiles(
        self, quantiles: Floats, actual: Floats, scores: Floats | None = None
    ) -> None:
        """Add quantiles `[N, F, L]` and what came, `[N, F]`, in own units; what is nan did not.

        `scores` `[N, F]` are those of the distribution itself. Where there are none, or they are
        nan, they are made of the quantiles.
        """
        came = ~np.isnan(actual)
        with np.errstate(over="ignore", invalid="ignore"):
            costs = _pinball(quantiles, actual, self.levels)
            estimate = 2 * costs.mean(axis=-1)
            scores = estimate if scores is None else np.where(np.isnan(scores), estimate, scores)
            low = quantiles[..., [pair[0] for pair in self.pairs]]
            high = quantiles[..., [pair[1] for pair in self.pairs]]
            value = actual[..., None]
            width = high - low
            outside = np.maximum(low - value, 0) + np.maximum(value - high, 0)
            share = np.array([1 - (self.levels[b] - self.levels[a]) for a, b in self.pairs])

            self.count = _added(self.count, came, came)
            self.size = _added(self.size, np.abs(actual), came)
            self.crps = _added(self.crps, scores, came)
            self.pinball = _added(self.pinball, costs, came)
            self.covered = _added(self.covered, (low <= value) & (value <= high), came)
            self.width = _added(self.width, width, came)
            self.winkler = _added(self.winkler, width + outside * 2 / share, came)

    def merge(self, other: Spread) -> None:
        """Add the sums of others at the same levels."""
        with np.errstate(over="ignore", invalid="ignore"):
            for name in self.SUMS:
                own, more = getattr(self, name), getattr(other, name)
                if more.size:
                    setattr(self, name, own + more if own.size else more.copy())

    def values(self) -> Metrics:
        """Return the figures, means over the columns; none of no values."""
        columns = self.columns()
        names = dict.fromkeys(name for column in columns for name in column)
        return {
            name: float(np.mean([column[name] for column in columns if name in column]))
            for name in names
        }

    def columns(self) -> list[Metrics]:
        """Return the figures of each column; none of one that never came."""
        return [self._column(index) if count else {} for index, count in enumerate(self.count)]

    def _column(self, index: int) -> Metrics:
        count, size = self.count[index], self.size[index]
        pinball = self.pinball[index]
        metrics = {"crps": float(self.crps[index] / count)}
        if size > NAUGHT:
            metrics["wql"] = float(2 * np.mean(pinball) / size)

        names = interval_names(self.levels)
        parts = (("coverage", self.covered), ("width", self.width), ("winkler", self.winkler))
        for kind, sums in parts:
            for name, total in zip(names, sums[index], strict=True):
                metrics[f"{kind}_{name}"] = float(total / count)
        for level, total in zip(self.levels, pinball, strict=True):
            metrics[f"pinball_{percent(level)}"] = float(total / count)
        return metrics


def _pinball(quantiles: Floats, actual: Floats, levels: Sequence[float]) -> Floats:
    """Return rho_p(actual - q_p), `[N, F, L]`."""
    error = actual[..., None] - quantiles
    chances = np.asarray(levels)
    return np.maximum(chances * error, (chances - 1) * error)


def _added(sums: Floats, each: NDArray[Any], came: NDArray[np.bool_]) -> Floats:
    """Return sums of columns, with what came of some rows `[N, F, ...]` added."""
    there = came if each.ndim == came.ndim else came[..., None]
    total = np.where(there, each, 0).sum(axis=0, dtype=np.float64)
    return np.asarray(sums + total if sums.size else total)


def _in_own_units(scores: Tensor, own: ToOwn) -> Floats:
    """Return scores `[N, F]` of scaled numbers in the data's own units; nan where these bend.

    A score is one of distances, and grows as they do.
    """
    at = [own(scores.new_full(scores.shape, place)) for place in (-1.0, 0.0, 1.0)]
    with np.errstate(over="ignore", invalid="ignore"):
        unit = (at[2] - at[0]) / 2
        bend = np.abs(at[2] + at[0] - 2 * at[1])
        rounding = 16 * np.finfo(np.float64).eps * np.abs(at[1])
        straight = bend <= STRAIGHT * np.abs(unit) + rounding
        return np.where(straight, scores.cpu().numpy() * np.abs(unit), np.nan)
