"""Covariates of tables: a plain reading of the rows, what is missing, what is still to come."""

from __future__ import annotations

import re
import tomllib

import numpy as np
import pages
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheets import Sheet

from recurra import InputError
from recurra_sources import pieces
from recurra_sources.given import Given, GivenOptions
from recurra_sources.tables import Csv, CsvOptions

NAMES = ("g", "y", "price", "sky", "load", "area")
ROLES = {
    "past_covariates": ["load"],
    "future_covariates": ["price", "sky"],
    "static_covariates": ["area"],
}


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


def read(source):
    """Return of each series its values and its covariates, pieces of it put together."""
    found = []
    for values, start, columns in source.read("numbers"):
        if start or not found:
            found.append({"y": [], **{name: [] for name in NAMES[2:5]}})
            found[-1]["area"] = columns["static_covariates"]["area"]
        else:
            assert "static_covariates" not in columns
        one = found[-1]
        one["y"] += values[:, 0].tolist()
        for role in ("past_covariates", "future_covariates"):
            for name, cells in columns[role].items():
                one[name] += list(cells)
    return found


def source_of(kind, folder, rows, **options):
    """Return a source of rows: a file, or columns in Python."""
    options = {"group": "g", **ROLES, **options}
    if kind != "given":
        return Sheet(folder, kind).write(NAMES, rows).source(["y"], **options)
    source = Given(GivenOptions(columns=["y"], **options))
    source.take({name: [row[at] for row in rows] for at, name in enumerate(NAMES)})
    return source


