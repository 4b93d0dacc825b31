"""Errors of numbers as sums, and the figures that are made of them.

With e = predicted - actual, over all values that came (docs/figures.md has the formulas):

    mae    mean |e|
    rmse   sqrt(mean e²)
    mape   100 mean |e / actual|, over the values that are not 0
    smape  200 mean |e| / (|actual| + |predicted|), 0 where both are 0: between 0 and 200
    wape   100 sum |e| / sum |actual|
    mase   mean over series of mean |e| / scale (Hyndman & Koehler 2006,
           doi:10.1016/j.ijforecast.2006.03.001), of those whose scale is not 0

Of several columns wape and mase are the mean of theirs, for their units cannot be added up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import NAUGHT, Metrics, Scale, SeriesScales, measurable
from recurra.data.store import Ints

Floats: TypeAlias = NDArray[np.float64]


class Term(IntEnum):
    """What is added up of each value."""

    COUNT = 0
    ABSOLUTE = 1
    SQUARED = 2
    RELATIVE = 3
    NONZERO = 4
    SYMMETRIC = 5
    SIZE = 6


def terms(predicted: NDArray[Any], actual: NDArray[Any]) -> Floats:
    """Return what each value adds to each sum, `[len(Term), ...]`; one that is missing nothing.

    A missing value is not a number.
    """
    predicted = np.asarray(predicted, np.float64)
    actual = np.asarray(actual, np.float64)
    came = ~np.isnan(actual)
    some = came & (np.abs(actual) > NAUGHT)
    each = np.zeros((len(Term), *actual.shape))

    # Errors of a network that has gone wrong are infinite.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        gap = np.abs(predicted - actual)
        # By halves, for a sum of two large numbers may be beyond all numbers.
        half = np.abs(predicted / 2 - actual / 2)
        both = np.abs(predicted) / 2 + np.abs(actual) / 2
        apart = np.where(np.isinf(predicted), 1.0, half / both)
        each[Term.COUNT] = came
        each[Term.ABSOLUTE] = np.where(came, gap, 0)
        each[Term.SQUARED] = np.where(came, gap**2, 0)
        each[Term.RELATIVE] = np.where(some, gap / np.abs(actual), 0)
        each[Term.NONZERO] = some
        each[Term.SYMMETRIC] = np.where(came & ~(both <= 0), apart, 0)
        each[Term.SIZE] = np.where(came, np.abs(actual), 0)
    return each


def figures(sums: Floats, scaled: Floats | None = None) -> Metrics:
    """Return the figures of sums `[len(Term), F]` of each column; none of no values.

    `scaled` `[F]` are the mean absolute scaled errors, not a number where a column has none.
    """
    total = sums.sum(axis=1)
    count = total[Term.COUNT]
    if not count:
        return {}
    metrics = {
        "mae": float(total[Term.ABSOLUTE] / count),
        "rmse": math.sqrt(total[Term.SQUARED] / count),
    }
    if total[Term.NONZERO]:
        metrics["mape"] = float(100 * total[Term.RELATIVE] / total[Term.NONZERO])
    metrics["smape"] = float(200 * total[Term.SYMMETRIC] / count)

    some = sums[Term.SIZE] > NAUGHT
    if some.any():
        metrics["wape"] = float(100 * np.mean(sums[Term.ABSOLUTE, some] / sums[Term.SIZE, some]))
    if scaled is not None:
        given = ~np.isnan(scaled)
        if given.any():
            metrics["mase"] = float(scaled[given].mean())
    return metrics


@dataclass
class Errors:
    """Sums of errors of numbers, in the data's own units; of several columns those of each too.

    `scale` is by what errors are measured, or `scales` those of each of several series.
    """

    scale: Scale | None = None
    scales: SeriesScales | None = None
    sums: Floats = field(default_factory=lambda: np.zeros(len(Term)))
    columns: list[Errors] = field(default_factory=list)
    of_series: Floats | None = None
    """The absolute error of each series, and of how many values: `[2, S]`."""

    @property
    def count(self) -> int:
        """How many values came."""
        return int(self.sums[Term.COUNT])

    def add(
        self, predicted: NDArray[Any], actual: NDArray[Any], series: Ints | None = None
    ) -> None:
        """Add predictions and what came, both `[..., F]`.

        `series` `[...]` are where in the data the series of each begins.
        """
        self.add_terms(terms(predicted, actual), series)

    def add_terms(self, each: Floats, series: Ints | None = None) -> None:
        """Add what values add to each sum, `[len(Term), ..., F]`, as `terms` gives it."""
        width = each.shape[-1] if each.ndim > 2 else 1
        each = each.reshape(len(Term), -1, width)
        rows = None
        if series is not None and self.scales is not None:
            rows = self.scales.rows(np.broadcast_to(series, each.shape[1:2]))
        self._add(each, rows)

    def _add(self, each: Floats, rows: Ints | None) -> None:
        """Add what values add to each sum, `[len(Term), N, F]`, of the series in `rows` `[N]`."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.sums += each.reshape(len(Term), -1).sum(axis=1)
        width = each.shape[2]
        if width == 1:
            self._add_by_series(each[..., 0], rows)
            return

        if not self.columns:
            self.columns = [self._column(index) for index in range(width)]
        for index, column in enumerate(self.columns):
            column._add(np.ascontiguousarray(each[..., index : index + 1]), rows)

    def _column(self, index: int) -> Errors:
        """Return sums of nothing for a column."""
        scale = None if self.scale is None else self.scale[index : index + 1]
        return Errors(scale, self.scales and self.scales.column(index))

    def _add_by_series(self, each: Floats, rows: Ints | None) -> None:
        if rows is None:
            return
        if self.of_series is None:
            assert self.scales is not None, "a row of it was looked up"
            self.of_series = np.zeros((2, len(self.scales.starts)))
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(self.of_series[0], rows, each[Term.ABSOLUTE])
        np.add.at(self.of_series[1], rows, each[Term.COUNT])

    def merge(self, other: Errors) -> None:
        """Add the sums of others, measured by the same scales."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.sums += other.sums
            if other.of_series is not None:
                before = 0.0 if self.of_series is None else self.of_series
                self.of_series = before + other.of_series

        if other.columns and not self.columns:
            self.columns = [self._column(index) for index in range(len(other.columns))]
        for column, more in zip(self.columns, other.columns, strict=False):
            column.merge(more)

    def metrics(self) -> Metrics:
        """Return mae, rmse, mape over the values that are not 0, smape, wape and mase."""
        parts = self.columns or [self]
        sums = np.stack([part.sums for part in parts], axis=1)
        return figures(sums, np.array([part._scaled() for part in parts]))

    def _scaled(self) -> float:
        """Return the mean absolute scaled error of one column; not a number where it has none.

        A series that never changed in training has none.
        """
        if self.of_series is not None and self.scales is not None:
            absolute, count = self.of_series
            scale = self.scales.each[:, 0]
            some = (count > 0) & measurable(scale)
            if not some.any():
                return math.nan
            return float(np.mean(absolute[some] / count[some] / scale[some]))

        if self.scale is None or not measurable(self.scale)[0] or not self.count:
            return math.nan
        return float(self.sums[Term.ABSOLUTE] / self.count / self.scale[0])
