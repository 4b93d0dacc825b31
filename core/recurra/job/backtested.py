"""The figures of a backtest: of each fold, of each step ahead, and of all, beside the baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import SeriesScales
from recurra.data.store import Ints
from recurra.generate import levels as written
from recurra.generate.conformal import missed_by
from recurra.generate.levels import Levels
from recurra.job.figures import Ahead, Columns, Measured, Spreads, Verdict
from recurra.job.folds import Plan
from recurra.job.forecasts import by_column, unscaled, zeros
from recurra.job.frame import Row
from recurra.job.interval_figures import IntervalScores, without
from recurra.job.scores import ForecastScores
from recurra.job.series import Series
from recurra.runs.backtests import Forecasts
from recurra.train import series as rules

TOGETHER = 256
"""Series of which simple rules make forecasts at a time."""


class Fold(Measured):
    """The figures of a fold: of so many `series`, beside those that are `left_out` as too short.

    After its cutoff each has `left_off` steps; `run` is the run whose model forecast.
    """

    fold: int
    left_off: int
    series: int
    left_out: int
    run: str
    by_step: list[Ahead]


class Figures(Measured, Columns, Spreads):
    """The figures of all folds together, and of each step ahead."""

    by_step: list[Ahead]


class Shape(TypedDict):
    """How many folds there are, how many steps apart, and how many steps each forecasts."""

    folds: int
    step: int
    horizon: int


class Backtested(Figures, Verdict, Shape):
    """result.json: what a backtest came to."""

    backtest: str
    task: str
    model: str
    retrain: bool
    series: int
    by_fold: list[Fold]
    frame: str
    seconds: float


class Forecasted(NamedTuple):
    """A series in a fold: its row and cutoff, what precedes it, what came, what was forecast.

    The `quantiles` `[Q, H, F]` are those of its intervals.
    """

    row: int
    cutoff: int
    history: NDArray[np.float64]
    future: NDArray[np.float64]
    predicted: NDArray[np.float64]
    quantiles: NDArray[np.float64]


def each(series: Series, plan: Plan, fold: int, made: Forecasts) -> Iterator[Forecasted]:
    """Give the series of a fold."""
    cutoffs = plan.cutoffs(series.lengths, fold)
    parts = zip(made.rows.tolist(), made.values, made.quantiles, strict=True)
    for row, predicted, quantiles in parts:
        cutoff = int(cutoffs[row])
        history = series.between(row, 0, cutoff)
        future = series.between(row, cutoff, cutoff + plan.horizon)
        yield Forecasted(row, cutoff, history, future, predicted, quantiles)


def rows(series: Series, plan: Plan, fold: int, made: Forecasts, levels: Levels) -> Iterator[Row]:
    """Give the rows of a fold's frame, series after series and column after column.

    Behind what is forecast stand the bounds of its intervals at some levels.
    """
    places = [made.chances.index(chance) for chance in written.chances(levels)]
    for one in each(series, plan, fold, made):
        ahead = range(one.cutoff - 1, one.cutoff + plan.horizon)
        cutoff, *labels = series.clock.labels(one.row, ahead)
        for column in range(series.width):
            name = series.unique_id(one.row, column)
            actual, predicted = (of[:, column].tolist() for of in (one.future, one.predicted))
            bounds = one.quantiles[places, :, column].T.tolist()
            for ds, came, said, own in zip(labels, actual, predicted, bounds, strict=True):
                yield name, ds, cutoff, came, said, *own


def missed(
    series: Series, plan: Plan, fold: int, made: Forecasts
) -> dict[float, NDArray[np.float64]]:
    """Return which shares `[H, F]` of what came lie outside of the intervals of a fold.

    They are by the chance of a miss; of a step that never came it is not a number.
    """
    outside: dict[float, NDArray[np.float64]] = {}
    futures = np.stack([one.future for one in each(series, plan, fold, made)])
    for place, chance in enumerate(made.chances):
        if chance >= 0.5:
            continue
        low = made.quantiles[:, place]
        high = made.quantiles[:, made.chances.index(opposite(made.chances, chance))]
        known = np.isfinite(futures) & np.isfinite(low) & np.isfinite(high)
        count = known.sum(axis=0)
        out = (known & ((futures < low) | (futures > high))).sum(axis=0)
        outside[missed_by(chance)] = np.where(count > 0, out / np.maximum(count, 1), np.nan)
    return outside


def opposite(chances: Sequence[float], chance: float) -> float:
    """Return the chance that lies as far above a half as one lies below."""
    return min(chances, key=lambda other: abs(other - (1 - chance)))


class Scored:
    """The errors of folds, one after the other: of each series of each fold by its own scale.

    What a series is measured by is its history before the cutoff. Where that is too short for a
    rule, naive stands in for it: else the first folds would lose the best rules for a few series.
    """

    def __init__(
        self,
        series: Series,
        plan: Plan,
        season: int,
        total: int,
        levels: Levels,
        tenths: bool,
    ) -> None:
        self.series, self.plan, self.season = series, plan, season
        self.scales = SeriesScales(np.arange(total), np.full((total, series.width), np.nan))
        self.all = ForecastScores(self.scales, plan.horizon)
        self.levels, self.tenths = levels, tenths
        self.intervals = self._intervals()
        self.count = 0
        self.broken = 0
        needed = chain.from_iterable(rules.needs(season).values())
        self.rules = [rule for rule in needed if not rule.endswith(rules.LOGS)]
        self.stood_in: Counter[str] = Counter()

    def add(self, fold: int, made: Forecasts) -> tuple[ForecastScores, list[str]]:
        """Add the forecasts of a fold; return its own errors, and what is to be said of them."""
        count = len(made.rows)
        own = SeriesScales(np.arange(count), np.full((count, self.series.width), np.nan))
        scores = ForecastScores(own, self.plan.horizon)
        self.of_fold = self._intervals()
        self.chances = made.chances
        of_all = _mean(each(self.series, self.plan, fold, made)) if count > 1 else None
        rest, at = each(self.series, self.plan, fold, made), 0
        stood_in: Counter[str] = Counter()
        while some := list(islice(rest, TOGETHER)):
            steps = [self.plan.horizon] * len(some)
            histories = [one.history for one in some]
            guesses = rules.forecasts(histories, steps, self.season, of_all)
            stood_in += self._add(scores, own, some, guesses, at)
            at += len(some)
        self.stood_in += stood_in
        _drop(scores, stood_in, count)
        return scores, [*_stand_ins(scores, stood_in), *unscaled(own, own.starts)]

    def _add(
        self,
        scores: ForecastScores,
        own: SeriesScales,
        some: list[Forecasted],
        guesses: list[rules.Guesses],
        at: int,
    ) -> Counter[str]:
        """Add some series, beside what the rules guess, to the errors of their fold.

        They are the ones from `at` on. Returns for how many of them naive stands in for each rule.
        """
        stood_in: Counter[str] = Counter()
        first, told = self.count, []
        for row, (one, guessed) in enumerate(zip(some, guesses, strict=True), at):
            own.each[row] = rules.scale_of(one.history, self.season)
            self.scales.each[self.count] = own.each[row]
            if "naive" in guessed:
                absent = [rule for rule in self.rules if rule not in guessed]
                stood_in.update(absent)
                guessed = {**guessed, **dict.fromkeys(absent, guessed["naive"])}
            told.append(guessed)
            self.count += 1
            self.broken += not np.isfinite(one.predicted).all()
            for intervals in (self.intervals, self.of_fold):
                if intervals is not None:
                    intervals.add(one.quantiles, self.chances, one.future, own.each[row])
        predicted, futures = [one.predicted for one in some], [one.future for one in some]
        scores.add(predicted, told, futures, at)
        self.all.add(predicted, told, futures, first)
        return stood_in

    def _intervals(self) -> IntervalScores | None:
        """Return what measures intervals, where there are such."""
        if not self.levels:
            return None
        return IntervalScores(self.levels, self.plan.horizon, self.tenths)

    def figures(self) -> Figures:
        """Return the figures of all folds."""
        _drop(self.all, self.stood_in, self.count)
        model, compared = self.all.model.all, self.all.of_all()
        sums = {rule: score.all for rule, score in compared.items()}
        columns = by_column(
            self.series.features, [column.metrics() for column in model.columns], sums
        )
        own_columns: Columns = {"columns": columns} if columns else {}
        notes = unscaled(self.scales, self.scales.starts, "forecasts of series")
        notes += zeros(self.all.model.all)
        if self.broken:
            notes.append(
                f"{self.broken:,} of {self.count:,} forecasts are not finite from some step on:"
                " the figures of the model are none"
            )
        spreads: Spreads = {}
        if self.intervals is not None:
            notes += without(self.intervals)
            spreads = {"levels": list(self.levels), "by_scale": self.intervals.by_scale()}
        whole: Figures = {
            "metrics": model.metrics(),
            "baselines": {rule: each.metrics() for rule, each in sums.items()},
            **own_columns,
            **spreads,
            "by_step": self.all.by_step(),
            "notes": notes,
        }
        if self.intervals is not None:
            beside(whole, self.intervals)
        return whole


def beside(figures: Figures | Fold, intervals: IntervalScores) -> None:
    """Add the figures of intervals to those of forecasts, over all and step by step."""
    figures["metrics"] |= intervals.metrics()
    for row in figures["by_step"]:
        row["metrics"] |= intervals.at(row["ahead"] - 1)


def _mean(forecasted: Iterable[Forecasted]) -> NDArray[np.float64]:
    """Return the mean `[F]` of all that precedes the cutoffs of a fold."""
    total, count = np.zeros(1), 0
    for one in forecasted:
        with np.errstate(over="ignore", invalid="ignore"):
            total = total + one.history.sum(axis=0)
        count += len(one.history)
    return np.asarray(total / count)


def _drop(scores: ForecastScores, stood_in: Mapping[str, int], count: int) -> None:
    """Forget the rules that have forecast none of so many series themselves."""
    for rule, times in stood_in.items():
        if times == count:
            scores.rules.pop(rule, None)


def _stand_ins(scores: ForecastScores, stood_in: Mapping[str, int]) -> list[str]:
    """Return a note of the series in which naive stands in for a rule."""
    told = [
        f"{rule} ({count:,} series)" for rule, count in stood_in.items() if rule in scores.rules
    ]
    if not told:
        return []
    return [f"naive stands in, where history is too short, for {', '.join(told)}"]


def fold_figures(
    fold: int, plan: Plan, lengths: Ints, made: Forecasts, scores: ForecastScores, notes: list[str]
) -> Fold:
    """Return the figures of a fold."""
    compared = scores.of_all()
    return {
        "fold": fold,
        "left_off": plan.left_off(fold),
        "series": len(made.rows),
        "left_out": len(lengths) - len(made.rows),
        "run": "",
        "metrics": scores.model.all.metrics(),
        "baselines": {rule: score.all.metrics() for rule, score in compared.items()},
        "by_step": scores.by_step(),
        "notes": notes,
    }