numbers = st.integers(-9, 9).map(float)
row = st.tuples(numbers, numbers, st.sampled_from(["sun", "rain"]), numbers)
panel = st.lists(
    st.tuples(st.lists(row, min_size=1, max_size=6), st.integers(0, 3), numbers), min_size=1
)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "given"])
@given(series=panel, chunk=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_covariates_are_what_a_plain_reading_gives(tmp_path_factory, kind, series, chunk):
    """Each stands beside its own step, in pieces of any size; rows at the end of a series in which
    nothing is but what is known before are of steps to come.
    """
    rows, wanted = [], []
    for index, (own, ahead, area) in enumerate(series):
        one = {"y": [], "price": [], "sky": [], "load": [], "area": area}
        for y, price, sky, load in own:
            rows.append([f"s{index}", y, price, sky, load, area])
            for name, cell in zip(NAMES[1:5], (y, price, sky, load), strict=True):
                one[name].append(cell)
        for step in range(ahead):
            rows.append([f"s{index}", None, float(step), "rain", None, area])
            one["price"].append(float(step))
            one["sky"].append("rain")
        wanted.append(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "CHUNK", chunk)
        source = source_of(kind, tmp_path_factory.mktemp("panel"), rows)
        assert read(source) == wanted
        assert set(source.columns()) == {"input", *ROLES}


TABLE = [
    ["a", 1, 1, "sun", 1, 7],
    ["a", 2, None, "rain", 2, 7],
    ["a", None, 5, "rain", 3, 7],
    ["a", 4, 7, "sun", None, 7],
    ["a", 5, 9, "sun", 5, 7],
    ["a", None, 11, "rain", None, 7],
]


@pytest.mark.parametrize("missing, y, price, load", [
    ("forward", [1, 2, 2, 4, 5], [1, 1, 5, 7, 9, 11], [1, 2, 3, 3, 5]),
    ("interpolate", [1, 2, 3, 4, 5], [1, 3, 5, 7, 9, 11], [1, 2, 3, 4, 5]),
    ("drop", [1, 5], [1, 9, 11], [1, 5]),
])  # fmt: skip
def test_a_missing_covariate_is_mended_as_cells_are(sheet, missing, y, price, load):
    """Empty cells take the value before them, the one on the line, or their row is left out; a row
    without its number is to come at the end alone.
    """
    (one,) = read(sheet.write(NAMES, TABLE).source(["y"], group="g", missing=missing, **ROLES))
    assert (one["y"], one["price"], one["load"]) == (y, price, load)


CELLS = st.tuples(
    st.sampled_from("ab"), st.sampled_from([1, 2, None]), st.sampled_from(["x", "y", None])
)


def series(source):
    """Return the numbers of each series and the past covariate beside them; nothing if refused."""
    found = {}
    try:
        for values, _, columns in source.read("numbers"):
            y, sky = found.setdefault(columns.get("series", len(found)), ([], []))
            y += values[:, 0].tolist()
            sky += list(columns.get("past_covariates", {}).get("sky", []))
    except InputError:
        return None
    return found


@given(st.lists(CELLS, min_size=1, max_size=7), st.sampled_from([0, 1]))
def test_names_between_numbers_that_are_interpolated_go_on(tmp_path_factory, rows, longest):
    """They are what "forward" makes of them, and the numbers what they are without them."""
    rows = sorted(rows, key=lambda row: row[0])
    sheet = Sheet(tmp_path_factory.mktemp("names"), "csv").write(["g", "y", "sky"], rows)
    said = {"columns": ["y"], "group": "g", "longest_gap": longest}
    both = series(sheet.source(**said, missing="interpolate", past_covariates=["sky"]))
    numbers = series(sheet.source(**said, missing="interpolate"))
    sheet.write(["g", "y", "sky"], [(group, 1, sky) for group, _, sky in rows])
    names = series(sheet.source(**said, missing="forward", past_covariates=["sky"]))
    assert (both is None) == (numbers is None or names is None)
    if both is not None:
        assert both == {name: (numbers[name][0], names[name][1]) for name in numbers}


def test_gaps_in_time_are_filled_beside_names(sheet):
    """The rows that are put in have the number on the line, and the name of the row before."""
    rows = [["a", f"2024-0{month}", month, sky] for month, sky in ((1, "sun"), (4, "rain"))]
    sheet.write(["g", "ds", "y", "sky"], rows)
    said = {"group": "g", "time": "ds", "gaps": "fill", "frequency": "month"}
    source = sheet.source(["y"], **said, missing="interpolate", past_covariates=["sky"])
    assert series(source) == {"a": ([1, 2, 3, 4], ["sun", "sun", "sun", "rain"])}


def test_no_cure_is_refused_itself(sheet):
    """Where rows have a time none may be left out, and nothing says that they be."""
    rows = [["a", f"2024-0{month}", y, sky] for month, y, sky in ((1, 1, None), (2, None, "sun"))]
    said = {"group": "g", "time": "ds", "frequency": "month", "past_covariates": ["sky"]}
    for faulty in (rows, rows[1:], [["a", "2024-01", 1, "sun"], *rows[1:]]):
        source = sheet.write(["g", "ds", "y", "sky"], faulty).source(["y"], **said)
        with pytest.raises(InputError) as refused:
            [*source.read("numbers")]
        cure = refused.value.problems[0].cure
        for policy in re.findall(r'"(\w+)"', cure):
            sheet.source(["y"], **said, missing=policy)

    """So is one that is infinite; all that is wrong is told at once."""
    rows = [list(row) for row in TABLE]
    rows[4][4] = "inf"
    with pytest.raises(InputError) as caught:
        read(sheet.write(NAMES, rows).source(["y"], group="g", **ROLES))
    text = str(caught.value)
    for index, name in ((1, "price"), (2, "y"), (3, "load"), (4, "load")):
        assert f"line {sheet.row(index)}, column {name}" in text
    assert f"line {sheet.row(5)}" not in text


def test_one_that_is_to_come_must_be_known(sheet):
    """An empty cell of a step to come is refused, whatever is done about others."""
    rows = [*TABLE[4:], ["a", None, None, "sun", None, 7]]
    for missing in ("error", "interpolate"):
        source = sheet.write(NAMES, rows).source(["y"], group="g", missing=missing, **ROLES)
        with pytest.raises(InputError, match=f"line {sheet.row(2)}, column price"):
            read(source)
    source = sheet.write(NAMES, TABLE[5:]).source(["y"], group="g", **ROLES)
    with pytest.raises(InputError, match="no row of group 'a' holds a value"):
        read(source)


def test_a_static_covariate_is_one(sheet):
    """A value that changes inside a group, or in a table of one series, is refused with both of its
    rows.
    """
    rows = [list(row) for row in TABLE[:1] * 3]
    rows[2][5] = 8
    for group, whose in (("g", "group 'a'"), (None, "the series")):
        source = sheet.write(NAMES, rows).source(["y"], group=group, **ROLES)
        pattern = f":{sheet.row(2)}: {whose} has the area 8.0 here, and 7.0 at .*:{sheet.row(0)}"
        with pytest.raises(InputError, match=pattern) as caught:
            read(source)
        assert caught.value.problems[0].key == "source.static_covariates"


def test_the_first_cell_tells_names_from_numbers(sheet):
    """A name behind a number is refused with the option that makes names of both; who has learned
    it before says it instead.
    """
    rows = [["a", 1, 3, "sun", 1, 7], ["a", 2, "high", "rain", 2, 7]]
    source = sheet.write(NAMES, rows).source(["y"], group="g", **ROLES)
    with pytest.raises(InputError, match=r"'high' is not a number.*categorical = \[\"price\"\]"):
        read(source)
    source = sheet.source(["y"], group="g", categorical=["price"], **ROLES)
    assert read(source)[0]["price"] == ["3", "high"]

    source = sheet.write(NAMES, rows[:1]).source(["y"], group="g", **ROLES)
    source.categories = frozenset({"price", "area", "sky"})
    (one,) = read(source)
    assert one["price"] == ["3"] and one["area"] == "7" and one["load"] == [1.0]
    source.categories = frozenset({"load"})
    with pytest.raises(InputError, match="'sun' is not a number"):
        read(source)


@pytest.mark.parametrize("cell", ["12x", "N/A", "inf", "-"])
def test_a_number_that_is_written_wrongly_makes_no_categories(sheet, cell):
    """What looks like a number, or like nothing, is refused as the first cell too."""
    source = sheet.write(NAMES, [["a", 1, cell, "sun", 1, 7]]).source(["y"], group="g", **ROLES)
    with pytest.raises(InputError, match=f"column price: '{cell}'"):
        read(source)


def test_columns_are_for_one_thing_each(sheet):
    """A covariate is no column that is predicted, nor another covariate, nor the group; where a row
    is a whole series it has none of its steps.
    """
    for told in ({"past_covariates": ["y"]}, {"past_covariates": ["g"]},
                 {"past_covariates": ["x"], "static_covariates": ["x"]},
                 {"categorical": ["x"]}):  # fmt: skip
        with pytest.raises(ValueError, match="column by itself|none of the covariates"):
            sheet.source(["y"], group="g", **told)
    sheet.write(NAMES, TABLE)
    source = sheet.source(["y"], label="g", past_covariates=["load"])
    with pytest.raises(
        InputError, match="each row is a whole sequence, and 'load' is of its steps"
    ):
        read(source)


def test_columns_of_python_have_kinds_of_their_own(tmp_path):
    """Numbers that are names are texts of theirs, and a missing number of an array is missing."""
    table = {"y": np.arange(3.0), "shop": [3, 3, 4], "price": np.array([1.0, np.nan, 3.0])}
    told = {"past_covariates": ["shop", "price"], "categorical": ["shop"]}
    source = Given(GivenOptions(columns=["y"], missing="interpolate", **told))
    source.take(table)
    ((values, _, columns),) = source.read("numbers")
    assert columns["past_covariates"]["shop"] == ["3", "3", "4"]
    assert columns["past_covariates"]["price"].tolist() == [1.0, 2.0, 3.0]
    assert values[:, 0].tolist() == [0.0, 1.0, 2.0]


def test_the_table_of_the_page_is_read_as_it_says(tmp_path, monkeypatch):
    """The example of the page reads its own row, and the region of a shop is a name."""
    options = tomllib.loads(pages.block("toml", "# shops.toml"))["source"]
    assert options.pop("kind") == "csv"
    (tmp_path / "shops.csv").write_text(
        "shop,sold,price,holiday,visitors,area,region\nshop-7,12,9.5,no,311,120,3\n"
    )
    monkeypatch.chdir(tmp_path)
    ((values, _, columns),) = Csv(CsvOptions(**options)).read("numbers")
    assert values.tolist() == [[12.0]]
    assert columns["static_covariates"] == {"area": 120.0, "region": "3"}
    assert columns["future_covariates"]["holiday"] == ["no"]
