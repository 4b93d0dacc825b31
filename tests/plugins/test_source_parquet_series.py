"""Parquet of series: stamps and covariates of any type, with nulls, in several row groups."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_source_parquet import outcome, parquet_of, typed

from recurra import InputError
from recurra.testing.readings import whole
from recurra_sources import parquet as reading
from recurra_sources.tables import Jsonl, JsonlOptions

pytest.importorskip("pyarrow")

ROLES = {
    "past_covariates": ["load"],
    "future_covariates": ["price", "sky"],
    "static_covariates": ["area"],
}
SERIES = {"columns": ["y"], "group": "g", **ROLES}


def gathered(source, element="numbers"):
    """Return all that a source gives, to be compared, and how its stamps go on."""
    found = whole(source.read(element), element)
    return found._replace(values=found.values.tolist()), source.timeline()


maybe = st.one_of(st.none(), st.integers(-9, 9).map(float))
row = st.fixed_dictionaries(
    {
        "g": st.sampled_from(["p", "q"]),
        "y": maybe,
        "price": maybe,
        "sky": st.sampled_from(["sun", "rain", None]),
        "load": st.one_of(st.none(), st.integers(-9, 9)),
        "area": st.just(2.5),
    }
)


@given(
    missing=st.sampled_from(["error", "forward", "interpolate", "drop"]),
    rows=st.lists(row, min_size=1, max_size=8),
    size=st.integers(1, 4),
    group=st.integers(1, 4),
)
@settings(deadline=None, max_examples=40)
def test_covariates_are_read_as_of_json_lines(tmp_path_factory, missing, rows, size, group):
    """Batches and row groups do not show, nor do nulls: they are mended, or refused, alike."""
    folder = tmp_path_factory.mktemp("both")
    lines = folder / "table.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    types = {"g": "pa.string()", "y": "pa.float64()", "price": "pa.float32()",
        "sky": "pa.dictionary(pa.int8(), pa.string())", "load": "pa.int16()",
        "area": "pa.float64()"}  # fmt: skip
    columns = {name: typed([row[name] for row in rows], of) for name, of in types.items()}
    source = parquet_of(
        folder / "table.parquet", columns, write={"row_group_size": group},
        missing=missing, **SERIES,
    )  # fmt: skip
    other = Jsonl(JsonlOptions(path=str(lines), missing=missing, **SERIES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "ROWS", size)
        found = outcome(gathered, source, "numbers")
        assert found == outcome(gathered, other, "numbers")


NUMBERS = {
    "pa.int8()": [1, 2, 3],
    "pa.uint64()": [1, 2, 3],
    "pa.float16()": [np.float16(value) for value in (1, 2, 3)],
    "pa.float32()": [1.0, 2.0, 3.0],
    "pa.decimal128(9, 2)": [Decimal(1), Decimal(2), Decimal("3.00")],
    "pa.decimal256(40, 3)": [Decimal(1), Decimal(2), Decimal(3)],
    "pa.dictionary(pa.int8(), pa.int64())": [1, 2, 3],
    "pa.large_string()": ["1", "2.0", " 3 "],
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("role", ["past_covariates", "future_covariates"])
def test_a_covariate_is_a_number_of_any_type(tmp_path, name, role):
    """Whole, broken, decimal, of a dictionary, or written as text."""
    columns = {"y": [1.0, 2.0, 3.0], "x": typed(NUMBERS[name], name)}
    source = parquet_of(tmp_path / "a.parquet", columns, columns=["y"], **{role: ["x"]})
    (piece,) = source.read("numbers")
    numbers = piece.columns[role]["x"]
    assert numbers.dtype == np.float64 and numbers.tolist() == [1.0, 2.0, 3.0]


NAMES = {
    "pa.large_string()": ["a", "b", "a"],
    "pa.dictionary(pa.int32(), pa.large_string())": ["a", "b", "a"],
    "pa.string_view()": ["a", "b", "a"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_covariate_is_a_name_of_any_type(tmp_path, name):
    """Of a dictionary, or of long texts; numbers, dates and truth values are names if it is said
    that they are.
    """
    columns = {"y": [1.0, 2.0, 3.0], "x": typed(NAMES[name], name)}
    source = parquet_of(tmp_path / "a.parquet", columns, columns=["y"], past_covariates=["x"])
    (piece,) = source.read("numbers")
    assert piece.columns["past_covariates"]["x"] == NAMES[name]


@pytest.mark.parametrize(
    ("values", "name", "texts"),
    [
        ([3, 12, 3], "pa.int8()", ["3", "12", "3"]),
        ([True, False, True], "pa.bool_()", ["true", "false", "true"]),
        ([Decimal("1.50")] * 3, "pa.decimal128(9, 2)", ["1.50"] * 3),
        ([date(2024, 2, 29)] * 3, "pa.date32()", ["2024-02-29"] * 3),
    ],
)
def test_what_is_said_to_be_a_category_is_named(tmp_path, values, name, texts):
    """As it would be written: also where whoever reads has learned it."""
    columns = {"y": [1.0, 2.0, 3.0], "x": typed(values, name)}
    told = {"columns": ["y"], "future_covariates": ["x"]}
    source = parquet_of(tmp_path / "a.parquet", columns, **told, categorical=["x"])
    learned = parquet_of(tmp_path / "b.parquet", columns, **told)
    learned.categories = frozenset({"x"})
    for each in (source, learned):
        (piece,) = each.read("numbers")
        assert piece.columns["future_covariates"]["x"] == texts


HOUR = datetime(2024, 10, 27)
BERLIN = timezone(timedelta(hours=2))
STAMPS = {
    'pa.timestamp("us")': ([HOUR + timedelta(hours=n) for n in range(4)], "hour"),
    'pa.timestamp("ms", "UTC")': (
        [(HOUR + timedelta(hours=n)).replace(tzinfo=BERLIN) for n in range(4)], "hour"),
    'pa.timestamp("us", "Europe/Berlin")': (
        [(HOUR + timedelta(milliseconds=250 * n)).replace(tzinfo=BERLIN) for n in range(4)],
        "250 milliseconds"),
    'pa.timestamp("ns")': ([datetime(2024, n, 1) for n in range(1, 5)], "month"),
    "pa.date32()": ([date(2024, 2, 28) + timedelta(n) for n in range(4)], "day"),
    "pa.date64()": ([date(2024, 3 * n, 1) for n in range(1, 5)], "quarter"),
    "pa.large_string()": ([f"2024-W0{n}" for n in range(1, 5)], "week"),
    "pa.dictionary(pa.int8(), pa.string())": ([f"202{n}-Q1" for n in range(4)], "year"),
    "pa.int16()": ([1990, 1991, 1992, 1993], "step"),
    "pa.int64()": ([1704067200 + 86400 * n for n in range(4)], "day"),
}  # fmt: skip


@pytest.mark.parametrize("name", STAMPS)
@pytest.mark.parametrize("group", [1, 3])
def test_a_stamp_is_one_of_any_type(tmp_path, name, group):
    """Moments with and without a zone, dates, texts and numbers tell how far steps are apart; rows
    of two series stand in between each other, and one that is left out is refused with its row.
    """
    stamps, frequency = STAMPS[name]
    columns = {
        "g": ["a", "b"] * 4,
        "t": typed([stamp for stamp in stamps for _ in "ab"], name),
        "y": [float(n) for n in range(6)] + [None, None],
        "price": [float(n) for n in range(8)],
    }
    told = {"columns": ["y"], "group": "g", "time": "t", "future_covariates": ["price"]}
    path = tmp_path / "a.parquet"
    source = parquet_of(path, columns, write={"row_group_size": group}, **told)
    found, timeline = gathered(source)
    assert str(timeline.frequency) == frequency
    assert found.values == [[0.0], [2.0], [4.0], [1.0], [3.0], [5.0]]
    assert found.ahead == {0: [(6.0,)], 3: [(7.0,)]}
    (first, other) = (said["time"] for said in found.said)
    assert first == other and timeline.read(first).at == timeline.read(stamps[0]).at
    after = [timeline.read(stamp).at for stamp in timeline.after(first, range(4))]
    assert after == [timeline.read(stamp).at for stamp in stamps]

    gap = {key: [*values[:4], *values[6:]] if isinstance(values, list) else
        typed([stamp for stamp in (stamps[0], stamps[1], stamps[3]) for _ in "ab"], name)
        for key, values in columns.items()}  # fmt: skip
    gap |= {"y": [0.0] * 6}
    broken = parquet_of(path, gap, write={"row_group_size": group}, frequency=frequency, **told)
    assert "row 5" in str(pytest.raises(InputError, gathered, broken).value)


@pytest.mark.parametrize(
    ("values", "name", "role", "said"),
    [
        ([1.0, None, 3.0], "pa.float64()", "past_covariates", "row 2, column x: nothing"),
        (["a", "b", None], "pa.string()", "future_covariates", "row 3, column x: nothing"),
        ([1.0, 2.0, float("inf")], "pa.float32()", "past_covariates", "row 3, column x: inf"),
        (["1", "b", "3"], "pa.string()", "past_covariates", "row 2, column x: 'b' is not a num"),
        ([date(2024, 1, 1)] * 3, "pa.date32()", "future_covariates", "column x"),
        ([[1.0]] * 3, "pa.list_(pa.float64())", "past_covariates", "row 1, column x"),
        ([b"a"] * 3, "pa.binary()", "past_covariates", "column 'x' is of type binary"),
        ([{"a": 1}] * 3, 'pa.struct([("a", pa.int8())])', "static_covariates", "is of type struct"),
        ([5] * 3, 'pa.time32("s")', "time", "is of type time32"),
    ],
)  # fmt: skip
def test_what_is_no_covariate_is_refused_by_its_row(tmp_path, values, name, role, said):
    """Or by its type, under the option that names it, wherever the row groups end."""
    columns = {"y": [1.0, 2.0, 3.0], "x": typed(values, name)}
    option = {role: "x" if role == "time" else ["x"]}
    source = parquet_of(
        tmp_path / "a.parquet", columns, write={"row_group_size": 2}, columns=["y"], **option
    )
    with pytest.raises(InputError, match="RC042") as caught:
        gathered(source)
    assert said in str(caught.value)
    assert caught.value.problems[0].key == f"source.{role}"
