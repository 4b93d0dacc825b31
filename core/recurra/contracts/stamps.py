"""Time stamps: how they are written, and what clocks and calendars show."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np

Numbers: TypeAlias = Literal[
    "auto", "integer", "yyyymm", "yyyymmdd", "second", "millisecond", "microsecond", "nanosecond"
]
"""What a whole number is as a stamp."""
DAY = 86_400_000_000
"""Microseconds of a day."""
EPOCHS = {"second": 1_000_000, "millisecond": 1000, "microsecond": 1}
"""Microseconds of what a number counts since 1970; of a nanosecond it is a part."""
FORMS = {
    "date", "time", "quarter", "week", "month", "integer", "yyyymm", "yyyymmdd", *EPOCHS,
    "nanosecond",
}  # fmt: skip
"""How a stamp may be written."""
ZERO = datetime(1970, 1, 1)
MONDAY = 3
"""Days from a Monday to the first of January 1970."""
ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?\s?([Zz]|[+-]\d\d(?::?\d\d)?)?)?"
)
WHOLE = re.compile(r"([+-]?\d+)(?:\.0*)?")
OF_CALENDAR = re.compile(r"(\d{4})-?(?:[Qq]([1-4])|[Ww](\d\d)(?:-([1-7]))?)|(\d{4})-(\d\d)")
WRITE = (
    "is no time stamp: write it as 2024-01-31, 2024-01-31T12:00, with an offset such as Z or"
    " +01:00, as 2024-01, 2024-Q1 or 2024-W05, or as a whole number"
)


class Stamp(NamedTuple):
    """A moment, or a whole number.

    `at` are microseconds since 1970, of UTC where it is known, or the number; `shown` are those
    that clocks and calendars show, with their `month` since the year 0, and `day`. `offset` is that
    in seconds which is written. `later` is `at` of the second time that clocks which were put back
    show the same. `form` is how it is written.
    """

    form: str
    at: int
    shown: int
    month: int = 0
    day: int = 0
    offset: int | None = None
    later: int | None = None

    @property
    def family(self) -> str:
        """What stamps of one table have in common; midnight may be written as a date."""
        form = "date" if self.form == "time" else self.form
        return form if self.offset is None else f"{form} with an offset"

    @property
    def ends_a_month(self) -> bool:
        """Whether its day is the last one of its month."""
        return self.day == days_of(self.month)

    def check(self) -> None:
        """Refuse what `read` does not give. Raises `OverflowError` or `ValueError`."""
        for name in ("at", "shown", "month", "day", "offset", "later"):
            number = getattr(self, name)
            left_out = number is None and name in ("offset", "later")
            if not left_out and (type(number) is not int or abs(number) >= 1 << 62):
                raise ValueError(f"a stamp has {name} = {number!r:.80}")
        if self.form not in FORMS:
            raise ValueError(f"a stamp has form = {self.form!r:.80}")
        if self.form == "integer":
            return
        moment = ZERO + timedelta(microseconds=self.shown)
        if (self.month, self.day) != (moment.year * 12 + moment.month - 1, moment.day):
            raise ValueError(f"a stamp has month = {self.month}, day = {self.day}")
        if max(abs(self.shown - self.at), abs(self.offset or 0) * 1_000_000) >= 2 * DAY:
            raise ValueError(f"a stamp has at = {self.at}, shown = {self.shown}")

    def follows(self, before: Stamp) -> Stamp:
        """Return it as it stands after another one: of two times that clocks show, which one."""
        if self.later is None or self.at > before.at:
            return self
        return self._replace(at=self.later, later=None)


@lru_cache(maxsize=1 << 16, typed=True)
def read(cell: Any, zone: str, numbers: Numbers) -> Stamp:
    """Return the stamp that a cell holds. Raises `ValueError` that says what is wrong with it."""
    try:
        return _of_cell(cell, zone, numbers)
    except OverflowError as error:
        raise ValueError("is no time of any calendar: the years are 1 to 9999") from error


def _of_cell(cell: Any, zone: str, numbers: Numbers) -> Stamp:
    if isinstance(cell, str):
        return _of_text(cell.strip(), zone, numbers)
    if isinstance(cell, np.datetime64):
        cell = _of_numpy(cell)
    if getattr(cell, "nanosecond", 0):
        raise ValueError("is finer than a microsecond: round it")
    if isinstance(cell, datetime):
        offset = cell.utcoffset()
        seconds = None if offset is None else int(offset.total_seconds())
        return _moment("time", cell.replace(tzinfo=None), seconds, zone)
    if isinstance(cell, date):
        return _moment("date", datetime(cell.year, cell.month, cell.day), None, zone)
    if isinstance(cell, bool) or not isinstance(cell, Real) or cell != cell:
        raise ValueError(WRITE)
    if not isinstance(cell, Integral) and not float(cell).is_integer():
        raise ValueError("is no whole number, as a stamp that is a number must be")
    return _of_number(
        int(float(cell)) if not isinstance(cell, Integral) else int(cell), zone, numbers
    )


def _of_text(text: str, zone: str, numbers: Numbers) -> Stamp:
    whole = WHOLE.fullmatch(text)
    if whole and len(whole[1]) < 25:
        return _of_number(int(whole[1]), zone, numbers)
    if numbers != "auto":
        raise ValueError("is no whole number, as the stamps of this column are")
    if match := ISO.fullmatch(text):
        return _of_iso(match, zone)
    if match := OF_CALENDAR.fullmatch(text):
        return _of_page(match, zone)
    raise ValueError(WRITE)


def _of_iso(match: re.Match[str], zone: str) -> Stamp:
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    digits = (fraction or "").ljust(6, "0")
    if digits[6:].strip("0"):
        raise ValueError("is finer than a microsecond: round it")
    try:
        hours, minutes, seconds = (int(part or 0) for part in (hour, minute, second))
        moment = datetime(int(year), int(month), int(day), hours, minutes, seconds, int(digits[:6]))
    except ValueError as error:
        raise ValueError(f"is no time of any calendar: {error}") from error
    shift = None
    if offset:
        zulu = "+0000" if offset in "Zz" else offset.replace(":", "").ljust(5, "0")
        hours, minutes = int(zulu[1:3]), int(zulu[3:5])
        if hours > 23 or minutes > 59:
            raise ValueError("is no time of any calendar: its offset is no time of a day")
        shift = (hours * 60 + minutes) * 60 * (-1 if zulu[0] == "-" else 1)
    return _moment("date" if hour is None else "time", moment, shift, zone)


def _of_page(match: re.Match[str], zone: str) -> Stamp:
    """Return a quarter, a week, a day of a week, or a month: each as its first day."""
    year, quarter, week, weekday, of_month, month = match.groups()
    try:
        if quarter:
            return _moment("quarter", datetime(int(year), int(quarter) * 3 - 2, 1), None, "")
        if week:
            day = date.fromisocalendar(int(year), int(week), int(weekday or 1))
            moment = datetime(day.year, day.month, day.day)
            return _moment("date" if weekday else "week", moment, None, zone if weekday else "")
        return _moment("month", datetime(int(of_month), int(month), 1), None, "")
    except ValueError as error:
        raise ValueError(f"is no time of any calendar: {error}") from error


def _of_number(number: int, zone: str, numbers: Numbers) -> Stamp:
    kind = _told_by_size(number) if numbers == "auto" else numbers
    if kind == "integer":
        if abs(number) >= 1 << 62:
            raise ValueError("is too large a number for a stamp")
        return Stamp("integer", number, number)
    if kind in ("yyyymm", "yyyymmdd"):
        if not _is_page(number, kind):
            raise ValueError(f"is no {kind}")
        whole = number if kind == "yyyymmdd" else number * 100 + 1
        moment = datetime(whole // 10000, whole // 100 % 100, whole % 100)
        return _moment(kind, moment, None, "" if kind == "yyyymm" else zone)

    if kind == "nanosecond" and number % 1000:
        raise ValueError("is finer than a microsecond: round it")
    micro = number // 1000 if kind == "nanosecond" else number * EPOCHS[kind]
    return moved_to(Stamp(kind, micro, micro, offset=0), micro, zone)


def _told_by_size(number: int) -> Numbers:
    """Return what a number is, as its size tells: a year, a date, or so long after 1970."""
    if _is_page(number, "yyyymmdd"):
        return "yyyymmdd"
    if _is_page(number, "yyyymm"):
        return "yyyymm"
    sizes: tuple[tuple[int, Numbers], ...] = (
        (10**8, "integer"),
        (10**11, "second"),
        (10**14, "millisecond"),
        (10**17, "microsecond"),
    )
    return next((kind for size, kind in sizes if abs(number) < size), "nanosecond")


def _is_page(number: int, kind: str) -> bool:
    """Return whether a number is a month or a day from 1800 to 2199, written without marks."""
    whole = number if kind == "yyyymmdd" else number * 100 + 1
    if not 18000101 <= whole <= 21991231:
        return False
    try:
        date(whole // 10000, whole // 100 % 100, whole % 100)
    except ValueError:
        return False
    return True


def _of_numpy(cell: np.datetime64) -> datetime | date:
    """Return a moment of NumPy as one of Python. Raises `ValueError`."""
    if np.isnat(cell):
        raise ValueError(WRITE)
    micro = cell.astype("datetime64[us]")
    if micro != cell:
        raise ValueError("is finer than a microsecond: round it")
    if abs(int(micro.astype(np.int64))) > 10**18:
        raise ValueError("is no time of any calendar")
    moment: Any = (cell.astype("datetime64[D]") if _is_date(cell) else micro).astype(object)
    if not isinstance(moment, date):
        raise ValueError("is no time of any calendar")
    return moment


def _is_date(cell: np.datetime64) -> bool:
    return np.datetime_data(cell.dtype)[0] in ("Y", "M", "W", "D")


def _moment(form: str, moment: datetime, offset: int | None, zone: str) -> Stamp:
    """Return a moment that is written so. Raises `ValueError` for one that clocks left out."""
    shown = (moment - ZERO) // timedelta(microseconds=1)
    stamp = Stamp(form, shown, shown, moment.year * 12 + moment.month - 1, moment.day, offset)
    if offset is not None:
        return moved_to(stamp, shown - offset * 1_000_000, zone)
    return shown_at(stamp, shown, zone)


def moved_to(stamp: Stamp, at: int, zone: str) -> Stamp:
    """Return a stamp at another time, as clocks show it then."""
    moment = ZERO + timedelta(microseconds=at)
    offset = stamp.offset
    if zone and (offset is not None or stamp.form in ("date", "time", "yyyymmdd")):
        passed = moment.replace(tzinfo=UTC).astimezone(_place(zone)).utcoffset()
        assert passed is not None, "a zone has an offset at any time"
        shift = int(passed.total_seconds())
    else:
        shift = offset or 0
    moment += timedelta(seconds=shift)
    written = None if offset is None else shift
    month = moment.year * 12 + moment.month - 1
    return stamp._replace(
        at=at, shown=at + shift * 1_000_000, month=month, day=moment.day, offset=written, later=None
    )


def shown_at(stamp: Stamp, shown: int, zone: str) -> Stamp:
    """Return a stamp that clocks show so. Raises `ValueError` for a time that they left out."""
    moment = ZERO + timedelta(microseconds=shown)
    month = moment.year * 12 + moment.month - 1
    stamp = stamp._replace(shown=shown, month=month, day=moment.day, later=None)
    if not zone or stamp.form in ("month", "quarter", "week", "yyyymm"):
        return stamp._replace(at=shown - (stamp.offset or 0) * 1_000_000)

    place = _place(zone)
    times = []
    for fold in (0, 1):
        shift = moment.replace(tzinfo=place, fold=fold).utcoffset()
        assert shift is not None, "a zone has an offset at any time"
        times.append(shown - int(shift.total_seconds()) * 1_000_000)
    first, second = times
    if first > second:
        if stamp.shown % DAY:
            raise ValueError(f"is no time in {zone}: clocks were put forward over it")
        # A day whose first hour was left out begins with the next one.
        second = first
    written = None if stamp.offset is None else (shown - first) // 1_000_000
    later = second if second > first else None
    return stamp._replace(at=first, offset=written, later=later)


def _place(zone: str) -> tzinfo:
    """Return the clocks of a zone, which may be one offset. Raises `ValueError`."""
    if zone[:1] in ("+", "-"):
        own = datetime.fromisoformat(f"{ZERO.isoformat()}{zone}").tzinfo
        assert own is not None, "an offset is a zone"
        return own
    return ZoneInfo(zone)


def business_day(day: int) -> int | None:
    """Return the number of a day since 1970 among those from Monday to Friday, or none."""
    week, weekday = divmod(day + MONDAY, 7)
    return None if weekday > 4 else week * 5 + weekday


def days_of(month: int) -> int:
    """Return how many days a month since the year 0 has."""
    return monthrange(month // 12, month % 12 + 1)[1]
