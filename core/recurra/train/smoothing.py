"""Exponential smoothing of many series at once: levels, trends, and what is taken off for a season.

What is smoothed has its parameters chosen on its own history, as those of a fixed grid whose errors
one step ahead have the smallest sum of squares.

Simple (Brown 1959): e_t = y_t - l_{t-1}, l_t = l_{t-1} + alpha e_t, from l_1 = y_1.
Damped trend (Holt 1957; Gardner & McKenzie 1985, doi:10.1287/mnsc.31.10.1237):
    e_t = y_t - l_{t-1} - phi b_{t-1},
    l_t = l_{t-1} + phi b_{t-1} + alpha e_t,    b_t = phi b_{t-1} + alpha beta e_t,
from l_1 = y_1 and b_1 = y_2 - y_1; h steps ahead lies l + (phi + ... + phi^h) b.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Line: TypeAlias = NDArray[np.float64]
"""The history `[n]` of one series, or of one column of it."""

LATEST = 1 << 10
"""Steps that are smoothed: the last of a history. What is older weighs next to nothing."""
TOGETHER = 48
"""Lines that are smoothed side by side: with all points of a grid they fit a processor's cache."""
SIGNIFICANT = 1.645
"""A season is taken off where its autocorrelation lies so many deviations from 0: 90 per cent."""
LEAST_INDEX = 1e-4
"""A season of which an index is smaller multiplies nothing."""

ALPHAS: Floats = np.arange(1, 100) / 100
"""The grid of simple smoothing."""
TENTHS = tuple(tenth / 10 for tenth in range(1, 10))
DAMPING = (0.8, 0.85, 0.9, 0.95, 0.98)
DAMPED: Floats = np.array(list(product(TENTHS, TENTHS, DAMPING)))
"""The grid of the damped trend: alpha, beta and phi."""


class Levels(NamedTuple):
    """The level `[L]` at the end of each line, and the alpha `[L]` that was chosen."""

    level: Floats
    alpha: Floats


class Trends(NamedTuple):
    """The level and the trend `[L]` at the end of each line, and the phi that was chosen."""

    level: Floats
    trend: Floats
    phi: Floats

    def ahead(self, line: int, steps: int) -> Floats:
        """Return what comes after a line, `[steps]`."""
        damped = np.cumsum(self.phi[line] ** np.arange(1, steps + 1))
        return np.asarray(self.level[line] + self.trend[line] * damped)


def levels(lines: Sequence[Line]) -> Levels:
    """Smooth each line simply. One of a single value has that for its level."""
    level, alpha = np.zeros(len(lines)), np.zeros(len(lines))
    for rows, values, counts in _side_by_side(lines):
        at = np.repeat(values[:1], len(ALPHAS), axis=0)  # G B
        squares = np.zeros_like(at)
        error, part = np.empty_like(at), np.empty_like(at)
        weight = ALPHAS[:, None]

        # Longer lines come first: those that go on are the first few.
        for step, count in enumerate(counts[1:], 1):
            here = np.s_[:, :count]
            np.subtract(values[step, :count], at[here], out=error[here])
            np.multiply(error[here], error[here], out=part[here])
            squares[here] += part[here]
            error[here] *= weight
            at[here] += error[here]

        best, places = _least(squares)
        level[rows] = at[best, places]
        alpha[rows] = ALPHAS[best]
    return Levels(level, alpha)


def trends(lines: Sequence[Line]) -> Trends:
    """Smooth each line of two values or more with a damped trend."""
    level, trend, phi = (np.zeros(len(lines)) for _ in range(3))
    alpha, beta, damping = (DAMPED[:, [column]] for column in range(3))  # G 1
    slope = alpha * beta
    for rows, values, counts in _side_by_side(lines):
        at = np.repeat(values[:1], len(DAMPED), axis=0)  # G B
        up = np.repeat(values[1:2] - values[:1], len(DAMPED), axis=0)
        squares = np.zeros_like(at)
        error, part = np.empty_like(at), np.empty_like(at)

        for step, count in enumerate(counts[1:], 1):
            here = np.s_[:, :count]
            up[here] *= damping
            at[here] += up[here]  # the forecast
            np.subtract(values[step, :count], at[here], out=error[here])
            np.multiply(error[here], error[here], out=part[here])
            squares[here] += part[here]
            np.multiply(error[here], alpha, out=part[here])
            at[here] += part[here]
            error[here] *= slope
            up[here] += error[here]

        best, places = _least(squares)
        level[rows], trend[rows] = at[best, places], up[best, places]
        phi[rows] = DAMPED[best, 2]
    return Trends(level, trend, phi)


