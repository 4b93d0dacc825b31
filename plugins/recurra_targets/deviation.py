"""What is measured of numbers that answer a whole sequence: rmse, mae and R²."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recurra import Figure, Metric, Metrics, Vocabulary

Floats = NDArray[np.float64]

ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""What deviates no more than this, in parts of the largest, does not vary."""

ALIKE = "what came is the same for every sequence, and there is nothing to explain"
"""Why there may be no R²."""


class Deviations:
    """Sums over rows of numbers `[N, F]` and what was predicted of them, in their own units.

    R² = 1 - sum (y - p)^2 / sum (y - mean y)^2, of each column. The mean of what came is not known
    before its end, so that the second sum is put together from blocks (Chan, Golub & LeVeque 1983,
    doi:10.1080/00031305.1983.10483115): no square of a large number is taken from another.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.absolute, self.squared = np.zeros(width), np.zeros(width)
        self.mean, self.spread = np.zeros(width), np.zeros(width)
        self.largest = np.zeros(width)

    def add(self, predicted: Floats, came: Floats) -> None:
        """Add rows `[N, F]`."""
        with np.errstate(over="ignore", invalid="ignore"):
            # The errors of a network that has gone wrong may be beyond all numbers.
            errors = np.abs(predicted - came)
            self.absolute += errors.sum(axis=0)
            self.squared += (errors**2).sum(axis=0)
            self.largest = np.maximum(self.largest, np.abs(came).max(axis=0))

            mean = came.mean(axis=0)
            self._add(len(came), mean, ((came - mean) ** 2).sum(axis=0))

    def merge(self, other: Deviations) -> None:
        """Add the sums of other rows."""
        if not other.count:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            self.absolute += other.absolute
            self.squared += other.squared
            self.largest = np.maximum(self.largest, other.largest)
            self._add(other.count, other.mean, other.spread)

    def _add(self, count: int, mean: Floats, spread: Floats) -> None:
        """Add so many rows, of which mean and spread `[F]` are known."""
        away = mean - self.mean
        self.spread += spread
        self.spread += away**2 * (self.count * count / (self.count + count))
        self.mean += away * (count / (self.count + count))
        self.count += count

    def metrics(self) -> Metrics:
        """Return rmse and mae of all numbers, and the mean R² of the columns that vary at all."""
        columns, numbers = self.squared, self.count * len(self.squared)
        figures = {
            "rmse": float(np.sqrt(columns.sum() / numbers)),
            "mae": float(self.absolute.sum() / numbers),
        }
        # The mean of equal numbers is not always one of them: rounding is no variation.
        varies = np.sqrt(self.spread / self.count) > ROUNDING * self.largest
        if varies.any():
            figures["r2"] = float((1 - columns[varies] / self.spread[varies]).mean())
        return figures

    @property
    def columns(self) -> Sequence[Deviations]:
        """Return the sums of each column, where there are several."""
        width = len(self.mean)
        return [self._column(index) for index in range(width)] if width > 1 else ()

    def _column(self, index: int) -> Deviations:
        alone, part = Deviations(1), slice(index, index + 1)
        alone.count = self.count
        alone.absolute, alone.squared = self.absolute[part], self.squared[part]
        alone.mean, alone.spread = self.mean[part], self.spread[part]
        alone.largest = self.largest[part]
        return alone


class Deviation(Metric):
    """How far answers lie from what came, in the data's own units."""

    FIGURES = (
        Figure("rmse"),
        Figure("mae", title="mean absolute error"),
        Figure("r2", higher=True, least=-np.inf, most=1.0, title="R²", absent=ALIKE),
    )

    def __init__(self, vocabulary: Vocabulary[Any], scale: Floats | None = None) -> None:
        super().__init__(vocabulary)
        self.sums = Deviations(vocabulary.size)

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return the figures; R² is there where what came is not all the same."""
        return Deviation.FIGURES

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add scaled answers and what came, `[N, F]`."""
        predicted, came = (
            self.vocabulary.decode(rows.cpu().double().numpy()) for rows in (output, target)
        )
        self.sums.add(np.asarray(predicted), np.asarray(came))

    def merge(self, other: Self) -> None:
        """Add the sums of others."""
        self.sums.merge(other.sums)

    def values(self) -> Metrics:
        """Return the figures."""
        return self.sums.metrics()

    def columns(self) -> Sequence[Deviations]:
        """Return the sums of each column, where there are several."""
        return self.sums.columns
