"""How far time stamps are apart, and which come after others.

A `Timeline` reads stamps and writes those that follow: of a series without gaps all are told by the
first one and the frequency.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal, TypeAlias, get_args

from recurra.contracts.stamps import (
    DAY,
    EPOCHS,
    ISO,
    MONDAY,
    WRITE,
    ZERO,
    Numbers,
    Stamp,
    business_day,
    days_of,
    moved_to,
    read,
    shown_at,
)

Kind: TypeAlias = Literal["step", "clock", "business day", "month", "month end"]
"""By what a frequency counts: whole numbers, time that passes, or pages of the calendar."""

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
NAMED = re.compile(r"(?:([1-9]\d{0,8}) )?([a-z]+(?: (?:day|end))?)")


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
            places = [business_day(stamp.shown // DAY) for stamp in (first, other)]
            if None in places:
                return None
            distance = places[1] - places[0]  # type: ignore[operator]
        else:
            distance = other.month - first.month
            day = days_of(other.month)
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
            return moved_to(first, first.at + distance, zone)
        if self.kind == "clock":
            return shown_at(first, first.shown + distance, zone)
        if self.kind == "business day":
            begin = business_day(first.shown // DAY)
            if begin is None:
                raise ValueError("it is no business day")
            week, day = divmod(begin + distance, 5)
            days = week * 7 + day - MONDAY
            return shown_at(first, days * DAY + first.shown % DAY, zone)
        month = first.month + distance
        day = days_of(month) if self.kind == "month end" else min(first.day, days_of(month))
        days = (date(month // 12, month % 12 + 1, day) - ZERO.date()).days
        return shown_at(first, days * DAY + first.shown % DAY, zone)


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
            return read(cell, self.zone, self.numbers)
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
