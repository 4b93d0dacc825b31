"""The errors of forecasts: of all of them, of each step ahead, and of each series."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import Metrics, SeriesScales, measurable
from recurra.data.splits import sampled
from recurra.job.figures import Ahead, OneSeries
from recurra.train.errors import Errors, Floats, Term, figures, terms

STEPS_TOLD = 128
"""Steps ahead whose figures are told; of more, so many that lie evenly over all of them."""


class RuleScore:
    """The errors of one rule, or of the model, over the series that it has forecast.

    `horizon` is how many steps the longest forecast has.
    """

    def __init__(self, scales: SeriesScales, horizon: int) -> None:
        width = scales.each.shape[1]
        self.scales = scales
        self.all = Errors(None, scales)
        self.steps = np.zeros((len(Term), horizon, width))
        self.scaled = np.zeros((2, horizon, width))
        self.series: list[Metrics] = []

    def add(self, guess: NDArray[np.float64], future: NDArray[np.float64], row: int) -> None:
        """Add the forecast `[T, F]` of the series in a row of the scales."""
        begin, own = self.scales.starts[row : row + 1], self.scales.each[row]
        each = terms(guess, future)
        self.all.add_terms(each, np.broadcast_to(begin, len(future)))

        steps = slice(0, len(future))
        some = measurable(own)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scaled = np.where(some, each[Term.ABSOLUTE] / own, 0)
            sums = each.sum(axis=1)
            ratios = np.where(some, sums[Term.ABSOLUTE] / sums[Term.COUNT] / own, np.nan)
            self.steps[:, steps] += each
            self.scaled[0, steps] += scaled
        self.scaled[1, steps] += np.where(some, each[Term.COUNT], 0)
        self.series.append(figures(sums, ratios))

    def at(self, step: int) -> Metrics:
        """Return the figures of a step of the forecast."""
        total, count = self.scaled[:, step]
        scaled = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return figures(self.steps[:, step], scaled)


class ForecastScores:
    """The errors of the model and of each baseline, and how many series it has forecast."""

    def __init__(self, scales: SeriesScales, horizon: int) -> None:
        self.parts = (scales, horizon)
        self.model = RuleScore(*self.parts)
        self.rules: dict[str, RuleScore] = {}

    def add(
        self,
        predicted: Floats,
        guesses: Mapping[str, NDArray[np.float64]],
        future: Floats,
        row: int,
    ) -> None:
        """Take note of the forecasts of one series; a rule that needs more history gives none."""
        self.model.add(predicted, future, row)
        for rule, guess in guesses.items():
            self.rules.setdefault(rule, RuleScore(*self.parts)).add(guess, future, row)

    @property
    def counts(self) -> dict[str, int]:
        """How many series each rule has forecast."""
        return {rule: len(score.series) for rule, score in self.rules.items()}

    def of_all(self) -> dict[str, RuleScore]:
        """Return those rules that have forecast every series: the rest are of others."""
        series = len(self.model.series)
        return {rule: score for rule, score in self.rules.items() if len(score.series) == series}

    def by_step(self) -> list[Ahead]:
        """Return the figures of each step ahead, or of some, evenly over all."""
        compared = self.of_all()
        _, horizon = self.parts
        return [
            {
                "ahead": step + 1,
                "metrics": self.model.at(step),
                "baselines": {rule: score.at(step) for rule, score in compared.items()},
            }
            for step in sampled(np.arange(horizon), STEPS_TOLD).tolist()
        ]

    def by_series(self, places: list[int]) -> list[OneSeries]:
        """Return the figures of each series, of which `places` are those in the data."""
        compared = self.of_all()
        return [
            {
                "series": place + 1,
                "metrics": self.model.series[row],
                "baselines": {rule: score.series[row] for rule, score in compared.items()},
            }
            for row, place in enumerate(places)
        ]
