"""What is known of the next steps of a series from its past alone: rules and residuals of horizon.

With y the last number, s the steps of a season and k the seasons begun until step h ahead:
    naive            y
    drift            y + h (y - the first) / (steps since the first)
    seasonal naive   the last number of the same season
    seasonal drift   that + k times the mean change from a season to the next
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra import Examples, Past

Floats = NDArray[Any]
"""Numbers `[N, H, F]`, or `[N, F]` of each origin alone."""


def naive(past: Past) -> Floats:
    """Say the last number again."""
    return np.repeat(past.ago(0)[:, None], past.steps, axis=1)


def drift(past: Past) -> Floats:
    """Go on along the line from the first number to the last; from one alone, say it again."""
    last = past.ago(0)
    since = np.maximum(past.count - 1, 1)[:, None]
    slope = (last - past.first(0)) / since
    ahead = np.arange(1, past.steps + 1)
    return last[:, None] + ahead[:, None] * slope[:, None]


def seasonal_naive(past: Past) -> Floats:
    """Say the last season over and over; where none has come whole, the last number."""
    place = np.arange(past.steps) % past.season
    of_each = [past.ago(past.season - 1 - int(turn)) for turn in np.unique(place)]
    again = np.stack(of_each, axis=1)[:, place]
    whole = past.count >= past.season
    return np.where(whole[:, None, None], again, naive(past))


def seasonal_drift(past: Past) -> Floats:
    """Add to the last season what a season has brought on the mean; of one alone, nothing."""
    season = range(past.season)
    last, first = (sum(of(turn) for turn in season) for of in (past.ago, past.first))
    # Of changes y[i] - y[i - s] only the last season and the first are left in their sum.
    changes = (past.count - past.season)[:, None]
    change = np.where(changes > 0, (last - first) / np.maximum(changes, 1), 0.0)
    seasons = np.arange(past.steps) // past.season + 1
    return seasonal_naive(past) + seasons[:, None] * change[:, None]


def mean_of(train: Examples) -> Callable[[Past], Floats]:
    """Return what says the mean of a series in training, or of all where it has no part in it."""
    some = train.high > train.low
    begin, low, high = train.begin[some], train.low[some], train.high[some]
    sums = np.stack([train.values[a:b].sum(axis=0) for a, b in zip(low, high, strict=True)])
    steps = (high - low)[:, None]
    means, of_all = sums / steps, sums.sum(axis=0) / steps.sum()

    def rule(past: Past) -> Floats:
        place = np.minimum(np.searchsorted(begin, past.begin), len(begin) - 1)
        own = np.where((begin[place] == past.begin)[:, None], means[place], of_all)
        return np.repeat(own[:, None], past.steps, axis=1)

    return rule


RESIDUALS: dict[str, Callable[[Past], Floats]] = {
    "naive": naive,
    "drift": drift,
    "seasonal_naive": seasonal_naive,
    "seasonal_drift": seasonal_drift,
}
SEASONAL = frozenset({"seasonal_naive", "seasonal_drift"})
