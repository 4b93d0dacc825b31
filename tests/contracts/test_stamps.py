"""Time stamps: what comes after one is what NumPy, the calendar and the zones of Python say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra import Frequency, Timeline
from recurra.contracts.timeline import CLOCK, MONTHS

days = st.dates(date(1850, 1, 1), date(2150, 1, 1))
moments = st.datetimes(datetime(1850, 1, 1), datetime(2150, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0)
)
frequencies = st.one_of(
    st.builds(Frequency, st.sampled_from(["step", "business day"]), st.integers(1, 90)),
    st.builds(Frequency, st.sampled_from(["month", "month end"]), st.integers(1, 40)),
    st.builds(
        lambda unit, count: Frequency("clock", CLOCK[unit] * count),
        st.sampled_from(sorted(CLOCK)),
        st.integers(1, 2000),
    ),
)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")


@given(frequencies)
def test_a_frequency_is_what_it_is_called(frequency):
    """Its name read again is itself."""
    assert Frequency.named(str(frequency)) == frequency


@pytest.mark.parametrize(
    "text", ["", "0 days", "day 2", "fortnight", "-1 hour", "1.5 hours", "week end", "3", "Hour"]
)
def test_what_is_no_frequency_is_refused(text):
    """The error says what there is."""
    with pytest.raises(ValueError, match="is no frequency: it is a year"):
        Frequency.named(text)


@given(days, st.sampled_from(sorted(MONTHS)), st.integers(1, 5), st.integers(0, 200))
def test_months_are_those_of_the_calendar(first, unit, count, place):
    """So many months later, on the same day, or the last one of a shorter month."""
    (text,) = Timeline(Frequency.named(f"{count} {unit}s" if count > 1 else unit)).after(
        first.isoformat(), [place]
    )
    month = np.datetime64(first, "M") + count * MONTHS[unit] * place
    last = (month + 1).astype("datetime64[D]") - 1
    same = month.astype("datetime64[D]") + first.day - 1
    assert np.datetime64(text) == min(same, last)
    (end,) = Timeline(Frequency("month end", count * MONTHS[unit])).after(str(last), [0])
    assert end == str(last)


@given(moments, st.sampled_from(["week", "day", "hour", "minute", "second"]), st.integers(1, 50))
def test_time_passes_as_it_does_for_numpy(first, unit, count):
    """Without a zone a day is 24 hours, leap days and all."""
    texts = Timeline(Frequency("clock", CLOCK[unit] * count)).after(first.isoformat(), range(9))
    step = np.timedelta64(CLOCK[unit] * count, "us")
    expected = [np.datetime64(first, "us") + step * place for place in range(9)]
    assert [np.datetime64(text, "us") for text in texts] == expected


@given(days, st.integers(1, 7), st.integers(0, 500))
def test_business_days_are_those_of_numpy(first, count, place):
    """From Monday to Friday; a weekend is none."""
    timeline = Timeline(Frequency("business day", count))
    if not np.is_busday(np.datetime64(first)):
        with pytest.raises(ValueError, match="business day"):
            timeline.after(first.isoformat(), [place])
        return
    (text,) = timeline.after(first.isoformat(), [place])
    assert np.datetime64(text) == np.busday_offset(np.datetime64(first), count * place)


@given(frequencies, moments, st.integers(0, 300), st.sampled_from(["", *ZONES]))
def test_steps_undo_what_comes_after(frequency, first, place, zone):
    """What is so many steps after a stamp is found to be so many, and read as it was written."""
    timeline = Timeline(frequency, zone)
    text = "7" if frequency.kind == "step" else first.isoformat()
    try:
        stamp = timeline.read(text)
        after = timeline.after(text, [place])[0]
    except ValueError:
        return  # no time of this zone, no business day, or beyond the calendar
    if frequency.kind == "month end" and not stamp.ends_a_month:
        return
    read = timeline.read(after)
    later = read if read.later is None else read._replace(at=read.later)
    assert place in (frequency.steps(stamp, read), frequency.steps(stamp, later))
    assert timeline.after(text, [0]) == [text]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("hours", [1, 6])
def test_hours_go_on_when_clocks_are_changed(zone, hours):
    """Through a year they are the hours that pass, shown by the clocks of the place."""
    place = ZoneInfo(zone)
    start = datetime(2024, 1, 1, tzinfo=place)
    count = 366 * 24 // hours
    texts = Timeline(Frequency("clock", CLOCK["hour"] * hours), zone).after(
        "2024-01-01T00:00", range(count)
    )
    begin = start.astimezone(UTC)
    shown = [(begin + timedelta(hours=hours * step)).astimezone(place) for step in range(count)]
    assert texts == [moment.strftime("%Y-%m-%dT%H:%M") for moment in shown]


@pytest.mark.parametrize("zone", ZONES)
def test_days_of_a_place_begin_when_its_clocks_say_so(zone):
    """With an offset that is written they have that of the day."""
    place = ZoneInfo(zone)
    begin = datetime(2024, 1, 1, tzinfo=place)
    texts = Timeline(Frequency.named("day"), zone).after(begin.isoformat(), range(366))
    expected = [datetime(2024, 1, 1, tzinfo=place) + timedelta(days=day) for day in range(366)]
    assert [datetime.fromisoformat(text) for text in texts] == expected
    assert [text[:10] for text in texts] == [str(moment.date()) for moment in expected]


@pytest.mark.parametrize(
    ("first", "frequency", "after"),
    [
        ("2024-11", "month", "2025-01"),
        ("2024Q4", "quarter", "2025Q2"),
        ("2024-Q4", "quarter", "2025-Q2"),
        ("2020-W52", "week", "2021-W01"),
        ("2024W52", "week", "2025W02"),
        ("202411", "month", "202501"),
        ("20240228", "day", "20240301"),
        ("1949", "step", "1951"),
        ("-3", "step", "-1"),
        ("1700000000", "hour", "1700007200"),
        ("1700000000000", "minute", "1700000120000"),
        ("1700000000000000", "second", "1700000002000000"),
        ("1700000000000000000", "day", "1700172800000000000"),
        ("2024-02-28 22:00", "hour", "2024-02-29 00:00"),
        ("2024-02-28T22:00:00Z", "hour", "2024-02-29T00:00:00Z"),
        ("2024-02-28T22:00+05:30", "hour", "2024-02-29T00:00+05:30"),
        ("2024-01-01", "12 hours", "2024-01-02"),
        ("2024-01-31", "month", "2024-03-31"),
        ("2024-02-29", "month end", "2024-04-30"),
        ("2024-02-29", "year", "2026-02-28"),
        ("2024-01-01T00:00:00.5", "500 milliseconds", "2024-01-01T00:00:01.500"),
    ],
)
def test_what_comes_is_written_as_the_first(first, frequency, after):
    """Months, quarters, weeks, numbers, offsets and precision stay what they were."""
    timeline = Timeline(Frequency.named(frequency))
    timeline = timeline.like(timeline.read(first))
    assert timeline.after(first, [2]) == [after]
    assert Timeline.of(timeline.record()) == timeline


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("2023-02-29", "day is out of range|day .* must be in range"),
        ("2024-13", "month must be in"),
        ("2024-W54", "[Ii]nvalid week"),
        ("2024-Q5", "is no time stamp"),
        ("01/02/2024", "write it as 2024-01-31"),
        ("31.01.2024", "is no time stamp"),
        ("", "is no time stamp"),
        ("2024-01-01T25:00", "hour must be in|hour"),
        ("2024-01-01T00:00:00.1234567", "finer than a microsecond"),
        ("2024-01-01T00:00+99:00", "its offset"),
        (True, "is no time stamp"),
        (1.5, "is no whole number"),
        ([1], "is no time stamp"),
        (10**30, "the years are 1 to 9999"),
        (np.datetime64("NaT"), "is no time stamp"),
        (np.datetime64(1, "ns"), "finer than a microsecond"),
    ],
)
def test_what_is_no_stamp_is_refused(cell, reason):
    """It is said why: a day of no calendar, or an order of day and month that is not told."""
    with pytest.raises(ValueError, match=reason):
        Timeline().read(cell)


def test_times_that_clocks_leave_out_or_show_twice():
    """What was left out is no time; of two times that are shown alike the second follows."""
    timeline = Timeline(zone="Europe/Berlin")
    with pytest.raises(ValueError, match="put forward"):
        timeline.read("2024-03-31T02:30")
    first = timeline.read("2024-10-27T02:30")
    second = first.follows(first)
    assert second.at - first.at == CLOCK["hour"]
    assert second.follows(first) == second


@given(moments)
def test_a_moment_is_one_however_it_comes(moment):
    """As text, of Python, of NumPy, or in any unit since 1970."""
    timeline = Timeline()
    stamp = timeline.read(moment.isoformat())
    assert timeline.read(moment) == stamp
    assert timeline.read(np.datetime64(moment, "ms")) == stamp
    seconds = int((moment - datetime(1970, 1, 1)).total_seconds())
    for unit, times in {"second": 1, "millisecond": 1000, "nanosecond": 10**9}.items():
        epoch = Timeline(numbers=unit).read(seconds * times)
        assert (epoch.at, epoch.shown, epoch.month) == (stamp.at, stamp.shown, stamp.month)


@pytest.mark.parametrize("record", [{"frequency": "often"}, {"numbers": "odd"}, {"x": "y"}])
def test_a_record_that_is_none_is_refused(record):
    """A run's file that was damaged is told as such."""
    with pytest.raises(ValueError):
        Timeline.of(record)
