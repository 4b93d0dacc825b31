"""Time stamps of tables: held to their order and their steps, told, and never read by a network."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import Sheet, gathered

from recurra import Frequency, InputError, Timeline
from recurra_sources import spacing
from recurra_sources.given import Given, GivenOptions
from recurra_sources.parquet import Parquet, ParquetOptions

STARTS = {
    "month": "2023-11",
    "3 months": "2023-11-05",
    "month end": "2023-12-31",
    "quarter": "2023-Q3",
    "year": "2024-02-28",
    "week": "2023-W51",
    "2 weeks": "2023-12-25",
    "day": "2024-02-27",
    "business day": "2024-02-27",
    "hour": "2024-02-28 22:00",
    "15 minutes": "2024-02-28T23:00:00Z",
    "30 seconds": "1709161200",
    "step": "7",
    "5 steps": "1950",
}
"""A stamp of each frequency, shortly before the calendar is odd."""


def timeline_of(frequency, start):
    timeline = Timeline(Frequency.named(frequency))
    return timeline.like(timeline.read(start))


def stamps(frequency, count, begin=0):
    """Return stamps of a frequency, one after the other."""
    start = STARTS[frequency]
    return timeline_of(frequency, start).after(start, range(begin, begin + count))


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


def written(sheet, stamps, groups=None):
    """Write a row a stamp, with its number, and its group."""
    groups = groups or ["a"] * len(stamps)
    rows = [
        [group, stamp, number]
        for number, (group, stamp) in enumerate(zip(groups, stamps, strict=True))
    ]
    return sheet.write(["g", "ds", "y"], rows)


def timed(sheet, **options):
    return sheet.source(["y"], time="ds", **options)


@pytest.mark.parametrize("frequency", STARTS)
def test_how_far_stamps_are_apart_is_told(sheet, frequency):
    """What most of them are apart, of all series together; each says when it begins, and what comes
    after its end follows. The numbers are what they are without stamps.
    """
    first, second = stamps(frequency, 6), stamps(frequency, 5, begin=3)
    together = [*zip("a" * 6, first, strict=True), *zip("b" * 5, second, strict=True)]
    order = np.random.default_rng(0).permutation(len(together))
    together = sorted(
        (together[place] for place in order), key=lambda row: (*first, *second).index(row[1])
    )
    written(sheet, [stamp for _, stamp in together], [group for group, _ in together])
    source = timed(sheet, group="g")
    pieces = [*source.read("numbers")]
    timeline = source.timeline()
    assert timeline.frequency == Frequency.named(frequency)
    begins = {piece.columns["series"]: piece.columns["time"] for piece in pieces if piece.start}
    assert begins == {"a": first[0], "b": second[0]}
    assert timeline.after(begins["b"], [5, 6]) == stamps(frequency, 2, begin=8)
    assert gathered(source, "numbers") == gathered(sheet.source(["y"], group="g"), "numbers")
    assert dict(source.columns())["time"] == ("text",)


@pytest.mark.parametrize("frequency", [name for name in STARTS if name != "business day"])
@given(left_out=st.sets(st.integers(1, 18), min_size=1, max_size=4))
@settings(max_examples=4)
def test_a_gap_is_refused_or_filled(tmp_path_factory, frequency, left_out):
    """It is told with the rows at both of its ends. Filled, a series that lies on a line is whole
    again; longest_gap counts what was put in.
    """
    sheet = Sheet(tmp_path_factory.mktemp("gap"), "csv")
    whole = stamps(frequency, 20)
    kept = [place for place in range(20) if place not in left_out]
    rows = [["a", whole[place], 3 * place] for place in kept]
    sheet.write(["g", "ds", "y"], rows)
    with pytest.raises(InputError, match="source.time: .*time stamps? (is|are) not") as refused:
        gathered(timed(sheet), "numbers")
    for before, after in zip(kept, kept[1:], strict=False):
        line = f"line {sheet.row(kept.index(after))}: {whole[after]} follows {whole[before]}"
        assert (line in str(refused.value)) == (after > before + 1)
        if after == before + 2:
            assert f"1 step is missing, {whole[before + 1]}" in str(refused.value)

    for missing in ("interpolate", "forward"):
        source = timed(sheet, gaps="fill", missing=missing)
        (series,) = gathered(source, "numbers")
        expected = [3 * max(k for k in kept if k <= place) for place in range(20)]
        if missing == "interpolate":
            expected = [3 * place for place in range(20)]
        assert np.allclose(np.ravel(series), expected)
    longest = max(after - before for before, after in zip(kept, kept[1:], strict=False)) - 1
    gathered(timed(sheet, gaps="fill", missing="forward", longest_gap=longest), "numbers")
    if longest > 1:
        with pytest.raises(InputError, match=f"longest_gap = {longest - 1}"):
            gathered(
                timed(sheet, gaps="fill", missing="forward", longest_gap=longest - 1), "numbers"
            )


def test_gaps_are_filled_in_each_series_of_a_panel(sheet):
    """What stands in between is no gap; labels are those of the series."""
    rows = [["a", "2024-01", 1, "l"], ["b", "2024-02", 10, "m"], ["b", "2024-03", 20, "m"]]
    rows += [["a", "2024-02", 2, "l"], ["a", "2024-04", 4, "l"], ["b", "2024-06", 50, "m"]]
    sheet.write(["g", "ds", "y", "l"], rows)
    source = sheet.source(
        ["y"], group="g", label="l", time="ds", gaps="fill", missing="interpolate"
    )
    assert gathered(source, "numbers") == [
        [[1], [2], [3], [4]],
        [[10], [20], [30], [40], [50]],
    ]
    assert [piece.columns["label"] for piece in source.read("numbers")] == ["l", "m"]


def test_what_stands_twice_or_in_disorder_is_refused_with_both_rows(sheet):
    """In a panel only within one series; the cure says what helps."""
    written(sheet, ["2024-01", "2024-02", "2024-02", "2024-05", "2024-04"])
    one, two, three, four = (sheet.row(index) for index in (1, 2, 3, 4))
    with pytest.raises(InputError) as refused:
        gathered(timed(sheet), "numbers")
    assert f"line {two}: 2024-02 stands at line {one} too" in str(refused.value)
    assert f"line {four}: 2024-04 comes after 2024-05 at line {three}" in str(refused.value)
    assert "name as source.group" in str(refused.value)
    assert "sort the rows by ds" in str(refused.value)

    written(sheet, ["2024-02", "2024-01", "2024-03", "2024-02"], "abab")
    assert gathered(timed(sheet, group="g"), "numbers") == [[[0], [2]], [[1], [3]]]
    with pytest.raises(InputError, match=f"line {one}: 2024-01 comes after 2024-02 at line"):
        gathered(timed(sheet), "numbers")


@pytest.mark.parametrize("element", ["numbers", "tokens"])
def test_all_faults_are_counted_and_the_first_shown(sheet, element):
    """Ten rows are named, in their order, and no row is named twice."""
    written(sheet, [f"2024-01-{day:02d}" for day in range(1, 31)] + ["2024-01-05"] * 30)
    with pytest.raises(InputError, match="30 time stamps are not") as refused:
        gathered(timed(sheet), element)
    lines = re.findall(r"^    line (\d+)", str(refused.value), re.MULTILINE)
    assert lines == [str(sheet.row(index)) for index in range(30, 40)]
    assert "and 20 more" in str(refused.value)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["2024-01-01", "", "2024-01-03"], "column ds: nothing"),
        (["2024-01-01", "soon", "2024-01-03"], "column ds: 'soon' is no time stamp"),
        (["2024-01-01", "2024-01-32", "2024-01-03"], "is no time of any calendar"),
        (["2024-01-01T00:00Z", "2024-01-02T00:00"], "is a time, and 2024-01-01T00:00Z at line"),
        (["2024-01", "2024-02-01"], "-01 at line . is a day, and 2024-01 at line . is a month"),
        (["5", "2024-01-01"], "is no whole number, as the stamps of this column are"),
        (["2024-01-01", "2024-01-02", "2024-01-05 12:00", "2024-01-06 12:00"], "no whole number"),
        (["2024-01-01"], "no sequence has two time stamps(.|\n)*set source.frequency"),
        (["2024-01-01", "2024-01-02", "2024-01-05", "2024-01-09", "2024-02-01"], "no regular"),
    ],
)  # fmt: skip
def test_what_is_no_stamp_or_no_step_is_refused(sheet, cells, said):
    """Each with its row, and what is wrong with it."""
    written(sheet, cells)
    with pytest.raises(InputError, match=said):
        gathered(timed(sheet), "numbers")


def test_a_frequency_that_is_said_is_held_to(sheet):
    """Another one is refused; `none` asks for the order alone, and then nothing follows."""
    written(sheet, stamps("month", 5))
    with pytest.raises(InputError, match="no whole number of steps of 2 months"):
        gathered(timed(sheet, frequency="2 months"), "numbers")
    with pytest.raises(InputError, match="which no frequency of 'step' counts"):
        gathered(timed(sheet, frequency="step"), "numbers")
    odd = ["2024-01-01", "2024-01-02", "2024-01-05", "2024-01-09", "2024-02-01"]
    written(sheet, odd)
    source = timed(sheet, frequency="none")
    assert len(gathered(source, "numbers")[0]) == 5
    assert source.timeline().frequency is None
    written(sheet, [*odd, "2024-01-01"])
    with pytest.raises(InputError, match="comes after"):
        gathered(timed(sheet, frequency="none"), "numbers")
    written(sheet, ["1950", "1951", "1952"])
    years = timed(sheet, frequency="year")
    assert gathered(years, "numbers") and years.timeline().after("1950", [3]) == ["1953"]
    written(sheet, ["2024-01-15", "2024-02-15", "2024-03-16", "2024-04-15"])
    with pytest.raises(InputError, match="2024-03-16: it is not on the same day of its month"):
        gathered(timed(sheet, frequency="month"), "numbers")
    written(sheet, ["2024-02-29", "2024-03-31", "2024-04-30"])
    ends = timed(sheet, frequency="month")
    assert gathered(ends, "numbers") and ends.timeline().after("2024-02-29", [3]) == ["2024-05-31"]


def hours(first, count, offset=""):
    begin = datetime.fromisoformat(first)
    return [f"{begin + timedelta(hours=hour):%Y-%m-%d %H:%M}{offset}" for hour in range(count)]


def test_clocks_that_are_changed(sheet):
    """Without an offset an hour lacks in spring and stands twice in autumn: refused, with the cure.
    In the zone of the place both series are whole, as they are with offsets.
    """
    spring = [*hours("2024-03-31 00:00", 2), *hours("2024-03-31 03:00", 3)]
    autumn = [*hours("2024-10-27 01:00", 2), *hours("2024-10-27 02:00", 3)]
    for local, said in ((spring, "03:00 follows"), (autumn, "02:00 stands at line")):
        written(sheet, local)
        with pytest.raises(InputError, match=f"{said}(.|\n)*set source.time_zone"):
            gathered(timed(sheet), "numbers")
        source = timed(sheet, time_zone="Europe/Berlin")
        assert len(gathered(source, "numbers")[0]) == 5
        assert str(source.timeline().frequency) == "hour"
        with pytest.raises(InputError):
            gathered(timed(sheet, time_zone="UTC"), "numbers")

    written(
        sheet, [*hours("2024-10-27 01:00", 2, "+02:00"), *hours("2024-10-27 02:00", 2, "+01:00")]
    )
    assert len(gathered(timed(sheet), "numbers")[0]) == 4
    days = [f"2024-03-{day}T00:00+0{1 if day < 32 else 2}:00" for day in (29, 30, 31)]
    written(sheet, [*days, "2024-04-01T00:00+02:00", "2024-04-02T00:00+02:00"])
    with pytest.raises(InputError, match="set source.time_zone"):
        gathered(timed(sheet), "numbers")
    source = timed(sheet, time_zone="Europe/Berlin")
    assert str((gathered(source, "numbers"), source.timeline())[1].frequency) == "day"


def test_a_change_of_clocks_inside_an_hour_lacks_one(sheet):
    """Where an hour that clocks show twice stands once, one of both is missing."""
    written(sheet, [*hours("2024-10-27 00:00", 3), *hours("2024-10-27 03:00", 2)])
    with pytest.raises(InputError, match="1 step is missing, 2024-10-27 02:00"):
        gathered(timed(sheet, time_zone="Europe/Berlin"), "numbers")


def test_parquet_and_data_at_hand_have_stamps_too(tmp_path):
    """What has a type is read as what would be written."""
    moments = np.array(hours("2024-02-28 22:00", 5), "datetime64[us]")
    y = np.arange(5.0)
    held = Given(GivenOptions(columns=["y"], time="ds"))
    held.take({"ds": moments, "y": y})
    sources = [held]
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    for number, column in enumerate(
        (arrow.array(moments), arrow.array(moments, arrow.timestamp("ns", "Europe/Berlin")))
    ):
        path = tmp_path / f"{number}.parquet"
        parquet.write_table(arrow.table({"ds": column, "y": y}), path)
        sources.append(Parquet(ParquetOptions(path=str(path), columns=["y"], time="ds")))
    for source in sources:
        (piece,) = source.read("numbers")
        assert str(source.timeline().frequency) == "hour"
        first = piece.columns["time"]
        after = [datetime.fromisoformat(text) for text in source.timeline().after(first, [0, 5])]
        assert after[1] - after[0] == timedelta(hours=5)


OPTIONS = [
    ({"frequency": "month"}, "time names no column"),
    ({"gaps": "fill"}, "time names no column"),
    ({"time": "ds", "frequency": "fortnight"}, "is no frequency"),
    ({"time": "ds", "time_zone": "Europe/Berlino"}, "no zone that is known"),
    ({"time": "ds", "time_zone": "../etc"}, "no zone that is known"),
    ({"time": "ds", "missing": "drop"}, "gaps in time"),
    ({"time": "ds", "gaps": "fill"}, "interpolate or keep"),
    ({"time": "ds", "label": "l"}, "name as group"),
    ({"time": "y"}, "it must be a column by itself"),
    ({"time": "ds", "group": "ds"}, "it must be a column by itself"),
]


@pytest.mark.parametrize(("options", "said"), OPTIONS)
def test_options_that_mean_nothing_are_refused(sheet, options, said):
    """With the reason."""
    with pytest.raises(ValidationError, match=said):
        sheet.source(["y"], **options)


def test_a_wrong_year_is_not_filled_for_ever(sheet, monkeypatch):
    """So many steps are put in at most, which is said."""
    monkeypatch.setattr(spacing, "LONGEST", 100)
    written(sheet, ["2024-01-01", "2024-01-02", "2204-01-03"])
    with pytest.raises(InputError, match="no more than 100 are put in"):
        gathered(timed(sheet, gaps="fill", missing="forward"), "numbers")


FAULTS_OF_ANOTHER = {
    "124": "put in the rows that are missing",
    "122": "keep one row of each stamp",
    "132": "sort the rows by ds",
    "12x": "mend the rows",
}


def test_another_file_is_held_to_its_own_stamps(sheet, tmp_path):
    """For predictions: one stamp is enough, and no cure of a fault is an option of the task."""
    written(sheet, stamps("month", 4))
    source = timed(sheet, group="g")
    other = Sheet(tmp_path, sheet.kind)
    other.path = tmp_path / f"new.{sheet.kind}"
    written(other, ["2024-01"])
    new = source.over(str(other.path))
    assert [piece.columns["time"] for piece in new.read("numbers")] == ["2024-01"]
    assert new.timeline().frequency is None
    for faulty, cure in FAULTS_OF_ANOTHER.items():
        written(other, [f"2024-0{month}" for month in faulty])
        with pytest.raises(InputError) as refused:
            [*source.over(str(other.path)).read("numbers")]
        (problem,) = refused.value.problems
        assert cure in problem.cure and "set " not in problem.cure


def test_a_marker_is_no_stamp(sheet):
    """A row without a stamp is refused, or left out where stamps are held to their order alone."""
    written(sheet, ["2024-01-01", "2024-01-02", "-", "2024-01-03"])
    with pytest.raises(InputError, match=f"line {sheet.row(2)}, column ds: nothing"):
        gathered(timed(sheet, na=["-"]), "numbers")
    source = timed(sheet, na=["-"], missing="drop", frequency="none")
    assert gathered(source, "numbers") == [[[0], [1], [3]]]


def test_numbers_are_told_by_their_size_or_an_option(sheet):
    """Days without marks are days, and a counter that looks like them can be said to be one."""
    written(sheet, ["20240228", "20240229", "20240301"])
    source = timed(sheet)
    gathered(source, "numbers")
    assert source.timeline().record() == {"frequency": "day", "numbers": "yyyymmdd"}
    with pytest.raises(InputError, match="no whole number|no regular|missing"):
        gathered(timed(sheet, time_numbers="integer"), "numbers")
    rows = [{"ds": 1_700_000_000 + 60 * step, "y": step} for step in range(4)]
    path = sheet.path.with_name("numbers.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = Sheet(sheet.path.parent, "jsonl")
    lines.path = path
    source = timed(lines)
    gathered(source, "numbers")
    assert source.timeline().record() == {"frequency": "minute", "numbers": "second"}
