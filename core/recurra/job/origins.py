"""From which origins the scores of a calibration come: of which series, and how many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recurra.data.chain import Chain
from recurra.data.ends import lengths_of
from recurra.data.splits import sampled
from recurra.data.store import Ints
from recurra.errors import InputError
from recurra.generate import levels as written
from recurra.generate.conformal import least, unit_of
from recurra.job.data import Data
from recurra.job.folds import least_history
from recurra.resolved import Resolved

PLENTY = 100
"""Scores of a step that are taken where a quarter of a series gives so many."""
MOST = 10_000
"""Scores of a step that are kept at most: of more series so many that lie evenly over all."""
WATCHED = 20
"""Origins that an adaptive calibration goes through, where half of a series gives so many."""


@dataclass(frozen=True)
class Origins:
    """So many origins of some series, a step apart, the last a `horizon` before training's end.

    `rows` `[N]` are the series, and of each training ends after `ends` `[N]` steps.
    """

    rows: Ints
    ends: Ints
    count: int
    horizon: int

    def cutoffs(self, origin: int) -> Ints:
        """Return how many steps of each series precede an origin, of which 0 is the earliest."""
        return self.ends - self.horizon - (self.count - 1 - origin)

    def able(self, origin: int, history: int) -> Ints:
        """Return the places of the series that have so many steps before an origin."""
        return np.flatnonzero(self.cutoffs(origin) >= history)

    def left_off(self, lengths: Ints) -> int:
        """Return how many steps of each series come after the earliest origin, at the most."""
        return int((lengths[self.rows] - self.cutoffs(0)).max())


def by_sequence(data: Data) -> bool:
    """Tell whether series are held out as a whole: none has a part in two splits."""
    rows = [
        np.unique(data.store.sequence(data.splits[name].begin))
        for name in ("train", "validation", "test")
        if len(data.splits[name].begin)
    ]
    return len(rows) > 1 and len(np.unique(np.concatenate(rows))) == sum(map(len, rows))


def horizon_of(resolved: Resolved) -> int:
    """Return how many steps ahead scores are of. Raises `InputError` (RC014)."""
    steps = resolved.target.ahead or resolved.task.generation.length
    if not steps:
        fact = "target.conformal is about forecasts, and generation.length is 0"
        cure = "generation.length = the steps that are forecast"
        raise InputError.of("RC014", fact, key="target.conformal", cure=cure)
    return steps


def needed(resolved: Resolved) -> int:
    """Return how many scores of a step the levels of a task need, by default that of 80 %."""
    levels = resolved.task.generation.levels or [written.DEFAULT[0]]
    return max(least(chance) for chance in written.chances(sorted(levels)))


def origins_of(resolved: Resolved, data: Data) -> Origins:
    """Return from where scores come: from as many origins as are needed, and as there is room for.

    They lie inside the training part of each series. Raises `InputError` (RC041) where they give
    too few scores, which says how many there are and how many are needed.
    """
    horizon, part = horizon_of(resolved), data.splits["train"]
    starts = data.store.sequence(part.begin)
    rows, place = np.unique(starts, return_inverse=True)
    ends = np.zeros(len(rows), np.int64)
    np.maximum.at(ends, place, part.high - part.begin)

    chain = data.chain or Chain(data.vocabulary)
    history = least_history(chain.lag, chain.by_series)
    long_enough = ends >= horizon + history
    rows, ends = rows[long_enough], ends[long_enough]
    chosen = sampled(np.arange(len(rows)), MOST)
    rows, ends = rows[chosen], ends[chosen]

    asked = needed(resolved)
    count = _count(resolved, ends, horizon, asked) if len(rows) else 0
    # Of many origins each series gives some, and fewer series do.
    some = sampled(np.arange(len(rows)), max(1, MOST // max(1, count)))
    origins = Origins(rows[some], ends[some], count, horizon)
    given = scores_of(origins, data, history, resolved.task.sequence.season)
    if given < asked:
        raise _too_few(resolved, origins, given, asked)
    if by_sequence(data) and "fold" not in resolved.roles:
        _check_kept(data, origins)
    return origins


def _check_kept(data: Data, origins: Origins) -> None:
    """Refuse series that the calibration model would not have, where it counts them.

    Other series would be held out then. Raises `InputError` (RC041).
    """
    lengths = lengths_of(data.store)
    left_off = origins.left_off(lengths)
    if short := int((lengths <= left_off).sum()):
        fact = f"{short:,} series have no step before the last {left_off:,}, and without them"
        fact += " others would be held out of the calibration"
        cure = 'sequence.split_by = "time", or leave short series out'
        raise InputError.of("RC041", fact, key="target.conformal", cure=cure)


def _count(resolved: Resolved, ends: Ints, horizon: int, asked: int) -> int:
    """Return how many origins there are."""
    length = float(np.median(ends))

    def room(share: float) -> int:
        return max(1, math.floor(length * share) - horizon + 1)

    wide = max(asked, least(written.chances(written.DEFAULT)[-1]))
    series = len(ends)
    count = max(min(-(-PLENTY // series), room(1 / 4)), min(-(-wide // series), room(1 / 2)))
    # What befalls all series at one time is in all scores of one origin.
    count = max(count, min(horizon, room(2 / 3)))
    if resolved.target.conformal == "adaptive":
        count = max(count, min(WATCHED, room(1 / 2)))
    return count


def scores_of(origins: Origins, data: Data, history: int, season: int) -> int:
    """Return how many scores of a step there may be: one of a series that changes, and an origin.

    It is that of the column with the fewest.
    """
    total = np.zeros(data.store.values.shape[1], np.int64)
    for origin in range(origins.count):
        cutoffs = origins.cutoffs(origin)
        for place in origins.able(origin, history).tolist():
            begin = int(data.store.starts[origins.rows[place]])
            before = np.asarray(data.store.values[begin : begin + cutoffs[place]], np.float64)
            total += ~np.isnan(unit_of(before, season))
    return int(total.min())


def _too_few(resolved: Resolved, origins: Origins, given: int, asked: int) -> InputError:
    """Return the error of too few scores."""
    levels = resolved.task.generation.levels or [written.DEFAULT[0]]
    of = f"{origins.count:,} origin{'s' * (origins.count != 1)} of {len(origins.rows):,} series"
    fact = f"{of}, {origins.horizon} steps ahead, give {given:,} scores of a step"
    fact += f", and level {written.text(max(levels))} needs {asked:,}"
    cure = "give more or longer series, of which each that never changes gives none"
    cure += ", or forecast fewer steps"
    if resolved.task.generation.levels:
        cure += ", or ask for a smaller level"
    return InputError.of("RC041", fact, key="target.conformal", cure=cure)


def told(resolved: Resolved, data: Data) -> list[str]:
    """Return what is said before training of a calibration, if there is any. Raises as above."""
    if resolved.target.conformal == "none":
        return []
    with resolved.placing():
        origins = origins_of(resolved, data)
    chain = data.chain or Chain(data.vocabulary)
    history = least_history(chain.lag, chain.by_series)
    count = scores_of(origins, data, history, resolved.task.sequence.season)
    many = f"{origins.count:,} origins" if origins.count > 1 else "1 origin"
    left = origins.left_off(lengths_of(data.store))
    return [
        f"target.conformal trains twice: once without the last {left:,} steps of each series, whose"
        f" forecasts from {many} of {len(origins.rows):,} series give {count:,} scores of each step"
        " ahead"
    ]
