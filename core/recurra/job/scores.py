"""The errors of forecasts: of all of them, of each step ahead, and of each series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recurra.contracts.metric import Metrics, SeriesScales, measurable
from recurra.data.splits import sampled
from recurra.data.store import Ints
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
        self.of_series: list[tuple[Ints, Floats, Floats]] = []
        self.count = 0

    def add(self, guesses: Floats, futures: Floats, rows: Ints) -> None:
        """Add the forecasts `[N, T, F]` of the series in some rows `[N]` of the scales."""
        begin, own = self.scales.starts[rows], self.scales.each[rows]
        each = terms(guesses, futures)
        self.all.add_terms(each, np.repeat(begin, futures.shape[1]))

        steps = slice(0, futures.shape[1])
        some = measurable(own)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            absolute = each[Term.ABSOLUTE] / own[:, None]
            scaled = np.where(some[:, None], absolute, 0).sum(axis=0)
            sums = each.sum(axis=2)
            ratios = np.where(some, sums[Term.ABSOLUTE] / sums[Term.COUNT] / own, np.nan)
            self.steps[:, steps] += each.sum(axis=1)
            self.scaled[0, steps] += scaled
        self.scaled[1, steps] += np.where(some[:, None], each[Term.COUNT], 0).sum(axis=0)
        self.of_series.append((rows, sums, ratios))
        self.count += len(rows)

    @property
    def series(self) -> dict[int, Metrics]:
        """The figures of each series, by its row."""
        return {
            row: figures(sums[:, place], ratios[place])
            for rows, sums, ratios in self.of_series
            for place, row in enumerate(rows.tolist())
        }

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
        predicted: Sequence[Floats],
        guesses: Sequence[Mapping[str, Floats]],
        futures: Sequence[Floats],
        first: int = 0,
    ) -> None:
        """Take note of the forecasts of some series, in the rows from `first` on.

        A rule that needs more history of a series gives none of it.
        """
        for guessed in guesses:
            for rule in guessed:
                self.rules.setdefault(rule, RuleScore(*self.parts))

        places: dict[int, list[int]] = {}
        for place, future in enumerate(futures):
            places.setdefault(len(future), []).append(place)
        for alike in places.values():
            self._add(self.model, alike, predicted, futures, first)
            for rule, score in self.rules.items():
                own = [place for place in alike if rule in guesses[place]]
                guess = {place: guesses[place][rule] for place in own}
                self._add(score, own, guess, futures, first)

    @staticmethod
    def _add(
        score: RuleScore,
        places: Sequence[int],
        made: Sequence[Floats] | Mapping[int, Floats],
        futures: Sequence[Floats],
        first: int,
    ) -> None:
        """Add the forecasts of those series that stand at some places."""
        if not places:
            return
        stacked = np.stack([made[place] for place in places])
        score.add(stacked, np.stack([futures[place] for place in places]), first + np.array(places))

    @property
    def counts(self) -> dict[str, int]:
        """How many series each rule has forecast."""
        return {rule: score.count for rule, score in self.rules.items()}

    def of_all(self) -> dict[str, RuleScore]:
        """Return those rules that have forecast every series: the rest are of others."""
        series = self.model.count
        return {rule: score for rule, score in self.rules.items() if score.count == series}

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
        model = self.model.series
        compared = {rule: score.series for rule, score in self.of_all().items()}
        return [
            {
                "series": place + 1,
                "metrics": model[row],
                "baselines": {rule: series[row] for rule, series in compared.items()},
            }
            for row, place in enumerate(places)
        ]
