"""Rows that are read many at a time are those that are read one by one."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheets import Sheet

from recurra import InputError
from recurra_sources import blocks, bulk, csv_rows, panels, spacing_blocks
from recurra_sources.columns import Rows

NAMES = ("g", "t", "x", "y", "l")
FIRST = date(2024, 1, 1)


def one_by_one(self):
    """Give the rows of a table each by itself."""
    yield from ([row] for row in self.rows())


def told(source):
    """Return all that a source gives of numbers, or the error, and what it left out."""
    found = []
    try:
        for piece in source.read("numbers"):
            if piece.start:
                said = {k: v for k, v in piece.columns.items()}
                found.append((said, []))
            found[-1][1].extend(np.asarray(piece.values).tolist())
    except InputError as error:
        return str(error)
    timeline = source.timeline()
    return found, source.gaps(), timeline and timeline.record()


cell = st.sampled_from(
    ["1", "2.5", " 3 ", "-4", "7e2", "1_0", "", "odd", "-999", "nan", "inf", "5"]
)
number = st.sampled_from(["1", "2", "-3.5", "4e1"])
step = st.tuples(
    st.sampled_from("aabbc"),
    st.sampled_from([1, 1, 1, 1, 1, 1, 1, 2, 0, 3]),
    st.one_of(number, number, number, cell),
    number,
    st.sampled_from(["u"] * 9 + ["v", ""]),
)


@st.composite
def tables(draw):
    """Draw the rows of a panel, and how it is read."""
    steps = draw(st.lists(step, min_size=1, max_size=40))
    if draw(st.booleans()):
        steps.sort(key=lambda row: row[0])
    at = dict.fromkeys("abc", 0)
    by = draw(st.sampled_from([1, 7, 31]))
    rows = []
    even = draw(st.booleans())
    for group, days, x, y, label in steps:
        at[group] += by * (1 if even else days)
        rows.append([group, str(FIRST + timedelta(at[group])), x, y, label])
    said = {"missing": draw(st.sampled_from(["error", "forward", "interpolate", "drop"]))}
    if draw(st.booleans()):
        said["na"] = ["-999"]
    if draw(st.booleans()) or any(row[4] != "u" for row in rows):
        said["group"] = "g"
        if draw(st.booleans()):
            said["label"] = "l"
    if "group" in said and said["missing"] != "drop" and draw(st.booleans()):
        said["time"] = "t"
        if draw(st.booleans()):
            said["frequency"] = "none"
    return rows, said


def small(patch):
    """Make blocks of a few rows, of which each is read at once that can be."""
    patch.setattr(csv_rows, "MANY", 5)
    patch.setattr(csv_rows, "FEW", 5)
    patch.setattr(blocks, "FEW", 5)
    patch.setattr(bulk, "LEAST", 1)
    patch.setattr(spacing_blocks, "SELDOM", 0)


def differ(folder, kind, table):
    """Read a table both ways, with and without rows on disk; return what is told."""
    rows, said = table
    sheet = Sheet(folder, kind).write(NAMES, rows)
    ways = []
    for by_row, held in ((True, 1 << 26), (False, 1 << 26), (False, 1 << 9)):
        with pytest.MonkeyPatch.context() as patch:
            small(patch)
            patch.setattr(panels, "HELD", held)
            source = sheet.source(["x", "y"], **said)
            if by_row:
                patch.setattr(type(source), "blocks", one_by_one)
            ways.append(told(source))
    return ways


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@settings(max_examples=60)
@given(table=tables())
def test_many_rows_at_once_are_those_of_each(tmp_path_factory, kind, table):
    """Numbers, labels, filled gaps, rows that are left out, stamps, and errors to the letter."""
    each, many, on_disk = differ(tmp_path_factory.mktemp("bulk"), kind, table)
    assert many == each
    assert on_disk == each


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@settings(max_examples=2000)
@given(table=tables())
def test_many_rows_at_once_are_those_of_each_of_many(tmp_path_factory, kind, table):
    """The same of many tables."""
    each, many, on_disk = differ(tmp_path_factory.mktemp("bulk"), kind, table)
    assert many == each
    assert on_disk == each


def test_whole_rows_do_go_at_once(tmp_path):
    """Of a panel without a fault none but the first row of a series is read by itself."""
    rows = [[g, str(FIRST + timedelta(d)), str(d), "0", "u"] for g in "ab" for d in range(50)]
    source = Sheet(tmp_path, "csv").write(NAMES, rows).source(["x"], group="g", time="t")
    given = [row for row in source._by_group("numbers")]
    assert sum(isinstance(row, bulk.Many) for row in given) == 2
    assert len(given) == 4
    assert issubclass(type(source), Rows)


lines = st.lists(
    st.sampled_from(
        ["1,2\n", "3,4\r\n", '"5",6\n', '"a\nb",7\n', "\n", " \n", "8\n", '"9,1\n', "#\n"]
    )
)


@settings(max_examples=100)
@given(lines=lines, comment=st.sampled_from(["", "#"]))
def test_rows_of_a_file_are_the_same_in_any_pieces(tmp_path_factory, lines, comment):
    """Cells, lines and errors hang on no size of what is read at once."""
    found = []
    text = "x,y\n" + "".join(lines)
    path = tmp_path_factory.mktemp("rows") / "data.csv"
    for size in (1, 3, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_rows, "MANY", size)
            patch.setattr(csv_rows, "FEW", size)
            if size == 1:
                patch.setattr(csv_rows, "_at_once", lambda lines, form, width: None)
            rows = []
            form = csv_rows.Form(comment=comment)
            try:
                rows += csv_rows.rows(iter(text.splitlines(keepends=True)), path, form)
            except InputError as error:
                rows.append(str(error))
            found.append(rows)
    assert found[0] == found[1] == found[2]
