"""What simple rules say of series, one step ahead and of all steps of a forecast.

Of each series by itself, from what came before, but for one:

    mean                  the mean
    mean of all           the mean of all series of training
    naive                 the last value again
    drift                 the line from the first value through the last
    seasonal naive        the last season again
    seasonal drift        the last season, and each season the mean change from season to season
    exponential smoothing the level of simple smoothing (Brown 1959)
    damped Holt           a damped trend (Holt 1957; Gardner & McKenzie 1985)
    Theta                 the level of simple smoothing, and half the slope of the line of least
                          squares (Assimakopoulos & Nikolopoulos 2000, in the form of Hyndman &
                          Billah 2003, doi:10.1016/S0169-2070(01)00143-1)

Where all values are above 0, both drifts are drawn of their logarithms as well. The last three take
a season off first, where it is significant, and put it on again (smoothing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np

from recurra.contracts.metric import Scale, SeriesScales
from recurra.contracts.target import Examples
from recurra.data.missing import observed
from recurra.data.splits import Split
from recurra.data.store import Array, Ints, Store
from recurra.train.baselines import positions
from recurra.train.errors import Errors
from recurra.train.smoothing import LATEST, Floats, Line, Season, levels, season_of, trends

SMOOTHED = 3
"""Values that smoothing takes at least."""
LOGS = " in logs"
"""What the name of a rule ends with that is drawn of logarithms."""
READ = 1 << 20
"""Steps of training that are read at a time."""

Guesses: TypeAlias = dict[str, Array]
"""What each rule says of the steps `[T, F]` after a history."""


def needs(season: int) -> dict[int, list[str]]:
    """Return the rules that take so many steps of history at least, by how many these are."""
    rules = {
        1: ["mean", "naive"],
        2: ["drift", f"drift{LOGS}"],
        SMOOTHED: ["exponential smoothing", "damped Holt", "Theta"],
    }
    if season:
        rules.setdefault(season, []).append("seasonal naive")
        rules.setdefault(season + 1, []).extend(["seasonal drift", f"seasonal drift{LOGS}"])
    return rules


def series_scale(train: Examples) -> Scale | None:
    """Return the mean error of saying again the value of a season ago, else the last.

    It is that in training, by column; nothing where no element of training has one so far before
    it.
    """
    where, begin = positions(train, targets=True)
    ago = where - (train.season or 1)
    inside = ago >= begin
    if not inside.any():
        return None
    gap = train.values[where[inside]] - train.values[ago[inside]]
    scale: Scale = _mean_of(np.abs(gap))
    return scale


def _mean_of(rows: Floats) -> Floats:
    """Return the mean of each column of rows `[n, F]`, of what is not missing."""
    came = ~np.isnan(rows)
    if came.all():
        return np.asarray(rows.mean(axis=0))
    count = came.sum(axis=0)
    total = np.where(came, rows, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def scale_of(history: Array, season: int) -> Scale:
    """Return the same of a history `[n, F]` alone; not a number where it is too short."""
    low, high = np.array([0]), np.array([len(history)])
    return np.asarray(_own_scales(history, low, high, season or 1)[0])


def series_scales(
    store: Store, known: Split, season: int, rest: Scale | None
) -> SeriesScales | None:
    """Return the same for each series by itself, from what is `known` of it: its part of training.

    A series of which nothing is known is measured by the `rest`, that of all training. One series
    alone has none.
    """
    if rest is None or len(store.starts) < 2:
        return None
    each = np.repeat(np.asarray(rest, np.float64)[None], len(store.starts), axis=0)
    rows = store.sequence(known.begin)
    for part in _blocks(known):
        each[rows[part]] = _own_scales(store.values, known.low[part], known.high[part], season or 1)
    return SeriesScales(store.starts, each)


def _blocks(known: Split) -> Iterator[slice]:
    """Give spans that are read at a time: as many as hold a bounded number of steps."""
    steps = np.cumsum(known.high - known.low)
    first = 0
    while first < len(steps):
        before = steps[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(steps, before + READ, side="right")))
        yield slice(first, last)
        first = last


def _own_scales(values: Array, low: Ints, high: Ints, lag: int) -> Floats:
    """Return the mean distance of values that lie `lag` apart, `[S, F]`, within each span.

    A span without two such values has none.
    """
    counts = np.maximum(high - low - lag, 0)
    scales = np.full((len(low), values.shape[1]), np.nan)
    some = counts > 0
    if some.any():
        inside = _inside(low[some] + lag, counts[some])
        with np.errstate(over="ignore", invalid="ignore"):
            gaps = np.abs(np.asarray(values[inside] - values[inside - lag], np.float64))
        scales[some] = _means(gaps, counts[some])
    return scales


def _means(rows: Floats, counts: Ints) -> Floats:
    """Return the mean of each span of rows, one of which follows the other.

    What is missing is left out; a column that is missing all along has none.
    """
    begins, came = np.cumsum(counts) - counts, ~np.isnan(rows)
    if came.all():
        with np.errstate(over="ignore", invalid="ignore"):
            sums = np.add.reduceat(rows, begins)
        return np.asarray(sums / counts[:, None])
    total = np.add.reduceat(came, begins, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(np.where(came, rows, 0), begins)
    return np.where(total > 0, sums / np.maximum(total, 1), np.nan)


def _inside(first: Ints, counts: Ints) -> Ints:
    """Return the positions of spans, one after the other."""
    before = np.cumsum(counts) - counts
    places: Ints = np.arange(counts.sum()) + np.repeat(first - before, counts)
    return places


def series_rules(train: Examples, held: Examples) -> dict[str, Errors]:
    """Return the errors of each rule one step ahead, on what can be predicted of `held`.

    The mean and the drift of a series are those of its own part of training; of one that has none
    they are those of all training.
    """
    first = np.maximum(held.low, held.begin + held.lag)
    held = replace(held, low=first)
    where, begin = positions(held, targets=True)
    if not len(where):
        return {}

    values, season = held.values, held.season
    begins = np.concatenate([train.begin, held.begin])
    actual, before = values[where], observed(values, begins, where - 1)
    guesses = {"naive": before}
    if (means := _of_training(train, begin, _mean)) is not None:
        guesses = {"mean": means} | guesses
    if len(train) > 1 and (of_all := mean_of(train)) is not None:
        guesses["mean of all"] = np.broadcast_to(of_all, actual.shape)
    if (slopes := _of_training(train, begin, _slope)) is not None:
        guesses["drift"] = before + slopes

    ago = where - season
    if season and (ago >= begin).all():
        guesses["seasonal naive"] = observed(values, begins, ago)
    return {rule: _errors(guess, actual, begin, held) for rule, guess in guesses.items()}


class Total(NamedTuple):
    """What is added up of some series, and over how many steps, `[S, F]`."""

    sums: Floats
    counts: Ints

    def of_all(self) -> Floats | None:
        """Return the mean `[F]` over all series; nothing where a column has none."""
        counts = self.counts.sum(axis=0)
        if not counts.all():
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.sums.sum(axis=0) / counts)


def _mean(train: Examples) -> Total:
    """Return the sum of each series of training, and its steps."""
    return _sums(train.values, train.low, train.high - train.low)


def mean_of(train: Examples) -> Floats | None:
    """Return the mean `[F]` of all series of training; nothing where there are no values."""
    return _mean(train).of_all()


def _slope(train: Examples) -> Total:
    """Return how far each series of training rises, and in how many steps."""
    low, last = train.low, np.maximum(train.high - 1, train.low)
    rises = np.asarray(train.values[last] - train.values[low], np.float64)
    counts = np.repeat((last - low)[:, None], rises.shape[1], axis=1)
    for row in np.flatnonzero(np.isnan(rises).any(axis=1)).tolist():
        # From the first number that came to the last.
        own = np.asarray(train.values[low[row] : train.high[row]], np.float64)
        for column in range(own.shape[1]):
            came = np.flatnonzero(~np.isnan(own[:, column]))
            first, final = (came[0], came[-1]) if len(came) else (0, 0)
            rises[row, column] = own[final, column] - own[first, column] if len(came) else 0.0
            counts[row, column] = final - first
    return Total(rises, counts)


def _sums(values: Array, first: Ints, steps: Ints) -> Total:
    """Return the sum of each span, and of how much that came."""
    sums = np.zeros((len(first), values.shape[1]))
    counts = np.zeros(sums.shape, np.int64)
    some = steps > 0
    if some.any():
        inside = np.asarray(values[_inside(first[some], steps[some])], np.float64)
        begins = np.cumsum(steps[some]) - steps[some]
        came = ~np.isnan(inside)
        if not came.all():
            inside = np.where(came, inside, 0.0)
        sums[some] = np.add.reduceat(inside, begins)
        counts[some] = np.add.reduceat(came, begins, dtype=np.int64)
    return Total(sums, counts)


def _of_training(train: Examples, begin: Ints, rule: Callable[[Examples], Total]) -> Floats | None:
    """Return the mean of what a rule adds up of the series of each step, `[N, F]`.

    That of its own part of training, or of all training where it has none; nothing where there is
    nothing to learn of.
    """
    total = rule(train)
    of_all = total.of_all()
    if of_all is None:
        return None
    own = np.where(total.counts > 0, total.sums / np.maximum(total.counts, 1), of_all)

    # Series of training stand in order.
    place = np.searchsorted(train.begin, begin)
    place = np.minimum(place, len(train) - 1)
    there = train.begin[place] == begin
    return np.asarray(np.where(there[:, None], own[place], of_all))


def forecasts(
    histories: Sequence[Array],
    steps: Sequence[int],
    season: int,
    of_all: Floats | None = None,
) -> list[Guesses]:
    """Return what each rule says of the `steps[i]` steps that follow history i `[n, F]`.

    `of_all` is the mean `[F]` of all series of training, where there are several.

    A rule says nothing of a series whose history is too short for it, or has values that it cannot
    read, or is so large that a forecast is beyond all numbers. What is smoothed of a history is its
    last `LATEST` steps; all series are smoothed together, in time that grows with their steps.
    """
    guesses: list[Guesses] = []
    powers: list[int] = []
    ends: dict[int, Floats] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        # Of each history in turn no more is kept than what is smoothed.
        for row, (history, count) in enumerate(zip(histories, steps, strict=True)):
            past, power = _near_one(_observed(np.asarray(history, np.float64)))
            powers.append(power)
            guesses.append(_drawn(past, count, season))
            if len(past) >= SMOOTHED:
                ends[row] = past[-LATEST:].copy()

        smoothed = _smoothed(list(ends.values()), [steps[row] for row in ends], season)
        for row, more in zip(ends, smoothed, strict=True):
            guesses[row] |= more

        found = []
        for own, power in zip(guesses, powers, strict=True):
            scaled = {rule: np.ldexp(guess, power) for rule, guess in own.items()}
            if of_all is not None:
                scaled["mean of all"] = np.broadcast_to(of_all, scaled["mean"].shape)
            found.append({rule: at for rule, at in scaled.items() if np.isfinite(at).all()})
    return found


def completed(guesses: Sequence[Guesses], season: int) -> list[Guesses]:
    """Return guesses in which naive stands in for a rule that says nothing of a series.

    It must say something of another: else a few short series would take the best rules from all.
    For logarithms nothing stands in.
    """
    said = {rule for own in guesses for rule in own}
    order = [rule for names in needs(season).values() for rule in names if rule in said]
    named = [rule for rule in order if not rule.endswith(LOGS)]
    whole = []
    for own in guesses:
        naive = {rule: own["naive"] for rule in named if "naive" in own}
        both = naive | own
        whole.append({rule: both[rule] for rule in [*order, *(said - {*order})] if rule in both})
    return whole


def _near_one(history: Floats) -> tuple[Floats, int]:
    """Return a history divided by a power of 2, which is exact, and which power that is.

    So its sums and squares are far from where numbers end.
    """
    largest = float(np.abs(history).max(initial=0.0))
    power = int(np.frexp(largest)[1]) if np.isfinite(largest) else 0
    return np.ldexp(history, -power), power


def _observed(history: Floats) -> Floats:
    """Return a history `[n, F]` in which what was seen last stands for what is missing.

    Before anything was seen, it is what is seen first.
    """
    missing = np.isnan(history)
    if not missing.any():
        return history
    step = np.arange(len(history))[:, None]
    last = np.maximum.accumulate(np.where(missing, -1, step), axis=0)
    first = np.argmin(missing, axis=0)
    return np.take_along_axis(history, np.where(last < 0, first, last), axis=0)


def _drawn(past: Floats, steps: int, season: int) -> Guesses:
    """Return what each rule says that is drawn from a few values of a history `[n, F]`."""
    count, width = past.shape
    guesses: Guesses = {
        "mean": np.broadcast_to(past.mean(axis=0), (steps, width)),
        "naive": np.broadcast_to(past[-1], (steps, width)),
    }
    above = past.min() > 0
    if count > 1:
        guesses["drift"] = _drift(past, steps)
        if above:
            guesses[f"drift{LOGS}"] = np.exp(_drift(np.log(past), steps))
    if season and count >= season:
        guesses["seasonal naive"] = _again(past, steps, season)
    if season and count > season:
        guesses["seasonal drift"] = _seasonal_drift(past, steps, season)
        if above:
            logs = _seasonal_drift(np.log(past), steps, season)
            guesses[f"seasonal drift{LOGS}"] = np.exp(logs)
    return guesses


def _drift(past: Floats, steps: int) -> Floats:
    """Return the line from the first row through the last."""
    slope = (past[-1] - past[0]) / (len(past) - 1)
    ahead = np.arange(1, steps + 1)[:, None]
    return np.asarray(past[-1] + ahead * slope)


def _again(past: Floats, steps: int, season: int) -> Floats:
    """Return the last season, over and over."""
    place = np.arange(steps) % season
    return np.asarray(past[len(past) - season + place])


def _seasonal_drift(past: Floats, steps: int, season: int) -> Floats:
    """Return the last season, and each season the mean change from one to the next."""
    change = (past[season:] - past[:-season]).mean(axis=0)
    seasons = 1 + np.arange(steps)[:, None] // season
    return np.asarray(_again(past, steps, season) + seasons * change)


class Part(NamedTuple):
    """The end of a column of a history, without its season, and what brings that back."""

    line: Line
    season: Season | None

    def restored(self, forecast: Floats) -> Floats:
        """Return a forecast with the season."""
        return self.season.on(forecast, len(self.line)) if self.season else forecast


def _smoothed(pasts: Sequence[Floats], steps: Sequence[int], season: int) -> list[Guesses]:
    """Return what the rules say that smooth each column of each history `[n, F]`."""
    parts = [_part(column, season) for past in pasts for column in past[-LATEST:].T]
    lines = [part.line for part in parts]
    level, trend = levels(lines), trends(lines)

    guesses = []
    first = 0
    for past, count in zip(pasts, steps, strict=True):
        columns = range(first, first + past.shape[1])
        first = columns.stop

        def of_each(rule: Callable[[int], Floats], columns: range = columns) -> Floats:
            return np.stack([parts[at].restored(rule(at)) for at in columns], axis=1)

        def flat(at: int, count: int = count) -> Floats:
            return np.repeat(level.level[at], count)

        def damped(at: int, count: int = count) -> Floats:
            return trend.ahead(at, count)

        def theta(at: int, count: int = count) -> Floats:
            return flat(at, count) + _half_slope(lines[at], float(level.alpha[at]), count)

        guesses.append(
            {
                "exponential smoothing": of_each(flat),
                "damped Holt": of_each(damped),
                "Theta": of_each(theta),
            }
        )
    return guesses


def _part(column: Line, season: int) -> Part:
    """Return a column as it is smoothed."""
    own = season_of(column, season)
    return Part(own.off(column) if own else column, own)


def _half_slope(line: Line, alpha: float, steps: int) -> Floats:
    """Return what Theta adds to the level: half the slope of the line of least squares a step.

    The first is more, for the level of a series with a trend lags behind it.
    """
    count = len(line)
    at = np.arange(count) - (count - 1) / 2
    slope = float(at @ line) / float(at @ at)
    behind = (1 - (1 - alpha) ** count) / alpha
    return np.asarray(slope / 2 * (np.arange(steps) + behind))


def _errors(predicted: Array, actual: Array, begin: Ints, held: Examples) -> Errors:
    errors = Errors(held.scale, held.scales)
    errors.add(predicted, actual, begin)
    return errors
