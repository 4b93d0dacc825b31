"""Conformal intervals: around a point, as wide as what such points have missed by before.

A score is (y - point) / unit, where the unit is known when the forecast is made: half the width of
the 80 % interval of a distribution, else the scale of mase of the history. With n scores of a step
ahead the quantile of chance c is the score of rank ceil((n + 1) c), in which what comes next lies
with that chance at least where it is exchangeable with them (Vovk et al. 2005; Lei et al. 2018,
doi:10.1080/01621459.2017.1307116); of c below a half the rank is counted from above.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recurra.contracts.metric import measurable
from recurra.generate.abreast import Floats, Start
from recurra.generate.foretold import Spread
from recurra.train import series as rules

RATE = 0.05
"""By what the chance of a miss is moved for each origin, gamma of Gibbs & Candes 2021.

Zaffran et al. 2022, arXiv:2202.07282, find rates about this best where little has come.
"""
HALF = (0.1, 0.9)
"""The chances of the bounds between which lie two units of a distribution."""
DIGITS = 9
"""Digits of a rank that count: what binary fractions add to a level does not."""

Scores = list[list[list[list[float]]]]
"""Scores by origin, the earliest first, by step ahead and by column."""


def rank(chance: float, count: int) -> int:
    """Return which of so many scores, from 1, is the quantile of a chance; none is 0, or above."""
    if chance < 0.5:
        return count + 1 - rank(1 - chance, count)
    return math.ceil(round((count + 1) * chance, DIGITS))


def least(chance: float) -> int:
    """Return how many scores the quantile of a chance needs."""
    tail = max(chance, 1 - chance)
    return math.ceil(round(tail / (1 - tail), DIGITS))


def missed_by(chance: float) -> float:
    """Return the chance of a miss of the interval that has the quantile of a chance for a bound.

    It is rounded, so that both bounds of an interval have the same.
    """
    return round(2 * min(chance, 1 - chance), DIGITS)


def quantile(scores: Floats, chance: float) -> float:
    """Return the quantile of sorted scores `[n]`; the last there is where it lies beyond them."""
    if not len(scores):
        return math.nan
    place = min(max(rank(chance, len(scores)), 1), len(scores))
    return float(scores[place - 1])


def adapted(scores: Sequence[Floats], chance: float, rate: float = RATE) -> float:
    """Return the chance of a miss that is taken in the place of one, after scores of some origins.

    `scores` are those of each origin `[n]`, the earliest first. From the first origin on before
    which enough have come, alpha becomes alpha + rate (chance - the share that was missed), as
    Gibbs & Candes 2021, arXiv:2106.00170, have it: an interval of alpha up to 0 misses nothing, and
    one of 1 or more everything.
    """
    alpha, before = chance, np.zeros(0)
    for own in scores:
        if len(before) >= least(1 - chance / 2) and len(own):
            alpha += rate * (chance - _missed(before, own, alpha))
        before = np.sort(np.concatenate([before, own]))
    return alpha


def _missed(before: Floats, own: Floats, alpha: float) -> float:
    """Return which share of scores lies outside the interval that earlier ones give."""
    if alpha <= 0 or least(1 - alpha / 2) > len(before):
        return 0.0
    if alpha >= 1:
        return 1.0
    low, high = (quantile(before, chance) for chance in (alpha / 2, 1 - alpha / 2))
    return float(np.mean((own < low) | (own > high)))


def unit_of(history: Floats, season: int) -> Floats:
    """Return by what scores of a series are measured, `[F]`; not a number where nothing is."""
    scale = np.asarray(rules.scale_of(history, season), np.float64)
    return np.where(measurable(scale), scale, np.nan)


@dataclass(frozen=True)
class Conformal:
    """The spread that scores give, around a point or around another spread, the `base`.

    One that is `adaptive` moves each level by what was missed so far; `later` holds, by the chance
    of a miss, what it has been moved to since, `[H, F]`.
    """

    scores: Sequence[Sequence[Sequence[Floats]]]
    season: int
    base: Spread | None = None
    adaptive: bool = False
    later: Mapping[float, Floats] = field(default_factory=dict)
    pooled: list[list[Floats]] = field(init=False)
    made: dict[float, Floats] = field(init=False, default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        pooled = [
            [np.sort(np.concatenate(columns)) for columns in zip(*step, strict=True)]
            for step in zip(*self.scores, strict=True)
        ]
        object.__setattr__(self, "pooled", pooled)

    @property
    def steps(self) -> int:
        """How many steps ahead there are scores of."""
        return len(self.pooled)

    @property
    def count(self) -> int:
        """How many scores there are of a step, of the one with the fewest."""
        return min(len(column) for step in self.pooled for column in step)

    def lacks(self, chance: float) -> str:
        """Refuse a quantile that lies beyond all scores."""
        needed = least(chance)
        if needed <= self.count:
            return ""
        return f"of a step {self.count:,} scores are kept, and it needs {needed:,}"

    def missing(self, alpha: float) -> Floats:
        """Return the chance of a miss that is taken for `alpha`, of each step and column."""
        if alpha in self.later:
            return self.later[alpha]
        shape = self.steps, len(self.pooled[0])
        if not self.adaptive:
            return np.full(shape, alpha)
        each = [
            adapted([np.asarray(origin[step][column]) for origin in self.scores], alpha)
            for step in range(shape[0])
            for column in range(shape[1])
        ]
        return np.reshape(each, shape)

    def after(self, alpha: float, missed: Floats) -> Conformal:
        """Return the spread once it is known which shares `[H, F]` were missed at a level.

        What is not known is no number.
        """
        before = self.missing(alpha)
        moved = np.where(np.isnan(missed), before, before + RATE * (alpha - missed))
        return replace(self, later={**self.later, alpha: moved})

    def quantile(self, chance: float) -> Floats:
        """Return the quantile of the scores of each step and column, `[H, F]`."""
        if chance not in self.made:
            self.made[chance] = self._quantile(chance)
        return self.made[chance]

    def _quantile(self, chance: float) -> Floats:
        alpha = missed_by(chance)
        rows = np.full((self.steps, len(self.pooled[0])), 0.5)
        if chance != 0.5:
            half = np.clip(self.missing(alpha), 0.0, 1.0) / 2
            rows = half if chance < 0.5 else 1 - half
        each = [
            quantile(column, tail)
            for step, tails in zip(self.pooled, rows.tolist(), strict=True)
            for column, tail in zip(step, tails, strict=True)
        ]
        return np.reshape(each, rows.shape)

    def quantiles(
        self, starts: Sequence[Start], points: Sequence[Floats], chances: Sequence[float]
    ) -> Iterator[Floats]:
        """Give the quantiles of each series."""
        rows = np.stack([self.quantile(chance) for chance in chances])
        for point, unit in zip(points, self.units(starts, points), strict=True):
            steps = len(point)
            with np.errstate(over="ignore", invalid="ignore"):
                yield np.sort(point + rows[:, :steps] * unit[:steps], axis=0)

    def units(self, starts: Sequence[Start], points: Sequence[Floats]) -> Iterator[Floats]:
        """Give the unit of each series, `[H, F]`."""
        yield from units(starts, points, self.season, self.base)


def units(
    starts: Sequence[Start], points: Sequence[Floats], season: int, base: Spread | None
) -> Iterator[Floats]:
    """Give the unit of the scores of each series, `[H, F]`, by what is known beforehand."""
    if base is None:
        for start, point in zip(starts, points, strict=True):
            yield np.broadcast_to(unit_of(start.history, season), point.shape)
        return
    halves: Iterable[Floats] = base.quantiles(starts, points, HALF)
    for low, high in halves:
        half = (high - low) / 2
        yield np.where(np.isfinite(half) & (half > 0), half, np.nan)