def _least(squares: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return at which point of the grid each line has the smallest error, and the lines."""
    best = np.argmin(squares, axis=0)
    return best, np.arange(squares.shape[1])


def _side_by_side(
    lines: Sequence[Line],
) -> Iterator[tuple[NDArray[np.intp], Floats, list[int]]]:
    """Give groups of lines: which they are, their values `[T, B]`, and how many reach each step.

    The longest stand first, so that lines of about one length stand together.
    """
    lengths = np.array([len(line) for line in lines])
    order = np.argsort(-lengths, kind="stable")
    for first in range(0, len(order), TOGETHER):
        rows = order[first : first + TOGETHER]
        values = np.zeros((int(lengths[rows[0]]), len(rows)))
        for column, row in enumerate(rows.tolist()):
            values[: lengths[row], column] = lines[row]
        reached = lengths[rows][None] > np.arange(len(values))[:, None]  # T B
        yield rows, values, reached.sum(axis=1).tolist()


class Season(NamedTuple):
    """What was taken off a line: an index for each step of a season, the first one's first."""

    indices: Floats
    multiplies: bool

    def off(self, line: Line) -> Line:
        """Return a line without its season."""
        at = self.indices[np.arange(len(line)) % len(self.indices)]
        return np.asarray(line / at if self.multiplies else line - at)

    def on(self, forecast: Floats, before: int) -> Floats:
        """Return a forecast, `before` steps after the beginning of the line, with its season."""
        places = (before + np.arange(len(forecast))) % len(self.indices)
        at = self.indices[places]
        return np.asarray(forecast * at if self.multiplies else forecast + at)


def season_of(line: Line, season: int) -> Season | None:
    """Return the season of a line, if it has one: classical decomposition.

    It has one where it is longer than two seasons, and its autocorrelation a season apart is
    significant, as the Theta method tests it (Assimakopoulos & Nikolopoulos 2000,
    doi:10.1016/S0169-2070(00)00066-2). The season multiplies what is above 0 throughout.
    """
    count = len(line)
    if season < 2 or count <= 2 * season:
        return None
    apart = line - line.mean()
    power = float(apart @ apart)
    if not power > 0:
        return None
    correlations = [float(apart[lag:] @ apart[:-lag]) / power for lag in range(1, season + 1)]
    before = np.square(correlations[:-1]).sum()
    deviation = np.sqrt((1 + 2 * before) / count)
    if not abs(correlations[-1]) > SIGNIFICANT * deviation:
        return None

    if line.min() > 0:
        indices = _indices(line, season, multiplies=True)
        if indices.min() > LEAST_INDEX:
            return Season(indices, True)
    return Season(_indices(line, season, multiplies=False), False)


def _indices(line: Line, season: int, multiplies: bool) -> Floats:
    """Return the mean distance of each step of a season from the moving average around it."""
    # Of an even season the two ends weigh half: 12 months, and the same month of both years.
    weights = np.ones(season)
    if season % 2 == 0:
        weights = np.r_[0.5, np.ones(season - 1), 0.5]
    average = np.convolve(line, weights / season, mode="valid")
    first = len(weights) // 2
    middle = line[first : first + len(average)]
    apart = middle / average if multiplies else middle - average

    place = (first + np.arange(len(apart))) % season
    times = np.bincount(place, minlength=season)
    indices = np.bincount(place, apart, season) / times
    mean = indices.mean()
    return np.asarray(indices / mean if multiplies else indices - mean)
