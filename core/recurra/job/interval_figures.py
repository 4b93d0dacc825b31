"""What is measured of the intervals of forecasts: over all, by step ahead, by scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recurra.contracts.distribution import DECILES
from recurra.contracts.metric import Metrics, measurable
from recurra.data.store import Ints
from recurra.generate import levels as written
from recurra.generate.foretold import Intervals
from recurra.generate.levels import Levels
from recurra.job.figures import Ahead, ByScale, Spreads
from recurra.train.errors import Floats
from recurra.train.spread import Spread as Sums

PARTS = 3
"""Parts of the series, by their scale, of which figures are told."""
OF_LEVELS = ("coverage_", "width_", "winkler_")
"""How the names of the figures of intervals begin."""


class Measured(Intervals):
    """Intervals with the tenths beside their bounds, of which their figures are made."""

    @property
    def chances(self) -> tuple[float, ...]:
        """The chances of the bounds, and the tenths that can be told."""
        tenths = [chance for chance in DECILES if not self.spread.lacks(chance)]
        return tuple(sorted({*super().chances, *tenths}))

    @property
    def tenths(self) -> bool:
        """Whether all tenths can be told."""
        return set(DECILES) <= set(self.chances)


def measured(intervals: Intervals) -> Measured:
    """Return the same spread at the same levels, asked for the tenths too."""
    return Measured(intervals.spread, intervals.levels)


class IntervalScores:
    """What is measured of the quantiles of forecasts: of all, by step ahead, by scale.

    With the tenths there are figures of the whole distribution too.
    """

    def __init__(self, levels: Levels, horizon: int, tenths: bool) -> None:
        self.levels, self.horizon = levels, horizon
        self.chances = written.chances(levels)
        self.tenths = DECILES if tenths else ()
        self.all = self._sums()
        self.steps = [self._sums() for _ in range(horizon)]
        self.series: list[tuple[Floats, Floats, Floats]] = []
        # Series that have no interval at any step, and those that have none from some step on.
        self.none = self.ended = 0

    def _sums(self) -> tuple[Sums, Sums]:
        """Return sums of nothing: those of intervals, and those of the tenths."""
        return Sums(self.chances), Sums(self.tenths)

    def add(
        self, quantiles: Floats, chances: Sequence[float], future: Floats, scale: Floats
    ) -> None:
        """Add the quantiles `[Q, H, F]` of a series, what came `[T, F]`, and its scale `[F]`."""
        places = [list(chances).index(chance) for chance in (*self.chances, *self.tenths)]
        own = quantiles[places][:, : len(future)]
        told = np.isfinite(own).all(axis=0)
        came = np.where(told, future, np.nan)
        self.none += not told.any()
        self.ended += bool(told.any() and not told.all())
        rows = np.moveaxis(own, 0, -1)  # T F Q
        self._add(self.all, rows, came)
        for step in range(len(future)):
            self._add(self.steps[step], rows[step : step + 1], came[step : step + 1])
        self.series.append((rows, came, scale))

    def _add(self, sums: tuple[Sums, Sums], rows: Floats, came: Floats) -> None:
        intervals, tenths = sums
        count = len(self.chances)
        intervals.add_quantiles(rows[..., :count], came)
        if tenths.levels:
            tenths.add_quantiles(rows[..., count:], came)

    @staticmethod
    def _figures(sums: tuple[Sums, Sums]) -> Metrics:
        intervals, tenths = sums
        if not intervals.count.any():
            return {}
        of_levels = intervals.values()
        some = {name: of_levels[name] for name in of_levels if name.startswith(OF_LEVELS)}
        whole = tenths.values() if tenths.levels else {}
        return {name: each for name, each in whole.items() if not name.startswith(OF_LEVELS)} | some

    def metrics(self) -> Metrics:
        """Return the figures of all: crps, wql, pinball of the tenths, and those by level."""
        return self._figures(self.all)

    def at(self, step: int) -> Metrics:
        """Return those of a step, from 0."""
        return self._figures(self.steps[step])

    def by_scale(self) -> list[ByScale]:
        """Return those of the series of the least scales, of the middle ones and of the greatest.

        There are none of few series.
        """
        scales = np.array([np.mean(scale) for _, _, scale in self.series])
        known: Ints = np.flatnonzero(measurable(scales))
        if len(known) < 2 * PARTS:
            return []
        ordered = known[np.argsort(scales[known], kind="stable")]
        rows: list[ByScale] = []
        for part in np.array_split(ordered, PARTS):
            sums = self._sums()
            for place in part.tolist():
                quantiles, came, _ = self.series[place]
                self._add(sums, quantiles, came)
            least, most = float(scales[part[0]]), float(scales[part[-1]])
            figures = self._figures(sums)
            rows.append({"from": least, "to": most, "series": len(part), "metrics": figures})
        return rows


class Beside:
    """The intervals of forecasts and their figures, where there are such."""

    def __init__(self, intervals: Intervals | None, horizon: int) -> None:
        self.intervals = None if intervals is None else measured(intervals)
        self.scores: IntervalScores | None = None
        self.last: dict[str, Floats] = {}
        if self.intervals is not None:
            self.scores = IntervalScores(self.intervals.levels, horizon, self.intervals.tenths)

    def add(
        self,
        quantiles: Floats,
        future: Floats,
        scale: Floats,
    ) -> None:
        """Add those of a series."""
        if self.scores is None or self.intervals is None:
            return
        whole = np.full((len(quantiles), *future.shape), np.nan)
        told = quantiles[:, : len(future)]
        whole[:, : told.shape[1]] = told
        chances = self.intervals.chances
        self.scores.add(whole, chances, future, scale)
        bounds = (whole[chances.index(chance)] for chance in self.scores.chances)
        self.last = dict(zip(self.intervals.names, bounds, strict=True))

    def metrics(self) -> Metrics:
        """Return the figures of all."""
        return {} if self.scores is None else self.scores.metrics()

    def beside(self, rows: list[Ahead]) -> list[Ahead]:
        """Return the figures of steps, with those of their intervals."""
        for row in rows if self.scores is not None else ():
            assert self.scores is not None
            row["metrics"] |= self.scores.at(row["ahead"] - 1)
        return rows

    def told(self) -> Spreads:
        """Return the levels, and the figures by scale."""
        if self.scores is None:
            return {}
        return {"levels": list(self.scores.levels), "by_scale": self.scores.by_scale()}

    def notes(self) -> list[str]:
        """Return a note of the series that have no interval."""
        return [] if self.scores is None else without(self.scores)


def without(scores: IntervalScores) -> list[str]:
    """Return notes of the series that have no interval, or none from some step on."""
    notes, count = [], len(scores.series)
    if scores.none:
        notes.append(
            f"no intervals of {scores.none:,} of {count:,} series: what is known of them does not"
            " change, or is too short, or what may come is beyond all numbers"
        )
    if scores.ended:
        notes.append(
            f"of {scores.ended:,} of {count:,} series there are no intervals from some step on:"
            " what may come there is beyond all numbers"
        )
    return notes
