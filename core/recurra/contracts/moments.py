"""The stamps of many steps at once, as clocks and calendars show them: arrays, and no stamps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.stamps import DAY, MONDAY, ZERO, Stamp, moved_to
from recurra.contracts.timeline import Frequency

Ints = NDArray[np.int64]

SECOND = 1_000_000
YEARS = 10
"""Years of a zone whose changes of clocks are looked up together."""
FIRST, LAST = datetime(1, 1, 3), datetime(9999, 12, 29)
"""Where the offsets of zones are known: a day or two within the years 1 to 9999."""


class Firsts(NamedTuple):
    """The first stamps of several series, `[S]` each: `at`, `shown`, `month` and `day` of `Stamp`.

    `offset` is that in seconds that clocks have who are of no zone, and `moves` tells of whose
    offset a zone says what it is.
    """

    at: Ints
    shown: Ints
    month: Ints
    day: Ints
    offset: Ints
    moves: NDArray[np.bool_]

    @classmethod
    def of(cls, stamps: Iterable[Stamp]) -> Firsts:
        """Return some stamps as arrays."""
        rows = [
            (
                stamp.at,
                stamp.shown,
                stamp.month,
                stamp.day,
                stamp.offset or 0,
                stamp.offset is not None or stamp.form in ("date", "time", "yyyymmdd"),
            )
            for stamp in stamps
        ]
        table = np.array(rows, np.int64).reshape(-1, 6)
        at, known, month, day, offset, moves = (column.copy() for column in table.T)
        return cls(at, known, month, day, offset, moves != 0)

    def take(self, rows: Ints) -> Firsts:
        """Return those of some series, one for each row."""
        columns: Any = (column[rows] for column in self)
        return Firsts(*columns)


def shown(frequency: Frequency, zone: str, firsts: Firsts, places: Ints) -> Ints:
    """Return what clocks show `places` `[n]` steps after stamps `[n]`, microseconds since 1970.

    They are those of `Frequency.after`; of a frequency of steps they are the numbers.
    """
    distance = places * frequency.count
    if frequency.kind == "step":
        return firsts.at + distance
    if frequency.kind == "clock":
        if frequency.is_of_days and zone:
            return firsts.shown + distance
        at = firsts.at + distance
        if not zone:
            return at + firsts.offset * SECOND
        moved: Ints = np.where(firsts.moves, offsets(zone, at), firsts.offset)
        return at + moved * SECOND

    time = firsts.shown % DAY
    if frequency.kind == "business day":
        days = firsts.shown // DAY + MONDAY
        week, day = np.divmod(days // 7 * 5 + days % 7 + distance, 5)
        return (week * 7 + day - MONDAY) * DAY + time
    month = firsts.month + distance
    days = days_of(month)
    if frequency.kind == "month":
        days = np.minimum(firsts.day, days)
    last: Ints = (first_day(month) + days - 1) * DAY + time
    return last


def first_day(month: Ints) -> Ints:
    """Return the days since 1970 on which months since the year 0 begin."""
    return (month - 1970 * 12).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def days_of(month: Ints) -> Ints:
    """Return how many days months since the year 0 have."""
    return first_day(month + 1) - first_day(month)


def month_of(day: Ints) -> Ints:
    """Return in which months since the year 0 days since 1970 lie."""
    months = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months + 1970 * 12


def offsets(zone: str, at: Ints) -> Ints:
    """Return the offsets in seconds of a zone at some times, microseconds of UTC since 1970.

    Beyond the years 1 to 9999 the last one stays.
    """
    if not len(at):
        return np.zeros(0, np.int64)
    low, high = (_decade(int(time)) for time in (at.min(), at.max()))
    starts, shifts = _changes(zone, low, high)
    found: Ints = shifts[np.maximum(np.searchsorted(starts, at, side="right") - 1, 0)]
    return found


def _decade(at: int) -> int:
    """Return in which stretch of years a time lies, those that no calendar has left out."""
    moment = min(max(at, _micro(FIRST)), _micro(LAST))
    return (ZERO + timedelta(microseconds=moment)).year // YEARS


def _micro(moment: datetime) -> int:
    return (moment - ZERO) // timedelta(microseconds=1)


@lru_cache(maxsize=256)
def _changes(zone: str, low: int, high: int) -> tuple[Ints, Ints]:
    """Return when the offset of a zone changes between two decades, and what it is from then on."""
    every = [change for decade in range(low, high + 1) for change in _of_decade(zone, decade)]
    starts, shifts = zip(*every, strict=True)
    return np.array(starts, np.int64), np.array(shifts, np.int64)


@lru_cache(maxsize=1 << 12)
def _of_decade(zone: str, decade: int) -> tuple[tuple[int, int], ...]:
    """Return the same of one decade, and what its first offset is.

    Clocks are looked at once a day: no zone has changed them twice within one.
    """
    begin = _micro(max(FIRST, datetime(max(1, decade * YEARS), 1, 1)))
    end = _micro(LAST if decade * YEARS + YEARS > 9999 else datetime(decade * YEARS + YEARS, 1, 1))
    changes = [(begin, _offset(zone, begin))]
    for low in range(begin, end, DAY):
        high = min(low + DAY, end)
        before, after = changes[-1][1], _offset(zone, high)
        if before == after:
            continue
        while high - low > SECOND:
            middle = low + (high - low) // (2 * SECOND) * SECOND
            if _offset(zone, middle) == before:
                low = middle
            else:
                high = middle
        changes.append((high, after))
    return tuple(changes)


def _offset(zone: str, at: int) -> int:
    """Return the offset of a zone at a time, in seconds."""
    stamp = moved_to(Stamp("time", at, at), at, zone)
    return (stamp.shown - at) // SECOND
