"""Forecasts with their intervals: the one place where a spread is put around what is forecast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from recurra.contracts.vocabulary import Vocabulary
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.data.outlook import Outlook
from recurra.errors import InputError
from recurra.generate import levels as written
from recurra.generate.abreast import ROWS, SERIES, Floats, Start, at_a_time, forecasts
from recurra.generate.levels import Levels
from recurra.model.network import Network

NO_SPREAD = "no intervals can be told: what is forecast is a number alone"
GIVE_SPREAD = "train with a loss that is a distribution, or with target.conformal"
"""Why there may be none, and what is to be done."""


class Spread(Protocol):
    """What gives quantiles of what comes after some series.

    `steps` is how many steps ahead it tells at most, 0 without a bound.
    """

    @property
    def steps(self) -> int:
        """How many steps ahead it tells at most, 0 without a bound."""

    def lacks(self, chance: float) -> str:
        """Return why the quantile of a chance cannot be given; nothing where it can."""

    def quantiles(
        self, starts: Sequence[Start], points: Sequence[Floats], chances: Sequence[float]
    ) -> Iterable[Floats]:
        """Give the quantiles `[Q, H, F]` at some chances of each series, in the data's units.

        `chances` `[Q]` rise, and so do the quantiles; `points` `[H, F]` are the forecasts of each.
        Where there is no quantile stands no number. It hangs on nothing but the series itself, not
        on what stands beside it in a batch.
        """


class Foretold(NamedTuple):
    """A forecast of a series: its points `[H, F]`, and the bounds of intervals `[Q, H, F]`.

    The bounds rise; there are none where none are asked for.
    """

    points: Floats
    bounds: Floats


@dataclass(frozen=True)
class Intervals:
    """The intervals that are asked for: their levels, and the spread that gives them."""

    spread: Spread
    levels: Levels

    @property
    def chances(self) -> tuple[float, ...]:
        """The chances of their bounds."""
        return written.chances(self.levels)

    @property
    def names(self) -> list[str]:
        """What the bounds are called: lo-95, lo-80, hi-80, hi-95."""
        return written.bounds(self.levels)

    def check(self, steps: int, name: str) -> None:
        """Refuse more steps than the spread tells. Raises `InputError` (RC080)."""
        most = self.spread.steps
        if most and steps > most:
            fact = f"intervals are known of {most} steps ahead, and {steps} are asked for"
            cure = f"{name} = {most} at most, or no levels"
            raise InputError.of("RC080", fact, got=f"{name} = {steps}", cure=cure)


def chosen(spread: Spread | None, asked: Levels | None) -> Intervals | None:
    """Return the intervals at levels, or, where none are asked for, at those that can be given.

    Raises `InputError` (RC080) for levels that cannot.
    """
    if spread is None:
        if not asked:
            return None
        listed = ", ".join(map(written.text, asked))
        raise InputError.of("RC080", NO_SPREAD, got=f"levels = {listed}", cure=GIVE_SPREAD)

    given = [
        level
        for level in asked or written.DEFAULT
        if not any(map(spread.lacks, written.chances([level])))
    ]
    if asked is None:
        return Intervals(spread, tuple(given)) if given else None
    for level in asked:
        if level not in given:
            why = next(filter(None, map(spread.lacks, written.chances([level]))))
            fact = f"no interval of level {written.text(level)} can be given: {why}"
            raise InputError.of("RC080", fact, cure=_others(spread))
    return Intervals(spread, asked)


def _others(spread: Spread) -> str:
    """Return which levels may be asked for instead: below one, or those that stand alone."""
    whole = [n for n in range(1, 100) if not any(map(spread.lacks, written.chances([n])))]
    if not whole:
        return "ask for no levels"
    if whole == list(range(1, len(whole) + 1)):
        return "ask for a smaller level"
    return f"ask for levels of {', '.join(map(str, whole))}"


def foretold(
    network: Network,
    vocabulary: Vocabulary[Any],
    starts: Iterable[Start],
    steps: int,
    outlook: Outlook | None = None,
    covariates: CovariateVocabulary | None = None,
    intervals: Intervals | None = None,
) -> Iterator[Foretold]:
    """Give the forecast of each series, as `forecasts` does, and its intervals, if any are asked.

    The points are the same with them and without.
    """
    if intervals is None:
        for points in forecasts(network, vocabulary, starts, steps, outlook, covariates):
            yield Foretold(points, np.zeros((0, *points.shape)))
        return

    for some in at_a_time(starts, lambda start: len(start.history), SERIES, ROWS):
        made = list(forecasts(network, vocabulary, some, steps, outlook, covariates))
        yield from around(intervals, some, made)


def around(
    intervals: Intervals, starts: Sequence[Start], points: Sequence[Floats]
) -> Iterator[Foretold]:
    """Give forecasts `[H, F]` that are there with their intervals."""
    given = intervals.spread.quantiles(starts, points, intervals.chances)
    for own, bounds in zip(points, given, strict=True):
        yield Foretold(own, bounds)
