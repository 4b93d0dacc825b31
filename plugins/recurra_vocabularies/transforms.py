"""What numbers go through behind their scale: differences, and a scale for each series."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from recurra import Transform
from recurra_vocabularies.moments import Moments, ScaleKind
from recurra_vocabularies.ranks import Floats

TINY = 1e-12
"""What is no larger counts as 0, as a part of the level.

It is rounding, that of a straight line's differences too.
"""


class Difference(Transform):
    """Each row less the one `lag` rows before it; with the lag of a season, a seasonal difference.

    Box & Jenkins 1970, "Time Series Analysis: Forecasting and Control". The state holds the last
    `lag` rows, and the origin of a row is the one that is taken from it: so many are known ahead.
    """

    width = 1

    def __init__(self, lag: int = 1) -> None:
        self.lag = self.period = lag

    def __str__(self) -> str:
        if self.lag == 1:
            return "difference to the step before"
        return f"difference to the step {self.lag:,} before"

    def start(self, known: Floats) -> Floats:
        """Return zeros: nothing came before."""
        return np.zeros((self.lag, known.shape[1]))

    def apply(self, values: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Return differences, and the last rows."""
        line = np.concatenate([state, values])
        before = line[: len(values)]
        return values - before, line[len(values) :]

    def origins(self, values: Floats, state: Floats) -> Floats:
        """Return the rows that are taken from the next ones."""
        line = np.concatenate([state, values])
        return line[: len(values) + 1, None]

    def origins_each(self, states: Floats) -> Floats:
        """Return the rows that are taken from the next of each series."""
        return states[:, :1]

    def apply_each(self, values: Floats, states: Floats) -> tuple[Floats, Floats]:
        """Return differences, and the last rows of each series."""
        return values - states[:, 0], np.concatenate([states[:, 1:], values[:, None]], axis=1)

    def invert(self, values: Floats, origins: Floats) -> Floats:
        """Add them again."""
        return values + origins[:, 0]

    def against(self, values: Floats, origins: Floats) -> Floats:
        """Take them away."""
        return values - origins[:, 0]


class Rescale(Transform):
    """(x - shift) / scale by feature, as training has it.

    Differences are much smaller than what they are of. That is scaled, and so about 1: what changes
    less than `TINY` is constant.
    """

    def __init__(self, kind: ScaleKind) -> None:
        self.kind: ScaleKind = kind
        self.shift, self.scale = np.zeros(1), np.ones(1)

    def __str__(self) -> str:
        pairs = zip(self.shift.tolist(), self.scale.tolist(), strict=True)
        return "; ".join(f"(x - {shift:zg}) / {scale:zg}" for shift, scale in pairs)

    def fit(self, runs: Iterable[Floats]) -> None:
        """Learn shift and scale."""
        moments = Moments(kind=self.kind)
        for run in runs:
            moments.add(np.where(np.abs(run) > TINY, run, 0.0))
        if not moments.count:
            return

        low, high = moments.bounds
        constant = high - low <= TINY
        shift, scale = moments.scale()
        self.shift = np.where(constant, low, shift)
        self.scale = np.where(constant, 1.0, scale)

    def start(self, known: Floats) -> Floats:
        """Return nothing: this is the same for all series."""
        return np.zeros((0, known.shape[1]))

    def apply(self, values: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Return scaled rows."""
        return (values - self.shift) / self.scale, state

    def origins(self, values: Floats, state: Floats) -> Floats:
        """Return nothing."""
        return np.zeros((len(values) + 1, 0, values.shape[1]))

    def origins_each(self, states: Floats) -> Floats:
        """Return nothing."""
        return np.zeros((len(states), 0, states.shape[-1]))

    def apply_each(self, values: Floats, states: Floats) -> tuple[Floats, Floats]:
        """Return scaled rows."""
        return self.apply(values, states)

    def invert(self, values: Floats, origins: Floats) -> Floats:
        """Return what was scaled."""
        return values * self.scale + self.shift

    def against(self, values: Floats, origins: Floats) -> Floats:
        """Return scaled rows."""
        return (values - self.shift) / self.scale

    def save(self) -> dict[str, Any]:
        """Return shift and scale."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back shift and scale."""
        self.shift = np.array(saved["shift"])
        self.scale = np.array(saved["scale"])


class SeriesScale(Transform):
    """(x - shift) / scale by feature, as the known rows of each series have it.

    Shift and scale are its state, and its origins.
    """

    by_series: ClassVar[bool] = True
    width = 2

    def __init__(self, kind: ScaleKind) -> None:
        self.kind: ScaleKind = kind

    def __str__(self) -> str:
        return f"each series scaled by its own part in training ({self.kind})"

    def start(self, known: Floats) -> Floats:
        """Return shift and scale.

        They are 0 and 1 where nothing is known, and the level itself for both of a constant.
        """
        if not len(known):
            features = known.shape[1]
            return np.stack([np.zeros(features), np.ones(features)])

        moments = Moments(TINY, self.kind)
        moments.add(known)
        shift, scale = self.of(known, moments)
        level = np.where(moments.greatest > 0, moments.greatest, 1.0)
        scale = np.where(moments.changes, scale, level)
        return np.stack([shift, scale])

    def of(self, known: Floats, moments: Moments) -> tuple[Floats, Floats]:
        """Return shift and scale of rows whose moments are known, where they change."""
        return moments.scale()

    def apply(self, values: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Return scaled rows."""
        return (values - state[0]) / state[1], state

    def origins(self, values: Floats, state: Floats) -> Floats:
        """Return shift and scale for each row."""
        return np.broadcast_to(state, (len(values) + 1, *state.shape))

    def origins_each(self, states: Floats) -> Floats:
        """Return shift and scale of each series."""
        return states

    def apply_each(self, values: Floats, states: Floats) -> tuple[Floats, Floats]:
        """Return scaled rows."""
        return (values - states[:, 0]) / states[:, 1], states

    def invert(self, values: Floats, origins: Floats) -> Floats:
        """Return what was scaled."""
        return values * origins[:, 1] + origins[:, 0]

    def against(self, values: Floats, origins: Floats) -> Floats:
        """Return scaled rows."""
        return (values - origins[:, 0]) / origins[:, 1]


class SeriesChange(SeriesScale):
    """(x - mean) / mean |x[t] - x[t - 1]| by feature, as the known rows of each series have it.

    In this unit errors are about those of MASE (Hyndman & Koehler 2006, "Another look at measures
    of forecast accuracy", doi:10.1016/j.ijforecast.2006.03.001), without a season.
    """

    def __init__(self) -> None:
        super().__init__("none")

    def __str__(self) -> str:
        return "each series scaled by its mean change in training"

    def of(self, known: Floats, moments: Moments) -> tuple[Floats, Floats]:
        """Return the mean, and the mean change."""
        if len(known) < 2:
            return moments.mean, np.ones_like(moments.mean)
        changes = np.abs(np.diff(known, axis=0))
        came = ~np.isnan(changes)
        if came.all():
            return moments.mean, changes.mean(axis=0)
        # Of two steps that follow each other both must be there; else the deviation stands for it.
        total = np.where(came, changes, 0.0).sum(axis=0)
        scale = total / np.maximum(came.sum(axis=0), 1)
        return moments.mean, np.where(scale > 0, scale, np.sqrt(moments.variance))
