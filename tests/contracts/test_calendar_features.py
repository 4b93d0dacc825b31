"""Features of time stamps, beside plain arithmetic of dates: zones, leap days, weeks of years."""

from __future__ import annotations

import calendar as pages
import math
from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recurra.contracts.calendar import Calendar, CalendarWord, Fourier, FourierPeriod
from recurra.contracts.moments import Firsts, offsets, shown
from recurra.contracts.stamps import ZERO
from recurra.contracts.timeline import Frequency, Timeline

ZONES = ["", "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
FREQUENCIES = [
    "second", "15 minutes", "hour", "3 hours", "day", "2 days", "week", "business day",
    "month", "month end", "quarter", "quarter end", "year", "90 minutes", "2 business day",
]  # fmt: skip
MICRO = timedelta(microseconds=1)

moments = st.datetimes(datetime(1960, 1, 1), datetime(2060, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0)
)


def read(first: str, named: str, zone: str, places: np.ndarray, calendar: Calendar) -> np.ndarray:
    """Return the features of steps after a stamp, `[n, W]`."""
    stamp = Timeline(zone=zone).read(first)
    firsts = Firsts.of([stamp]).take(np.zeros(len(places), np.int64))
    return calendar.rows(Frequency.named(named), zone, firsts, places)


def moments_of(first: str, named: str, zone: str, places: list[int]) -> list[datetime]:
    """Return what clocks show at these steps, one after the other."""
    stamp, frequency = Timeline(zone=zone).read(first), Frequency.named(named)
    return [ZERO + MICRO * frequency.after(stamp, place, zone).shown for place in places]


@given(
    first=moments,
    named=st.sampled_from(FREQUENCIES),
    zone=st.sampled_from(ZONES),
    places=st.lists(st.integers(-3000, 3000), min_size=1, max_size=8),
)
@example(datetime(2024, 3, 31, 1), "hour", "Europe/Berlin", [0, 1, 2, 26])
@example(datetime(2024, 10, 27, 1), "hour", "Europe/Berlin", [0, 1, 2, 3])
@example(datetime(2024, 2, 28), "day", "", [0, 1, 2])
@example(datetime(2024, 1, 31), "month", "", [1, 2, 12, 13])
@settings(deadline=None, max_examples=80)
def test_what_clocks_show(first: datetime, named: str, zone: str, places: list[int]) -> None:
    """Arrays of steps stand where each step by itself stands."""
    try:
        expected = moments_of(first.isoformat(), named, zone, places)
    except ValueError:
        return  # it begins on no business day, or in an hour that clocks leave out
    stamp = Timeline(zone=zone).read(first.isoformat())
    firsts = Firsts.of([stamp]).take(np.zeros(len(places), np.int64))
    got = shown(Frequency.named(named), zone, firsts, np.array(places))
    assert [ZERO + MICRO * int(at) for at in got] == expected


@given(data=st.data(), zone=st.sampled_from(ZONES[1:]))
@settings(deadline=None, max_examples=20)
def test_the_offset_of_a_zone(data: st.DataObject, zone: str) -> None:
    """At any moment it is what the database of zones says, right before a change and at it too."""
    seconds = data.draw(st.lists(st.integers(-(10**9), 3 * 10**9), min_size=1, max_size=6))
    changes = [1711846800, 1711846799, 1729990800, 1729990799, 1710054000, 1710053999]
    at = np.array([*seconds, *changes]) * 1_000_000
    place = ZoneInfo(zone)
    wanted = [
        datetime.fromtimestamp(second, UTC).astimezone(place).utcoffset()
        for second in (at // 1_000_000).tolist()
    ]
    assert [timedelta(seconds=int(each)) for each in offsets(zone, at)] == wanted


def share(word: str, moment: datetime) -> float:
    """Return where in its cycle a moment stands, from 0 up to 1."""
    year, week, _ = moment.isocalendar()
    begin, end = datetime(moment.year, 1, 1), datetime(moment.year + 1, 1, 1)
    return {
        "minute": moment.minute / 60,
        "hour": moment.hour / 24,
        "weekday": moment.weekday() / 7,
        "day": (moment.day - 1) / pages.monthrange(moment.year, moment.month)[1],
        "day of year": (moment.timetuple().tm_yday - 1) / (end - begin).days,
        "week": (week - 1) / datetime(year, 12, 28).isocalendar().week,
        "month": (moment.month - 1) / 12,
        "quarter": (moment.month - 1) // 3 / 4,
    }[word]


def part(period: str, moment: datetime) -> float:
    """Return where in a period a moment stands, from 0 up to 1."""
    day = moment.replace(hour=0, minute=0, second=0)
    begins = {
        "minute": moment.replace(second=0),
        "hour": moment.replace(minute=0, second=0),
        "day": day,
        "week": day - timedelta(days=moment.weekday()),
        "month": day.replace(day=1),
        "quarter": day.replace(month=(moment.month - 1) // 3 * 3 + 1, day=1),
        "year": day.replace(month=1, day=1),
    }
    begin = begins[period]
    months = {"month": 1, "quarter": 3, "year": 12}.get(period)
    if months:
        later = begin.year * 12 + begin.month - 1 + months
        length = datetime(later // 12, later % 12 + 1, 1) - begin
    else:
        length = timedelta(**{f"{period}s": 1})
    return (moment - begin) / length


WORDS = [word for word in get_args(CalendarWord) if word != "weekend"]


@given(
    first=moments,
    named=st.sampled_from(["15 minutes", "hour", "day", "week", "business day", "7 minutes"]),
    zone=st.sampled_from(ZONES),
    places=st.lists(st.integers(-3000, 20000), min_size=1, max_size=8),
)
@example(datetime(2024, 2, 28), "day", "", [0, 1, 2, 307, 308])
@example(datetime(2020, 12, 28), "day", "", [*range(8)])
@settings(deadline=None, max_examples=80)
def test_the_features_of_a_moment(
    first: datetime, named: str, zone: str, places: list[int]
) -> None:
    """Each is the sine and the cosine of where the moment stands that clocks show."""
    try:
        expected = moments_of(first.isoformat(), named, zone, places)
    except ValueError:
        return
    waves = [Fourier(period, 2) for period in get_args(FourierPeriod)]
    holidays = [expected[0].date(), datetime(2024, 2, 29).date()]
    calendar = Calendar.of([*WORDS, "weekend", *waves], holidays)
    table = read(first.isoformat(), named, zone, np.array(places), calendar)
    assert table.shape == (len(places), len(calendar.inputs()))

    for moment, row in zip(expected, table, strict=True):
        turns = [share(word, moment) for word in WORDS]
        pairs = [f(2 * math.pi * turn) for turn in turns for f in (math.sin, math.cos)]
        for wave in waves:
            turn = 2 * math.pi * part(wave.period, moment)
            longer = [f(k * turn) for k in (1, 2) for f in (math.sin, math.cos)]
            pairs += [float(moment.weekday() >= 5), *longer] if wave is waves[0] else longer
        assert row == pytest.approx([*pairs, float(moment.date() in holidays)], abs=1e-9)


@given(
    month=st.integers(0, 1500),
    named=st.sampled_from(["month", "month end", "quarter", "2 months", "quarter end"]),
    places=st.lists(st.integers(-100, 400), min_size=1, max_size=8),
)
@settings(deadline=None, max_examples=30)
def test_months_are_of_one_length(month: int, named: str, places: list[int]) -> None:
    """Of steps of months a year and its quarters are twelve, and three, of the same length."""
    frequency = Frequency.named(named)
    day = pages.monthrange(1900 + month // 12, month % 12 + 1)[1] if "end" in named else 1
    first = f"{1900 + month // 12}-{month % 12 + 1:02d}-{day:02d}"
    calendar = Calendar.of(["month", Fourier("year", 1), Fourier("quarter", 1)])
    table = read(first, named, "", np.array(places), calendar)
    for place, row in zip(places, table, strict=True):
        number = month + place * frequency.count
        turns = [2 * math.pi * (number % months) / months for months in (12, 3)]
        year, quarter = ([math.sin(turn), math.cos(turn)] for turn in turns)
        assert row == pytest.approx([*year, *year, *quarter], abs=1e-9)


@given(
    named=st.sampled_from(FREQUENCIES),
    period=st.floats(2, 1000),
    places=st.lists(st.integers(0, 2000), min_size=2, max_size=6),
)
@settings(deadline=None, max_examples=40)
def test_waves_of_so_many_steps(named: str, period: float, places: list[int]) -> None:
    """Whatever steps are, each is one further than the one before, and a period is so many."""
    calendar = Calendar.of([Fourier(period, 1)])
    first = "2024-01-31"
    table = read(first, named, "", np.array(places), calendar)
    turns = np.arctan2(table[:, 0], table[:, 1])
    steps = (np.array(places) - places[0]) / period
    error = (turns - turns[0]) / (2 * np.pi) - steps
    assert np.abs(error - np.round(error)).max() < 1e-6


@pytest.mark.parametrize("named", [*FREQUENCIES, "step"])
def test_what_is_refused_says_nothing(named: str) -> None:
    """A feature that is allowed tells steps apart; of whole cycles of days and hours it does not,
    and is refused.
    """
    frequency = Frequency.named(named)
    cycles: list[CalendarWord | Fourier] = [*get_args(CalendarWord)]
    cycles += [Fourier(period, 1) for period in get_args(FourierPeriod)]
    steps = np.unique(np.linspace(0, 400 * 86400e6 / max(frequency.count, 1), 5000).astype(int))
    if frequency.kind != "clock":
        steps = np.arange(400)
    for feature in cycles:
        calendar = Calendar.of([feature])
        refusal = calendar.refused(frequency)
        if named == "step":
            assert refusal is not None
            continue
        every = np.concatenate([np.arange(200), steps])
        varies = np.ptp(read("2024-01-31", named, "", every, calendar), axis=0).max() > 1e-6
        assert varies or refusal is not None
        if frequency.kind == "clock" and feature in ("minute", "hour", "weekday"):
            assert varies == (refusal is None)
        if refusal is not None:
            assert str(frequency) in refusal.fact and refusal.allowed


def test_more_waves_than_steps_show() -> None:
    """Half as many waves as a period has steps can be told apart, and no more."""
    assert Calendar.of([Fourier("day", 12)]).refused(Frequency.named("hour")) is None
    refusal = Calendar.of([Fourier("day", 13)]).refused(Frequency.named("hour"))
    assert refusal is not None and refusal.allowed == "1 to 12 waves"
    assert Calendar.of([Fourier("year", 6)]).refused(Frequency.named("month")) is None
    assert Calendar.of([Fourier("year", 7)]).refused(Frequency.named("month")) is not None


def test_a_calendar_is_saved() -> None:
    """It comes back as it was; what is no calendar is none."""
    days = [datetime(2024, 5, 1).date(), datetime(2023, 5, 1).date()]
    calendar = Calendar.of(["hour", Fourier("year", 3), Fourier(36.5, 2), "weekend"], days)
    assert Calendar.restored(calendar.save()) == calendar
    assert calendar.width == len(calendar.inputs()) == 2 + 6 + 4 + 1 + 1
    for features in (["hours"], [["fortnight", 1]], [[1.0, 1]]):
        with pytest.raises(ValueError, match="is no"):
            Calendar.restored({"features": features, "holidays": []})
