"""Time stamps: what they are, how far apart they stand, and which come after others.

A `Timeline` reads stamps and writes those that follow: of a series without gaps all are told by the
first one and the frequency.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypeAlias, get_args
from zoneinfo import ZoneInfo

import numpy as np

Numbers: TypeAlias = Literal[
    "auto", "integer", "yyyymm", "yyyymmdd", "second", "millisecond", "microsecond", "nanosecond"
]
"""What a whole number is as a stamp."""
Kind: TypeAlias = Literal["step", "clock", "business day", "month", "month end"]
"""By what a frequency counts: whole numbers, time that passes, or pages of the calendar."""

DAY = 86_400_000_000
"""Microseconds of a day."""
CLOCK = {
    "week": 7 * DAY,
    "day": DAY,
    "hour": DAY // 24,
    "minute": 60_000_000,
    "second": 1_000_000,
    "millisecond": 1000,
    "microsecond": 1,
}
MONTHS = {"year": 12, "quarter": 3, "month": 1}
EPOCHS = {"second": 1_000_000, "millisecond": 1000, "microsecond": 1}
"""Microseconds of what a number counts since 1970; of a nanosecond it is a part."""
ZERO = datetime(1970, 1, 1)
MONDAY = 3
"""Days from a Monday to the first of January 1970."""
ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?\s?([Zz]|[+-]\d\d(?::?\d\d)?)?)?"
)
WHOLE = re.compile(r"([+-]?\d+)(?:\.0*)?")
OF_CALENDAR = re.compile(r"(\d{4})-?(?:[Qq]([1-4])|[Ww](\d\d)(?:-([1-7]))?)|(\d{4})-(\d\d)")
NAMED = re.compile(r"(?:([1-9]\d{0,8}) )?([a-z]+(?: (?:day|end))?)")
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
        return self.day == _days(self.month)

    def follows(self, before: Stamp) -> Stamp:
        """Return it as it stands after another one: of two times that clocks show, which one."""
        if self.later is None or self.at > before.at:
            return self
        return self._replace(at=self.later, later=None)


@dataclass(frozen=True)
class Frequency:
    """How far one stamp is from the next: so many steps, microseconds, days or months."""

    kind: Kind
    count: int

    @classmethod
    def named(cls, text: str) -> Frequency:
        """Return what a text such as `15 minutes` says. Raises `ValueError`."""
        match = NAMED.fullmatch(text.strip())
        count = int(match[1] or 1) if match else 0
        unit = match[2] if match else ""
        if unit not in ("business day", "step") and not unit.endswith(" end"):
            unit = unit.removesuffix("s") if count > 1 else unit
        unit, end = unit.removesuffix(" end"), unit.endswith(" end")
        if unit.removesuffix("s") == "step":
            return cls("step", count)
        if unit in MONTHS:
            return cls("month end" if end else "month", count * MONTHS[unit])
        if unit in CLOCK and not end:
            return cls("clock", count * CLOCK[unit])
        if unit == "business day":
            return cls("business day", count)
        raise ValueError(
            f"{text!r} is no frequency: it is a year, quarter, month, week, day, business day,"
            " hour, minute or second, or several, as in 15 minutes, or a month end, quarter end or"
            " year end"
        )

    def __str__(self) -> str:
        units = MONTHS if self.kind.startswith("month") else CLOCK
        if self.kind in ("step", "business day"):
            units = {self.kind: 1}
        unit = next(unit for unit, size in units.items() if not self.count % size)
        number = self.count // units[unit]
        end = " end" if self.kind == "month end" else ""
        if number == 1:
            return f"{unit}{end}"
        return f"{number} {unit}{end}" if end or " " in unit else f"{number} {unit}s"

    @property
    def is_of_days(self) -> bool:
        """Whether it counts what calendars show, and not the time that passes."""
        return self.kind != "clock" or not self.count % DAY

    def steps(self, first: Stamp, other: Stamp) -> int | None:
        """Return how many steps one stamp is after another; none where that is no whole number."""
        if self.kind == "step":
            distance = other.at - first.at
        elif self.kind == "clock":
            by_day = self.is_of_days
            distance = other.shown - first.shown if by_day else other.at - first.at
        elif first.shown % DAY != other.shown % DAY:
            return None
        elif self.kind == "business day":
            places = [_business(stamp.shown // DAY) for stamp in (first, other)]
            if None in places:
                return None
            distance = places[1] - places[0]  # type: ignore[operator]
        else:
            distance = other.month - first.month
            day = _days(other.month)
            if self.kind == "month" or not first.ends_a_month:
                day = min(day, first.day)
            if other.day != day:
                return None
        whole, rest = divmod(distance, self.count)
        return None if rest else whole

    def after(self, first: Stamp, place: int, zone: str = "") -> Stamp:
        """Return the stamp that is `place` steps after another one.

        Raises `OverflowError` or `ValueError` beyond the years 1 to 9999.
        """
        if self.kind == "step":
            return first._replace(at=first.at + place * self.count)
        distance = place * self.count
        if self.kind == "clock" and not (self.is_of_days and zone):
            return _at(first, first.at + distance, zone)
        if self.kind == "clock":
            return _shown(first, first.shown + distance, zone)
        if self.kind == "business day":
            begin = _business(first.shown // DAY)
            if begin is None:
                raise ValueError("it is no business day")
            week, day = divmod(begin + distance, 5)
            days = week * 7 + day - MONDAY
            return _shown(first, days * DAY + first.shown % DAY, zone)
        month = first.month + distance
        day = _days(month) if self.kind == "month end" else min(first.day, _days(month))
        days = (date(month // 12, month % 12 + 1, day) - ZERO.date()).days
        return _shown(first, days * DAY + first.shown % DAY, zone)


@dataclass(frozen=True)
class Timeline:
    """How the stamps of a table are read, and how far apart they are, if that is known.

    The clocks of a `zone` are those of stamps without an offset, and its days count.
    """

    frequency: Frequency | None = None
    zone: str = ""
    numbers: Numbers = "auto"

    @classmethod
    def of(cls, record: dict[str, str]) -> Timeline:
        """Return what `record` gave. Raises `ValueError` for anything else."""
        named = record.get("frequency")
        frequency = None if named is None else Frequency.named(named)
        numbers: Any = record.get("numbers", "auto")
        if numbers not in get_args(Numbers) or {*record} - {"frequency", "zone", "numbers"}:
            raise ValueError("it is no timeline")
        return cls(frequency, record.get("zone", ""), numbers)

    def record(self) -> dict[str, str]:
        """Return it as plain JSON."""
        frequency = {} if self.frequency is None else {"frequency": str(self.frequency)}
        zone = {"zone": self.zone} if self.zone else {}
        return frequency | zone | {"numbers": self.numbers}

    def like(self, stamp: Stamp) -> Timeline:
        """Return one that takes whole numbers for what one of them is, and its offset for a zone.

        Without a zone of their own, stamps of several offsets are shown by one clock.
        """
        number: Any = stamp.form if stamp.form in get_args(Numbers) else "auto"
        zone = self.zone
        if not zone and stamp.form == "time" and stamp.offset is not None:
            moment = ZERO.replace(tzinfo=timezone(timedelta(seconds=stamp.offset)))
            zone = moment.isoformat()[len(ZERO.isoformat()) :]
        return replace(self, numbers=number, zone=zone)

    def read(self, cell: Any) -> Stamp:
        """Return the stamp that a cell holds: a text, a number, a date. Raises `ValueError`."""
        try:
            return _read(cell, self.zone, self.numbers)
        except TypeError as error:
            # A list, of which there is no hash.
            raise ValueError(WRITE) from error

    def after(self, first: str, places: Iterable[int]) -> list[str]:
        """Return the stamps that are so many steps after the first one, written as it is.

        Raises `ValueError` where the frequency is not known, or the calendar ends.
        """
        if self.frequency is None:
            raise ValueError("how far stamps are apart is not known")
        stamp = self.read(first)
        try:
            return [
                self._written(first.strip(), self.frequency.after(stamp, int(place), self.zone))
                for place in places
            ]
        except OverflowError as error:
            raise ValueError(f"no calendar goes so far after {first}") from error

    def _written(self, first: str, stamp: Stamp) -> str:
        """Return a stamp as the first one is written."""
        form = stamp.form
        if form == "integer":
            return str(stamp.at)
        if form in EPOCHS:
            return str(stamp.at // EPOCHS[form])
        if form == "nanosecond":
            return str(stamp.at * 1000)

        year, month = divmod(stamp.month, 12)
        if form == "yyyymm":
            return f"{year:04d}{month + 1:02d}"
        moment = ZERO + timedelta(microseconds=stamp.shown)
        if form == "yyyymmdd":
            return f"{moment:%Y%m%d}"
        if form == "month":
            return f"{year:04d}-{month + 1:02d}"
        dash = "-" if "-" in first else ""
        if form == "quarter":
            return f"{year:04d}{dash}Q{month // 3 + 1}"
        if form == "week":
            of_week = moment.isocalendar()
            return f"{of_week.year:04d}{dash}W{of_week.week:02d}"
        if form == "date" and not stamp.shown % DAY:
            return f"{moment:%Y-%m-%d}" if year >= 1000 else moment.date().isoformat()
        return _time(first, stamp, moment)


def _time(first: str, stamp: Stamp, moment: datetime) -> str:
    """Return a moment as precisely as the first one is written, or more so where it must be."""
    match = ISO.fullmatch(first)
    mark = first[10] if len(first) > 10 and match else "T"
    spec = "minutes" if not match or match[6] is None else "seconds"
    if moment.second:
        spec = "seconds"
    if (match and match[7]) or moment.microsecond:
        spec = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    text = moment.isoformat(mark, spec)
    if stamp.offset is None:
        return text
    if first.endswith(("Z", "z")) and not stamp.offset:
        return f"{text}Z"
    offset = timezone(timedelta(seconds=stamp.offset))
    return text + moment.replace(tzinfo=offset).isoformat()[len(moment.isoformat()) :]


@lru_cache(maxsize=1 << 16, typed=True)
def _read(cell: Any, zone: str, numbers: Numbers) -> Stamp:
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
    return _at(Stamp(kind, micro, micro, offset=0), micro, zone)


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
        return _at(stamp, shown - offset * 1_000_000, zone)
    return _shown(stamp, shown, zone)


def _at(stamp: Stamp, at: int, zone: str) -> Stamp:
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


def _shown(stamp: Stamp, shown: int, zone: str) -> Stamp:
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


def _business(day: int) -> int | None:
    """Return the number of a day since 1970 among those from Monday to Friday, or none."""
    week, weekday = divmod(day + MONDAY, 7)
    return None if weekday > 4 else week * 5 + weekday


def _days(month: int) -> int:
    """Return how many days a month since the year 0 has."""
    return monthrange(month // 12, month % 12 + 1)[1]
