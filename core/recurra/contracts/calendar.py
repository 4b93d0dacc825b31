"""Features of time stamps: what clocks and calendars show at a step, known for all that follow.

Each word and each term of a Fourier series is a sine and a cosine of where in its cycle a step
stands, so that the last hour of a day is as near to the first as any two are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.moments import Firsts, Ints, days_of, first_day, month_of, shown
from recurra.contracts.stamps import DAY, MONDAY, ZERO
from recurra.contracts.timeline import CLOCK, Frequency

Floats = NDArray[np.float64]

CalendarWord: TypeAlias = Literal[
    "minute", "hour", "weekday", "weekend", "day", "day of year", "week", "month", "quarter"
]
"""A feature: of the hour, the day, the week, the month and the year, and whether it is Saturday."""
FourierPeriod: TypeAlias = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
"""How long the longest wave of a Fourier series is."""
HOLIDAY = "holiday"

CYCLES: dict[str, int] = {
    "minute": CLOCK["hour"],
    "hour": DAY,
    "weekday": 7 * DAY,
    "weekend": 7 * DAY,
    "day": 28 * DAY,
    "day of year": 365 * DAY,
    "week": 364 * DAY,
    "month": 365 * DAY,
    "quarter": 365 * DAY,
    HOLIDAY: 2 * DAY,
}
"""After what time a word says the same again, or longer steps than which it cannot tell apart."""
PERIODS: dict[str, int] = {
    **{name: CLOCK[name] for name in ("minute", "hour", "day", "week")},
    "month": 30 * DAY,
    "quarter": 91 * DAY,
    "year": 365 * DAY,
}
"""How long a period is, about."""
BUSINESS = {"week": 5, "month": 21, "quarter": 65, "year": 261}
"""How many days from Monday to Friday a period has, about."""
MONTHS = {"quarter": 3, "year": 12}
OF_WEEK = ("minute", "hour", "weekday", "weekend")
"""Words that steps of so many whole cycles say alike, all of which have one length."""


class Fourier(NamedTuple):
    """Waves of a period, or of so many steps: the first `order` of them."""

    period: FourierPeriod | float
    order: int

    def __str__(self) -> str:
        return f"fourier {self.label}"

    @property
    def label(self) -> str:
        """What the period is called."""
        return self.period if isinstance(self.period, str) else f"{self.period:g} steps"

    def steps(self, frequency: Frequency) -> float:
        """Return how many steps of a frequency a period has, about."""
        if not isinstance(self.period, str):
            return self.period
        if frequency.kind == "clock":
            return PERIODS[self.period] / frequency.count
        if frequency.kind == "business day":
            return BUSINESS.get(self.period, 0) / frequency.count
        months = frequency.kind in ("month", "month end")
        return MONTHS.get(self.period, 0) / frequency.count if months else 0.0


Feature: TypeAlias = CalendarWord | Fourier


class Refusal(NamedTuple):
    """Why a feature is of no use, what is in its place, and the option of a source it stands in."""

    option: str
    fact: str
    allowed: str


@dataclass(frozen=True)
class Calendar:
    """The features that are read of the stamps of steps, in their order.

    `holidays` are days since 1970; where there are any, whether a step is of one is the last.
    """

    features: tuple[Feature, ...]
    holidays: tuple[int, ...] = ()

    @classmethod
    def of(cls, features: Iterable[Feature], holidays: Iterable[date] = ()) -> Calendar:
        """Return that of some features and dates."""
        days = sorted({(day - ZERO.date()).days for day in holidays})
        return cls(tuple(features), tuple(days))

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> Calendar:
        """Return what `save` gave. Raises any error if it is not that."""
        features: list[Feature] = []
        for feature in saved["features"]:
            if isinstance(feature, str):
                if feature not in get_args(CalendarWord):
                    raise ValueError(f"{feature!r} is no feature of a stamp")
                features.append(feature)  # type: ignore[arg-type]
                continue
            period, order = feature
            steps = not isinstance(period, str) and float(period) >= 2
            if not steps and period not in get_args(FourierPeriod):
                raise ValueError(f"{period!r} is no period")
            features.append(Fourier(period, int(order)))
        return cls(tuple(features), tuple(int(day) for day in saved["holidays"]))

    def save(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        features = [each if isinstance(each, str) else [*each] for each in self.features]
        return {"features": features, "holidays": list(self.holidays)}

    def inputs(self) -> list[str]:
        """Return what the numbers are called that a network reads."""
        names: list[str] = []
        for feature in self.features:
            if feature == "weekend":
                names.append("weekend")
            elif isinstance(feature, str):
                names += [f"{feature} sin", f"{feature} cos"]
            else:
                for order in range(1, feature.order + 1):
                    names += [f"{feature.label} sin {order}", f"{feature.label} cos {order}"]
        return [*names, HOLIDAY] if self.holidays else names

    @property
    def width(self) -> int:
        """How many numbers a network reads of it."""
        return len(self.inputs())

    def refused(self, frequency: Frequency) -> Refusal | None:
        """Return what says nothing of steps of a frequency, if anything does."""
        every = f"with a time stamp every {frequency}"
        words = [each for each in self.features if isinstance(each, str)]
        for word in [*words, *([HOLIDAY] if self.holidays else [])]:
            if not tells(word, frequency):
                option = "holidays" if word == HOLIDAY else "calendar"
                told = [each for each in get_args(CalendarWord) if tells(each, frequency)]
                fact = f"{every} the {word} tells no step from another"
                return Refusal(option, fact, ", ".join(told) or "none of the words")

        for feature in self.features:
            if isinstance(feature, str):
                continue
            steps = feature.steps(frequency)
            if steps < 2:
                named = [n for n in get_args(FourierPeriod) if Fourier(n, 1).steps(frequency) >= 2]
                fact = f"{every} no two steps stand in a {feature.label}"
                return Refusal("fourier", fact, ", ".join([*named, "a number of steps"]))
            if 2 * feature.order > steps:
                fact = f"{every} a {feature.label} has {steps:.4g} steps, and {feature.order} waves"
                fact += f" need {2 * feature.order}"
                return Refusal("fourier", fact, f"1 to {int(steps // 2)} waves")
        return None

    def rows(self, frequency: Frequency, zone: str, firsts: Firsts, places: Ints) -> Floats:
        """Return the features `[n, W]` of what stands `places` `[n]` steps after stamps `[n]`."""
        table = np.zeros((len(places), self.width))
        if not len(places):
            return table
        page = Page.of(frequency, zone, firsts, places)
        at = 0
        for feature in self.features:
            if feature == "weekend":
                table[:, at] = page.weekday >= 5
                at += 1
                continue
            orders = 1 if isinstance(feature, str) else feature.order
            turn = 2 * np.pi * page.part(feature)
            for order in range(1, orders + 1):
                table[:, at] = np.sin(order * turn)
                table[:, at + 1] = np.cos(order * turn)
                at += 2
        if self.holidays:
            table[:, at] = np.isin(page.day, np.array(self.holidays))
        return table


def tells(word: str, frequency: Frequency) -> bool:
    """Return whether a word, or a holiday, tells steps of a frequency apart."""
    if frequency.kind == "step":
        return False
    if frequency.kind == "clock":
        if word in OF_WEEK:
            return frequency.count % CYCLES[word] > 0
        return frequency.count < CYCLES[word]
    if frequency.kind == "business day":
        if word == "weekday":
            return frequency.count % 5 > 0
        own = word not in OF_WEEK
        return own and frequency.count * 7 // 5 * DAY < CYCLES[word]
    return word in ("month", "quarter") and frequency.count % 12 > 0


class Page(NamedTuple):
    """What calendars show at some steps: days since 1970, months since the year 0, of each `[n]`.

    `shown` are microseconds since 1970, and `number` counts steps from a fixed one.
    """

    frequency: Frequency
    shown: Ints
    number: Floats
    day: Ints
    month: Ints

    @classmethod
    def of(cls, frequency: Frequency, zone: str, firsts: Firsts, places: Ints) -> Page:
        """Return that of what stands so many steps after stamps."""
        at = shown(frequency, zone, firsts, places)
        if frequency.kind == "step":
            return cls(frequency, at, at / frequency.count, at, at)
        day = at // DAY
        month = month_of(day)
        if frequency.kind == "clock":
            passed = at
            if not (frequency.is_of_days and zone):
                passed = firsts.at + places * frequency.count
            number = passed / frequency.count
        elif frequency.kind == "business day":
            week, weekday = np.divmod(day + MONDAY, 7)
            number = (week * 5 + weekday) / frequency.count
        else:
            number = month / frequency.count
        return cls(frequency, at, number, day, month)

    @property
    def weekday(self) -> Ints:
        """The days after a Monday."""
        return (self.day + MONDAY) % 7

    def part(self, feature: Feature) -> Floats:
        """Return where in its cycle each step stands, from 0 up to 1."""
        if isinstance(feature, str):
            return self._of_word(feature)
        if not isinstance(feature.period, str):
            return self.number % feature.period / feature.period
        return self._of_period(feature.period)

    def _of_word(self, word: str) -> Floats:
        if word == "minute":
            return self.shown // CLOCK["minute"] % 60 / 60
        if word == "hour":
            return self.shown // CLOCK["hour"] % 24 / 24
        if word == "weekday":
            return self.weekday / 7
        if word == "day":
            return (self.day - first_day(self.month)) / days_of(self.month)
        if word == "day of year":
            return self._day_of_year(self.day) / self._days_of_year(self.month)
        if word == "week":
            week, weeks = self._week()
            return week / weeks
        return self.month % 12 / 12 if word == "month" else self.month % 12 // 3 / 4

    def _day_of_year(self, day: Ints) -> Ints:
        month = month_of(day)
        return day - first_day(month - month % 12)

    def _days_of_year(self, month: Ints) -> Ints:
        begin = month - month % 12
        return first_day(begin + 12) - first_day(begin)

    def _week(self) -> tuple[Ints, Ints]:
        """Return the week of the year by ISO 8601, from 0, and how many weeks its year has."""
        thursday = self.day - self.weekday + 3
        month = month_of(thursday)
        # The 28th of December is in the last week of its year.
        last = first_day(month - month % 12 + 11) + 27
        last_thursday = last - (last + MONDAY) % 7 + 3
        return self._day_of_year(thursday) // 7, self._day_of_year(last_thursday) // 7 + 1

    def _of_period(self, period: FourierPeriod) -> Floats:
        """Return where in a period each step stands; of months each is as long as any other."""
        if period in ("minute", "hour", "day", "week"):
            length = PERIODS[period]
            since = self.shown + MONDAY * DAY if period == "week" else self.shown
            return since % length / length
        months = {"month": 1, "quarter": 3, "year": 12}[period]
        if self.frequency.kind in ("month", "month end"):
            return self.month % months / months
        begin = self.month - self.month % months
        first, following = first_day(begin) * DAY, first_day(begin + months) * DAY
        return (self.shown - first) / (following - first)
