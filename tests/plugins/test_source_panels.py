"""Panels: rows of several series that stand in between each other are those of the sorted file."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheets import Sheet, gathered, labelled

from recurra import InputError
from recurra_sources import panels

NAMES = ("g", "x", "y", "l")


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


def in_order_of_groups(rows):
    """Return rows sorted by their group, which come as they began; within one as they were."""
    first = {}
    for row in rows:
        first.setdefault(row[0], len(first))
    return sorted(rows, key=lambda row: first[row[0]])


cells = st.one_of(st.none(), st.integers(-9, 9))
drawn = st.lists(st.tuples(st.sampled_from("abcd"), cells, st.integers(0, 9)), min_size=1)


@pytest.mark.parametrize("missing", ["forward", "interpolate", "drop", "error"])
@settings(max_examples=25)
@given(rows=drawn)
def test_rows_in_between_are_read_as_if_they_were_sorted(tmp_path_factory, missing, rows):
    """Sequences, labels, what missing cells become and what is refused, all are those of the
    file whose groups follow each other.
    """
    rows = [(group, x, y, group.upper()) for group, x, y in rows]
    read = []
    for order in (rows, in_order_of_groups(rows)):
        sheet = Sheet(tmp_path_factory.mktemp("panel"), "csv").write(NAMES, order)
        source = sheet.source(["x", "y"], group="g", label="l", missing=missing)
        try:
            read.append(labelled(source, "numbers"))
        except InputError as error:
            read.append(error.problems[0].code)
    assert read[0] == read[1]


def test_each_column_and_blank_line_keeps_its_row(sheet):
    """Of one row all cells go together; a blank line is told with the group that it stands in."""
    sheet.write(NAMES, [["p", 1, 2, "a"], ["q", 3, 4, "b"], ["p", 5, 6, "a"], ["q", 7, 8, "b"]])
    text = sheet.path.read_text().splitlines(keepends=True)
    head = sheet.row(0) - 1
    text.insert(head + 1, "\n")
    sheet.path.write_text("".join(text))
    source = sheet.source(["x", "y"], group="g")
    assert gathered(source, "numbers") == [[[1, 2], [5, 6]], [[3, 4], [7, 8]]]
    assert source.gaps() == [f"blank line {head + 2}"]
    assert gathered(sheet.source(["l"], group="g"), "tokens") == [["a", "a"], ["b", "b"]]
    assert gathered(sheet.source(["l"], group="g")) == ["a\na", "b\nb"]


def test_faults_name_the_rows_of_the_file(sheet):
    """A cell that cannot be read has its line in the file, whatever its place in its group."""
    sheet.write(NAMES, [["p", 1, 2, "a"], ["q", 3, 4, "b"], ["p", "odd", 6, "a"]])
    with pytest.raises(InputError, match=f"line {sheet.row(2)}, column x: 'odd'"):
        gathered(sheet.source(["x"], group="g"), "numbers")


@pytest.mark.parametrize("element", ["numbers", "text"])
def test_more_than_is_held_goes_through_a_file(sheet, monkeypatch, element):
    """Beyond the stated size rows wait on disk, and are the same; a sorted file is held nowhere."""
    rows = [[name, step, 0, f"l{step}"] for step in range(50) for name in "pqr"]
    column = "x" if element == "numbers" else "l"
    sheet.write(NAMES, rows)
    whole = gathered(sheet.source([column], group="g"), element)
    spilled = []
    spill = panels.Spool._spill

    def noted(self):
        spilled.append(self.size)
        spill(self)

    monkeypatch.setattr(panels.Spool, "_spill", noted)
    monkeypatch.setattr(panels, "HELD", 1 << 10)
    assert gathered(sheet.source([column], group="g"), element) == whole
    assert spilled
    spilled.clear()
    sheet.write(NAMES, in_order_of_groups(rows))
    assert gathered(sheet.source([column], group="g"), element) == whole
    assert not spilled


def test_a_full_disk_is_told_with_the_cure(sheet, monkeypatch):
    """Where the rows cannot wait, that is an error of the input, and says what to do."""
    monkeypatch.setattr(panels, "HELD", 1 << 10)

    def full(*given, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(panels.tempfile, "TemporaryFile", full)
    sheet.write(NAMES, [[name, step, 0, "l"] for step in range(50) for name in "pqr"])
    with pytest.raises(InputError, match=r"No space left(.|\n)*sort the rows"):
        gathered(sheet.source(["x"], group="g"), "numbers")


def test_what_is_held_is_counted(monkeypatch):
    """Few long groups and many short ones alike: the count is no less than what is held."""
    monkeypatch.setattr(panels, "HELD", 1 << 16)
    for groups, count in ((2, 4000), (400, 400), (2, 4), (100, 200)):
        rows = [(step, [str(step), f"g{step % groups}"]) for step in range(count)]
        gathering = panels.Gathering(lambda cell: (cell, ""))
        most, spool = [], gathering.spool
        add = spool.add

        def counted(name, data, spool=spool, add=add, most=most):
            add(name, data)
            most.append(sum(map(len, spool.held.values())))

        monkeypatch.setattr(spool, "add", counted)
        read = [*gathering.rows([rows])]
        assert sorted(read) == rows
        assert [cells[-1] for _, cells in read] == [
            f"g{number}" for number in range(groups) for _ in range(count // groups)
        ]
        assert max(most) <= panels.HELD
        assert (spool.file is not None) == (count >= 400)


def test_a_file_that_changes_is_looked_at_again(sheet):
    """Whether groups stand apart is known of a file as it was: another time it is another file."""
    sheet.write(NAMES, [["p", 1, 2, "a"], ["p", 3, 4, "a"], ["q", 5, 6, "b"]])
    source = sheet.source(["x"], group="g")
    assert gathered(source, "numbers") == [[[1], [3]], [[5]]]
    sheet.write(NAMES, [["p", 1, 2, "a"], ["q", 5, 6, "b"], ["p", 33, 4, "a"]])
    assert gathered(source, "numbers") == [[[1], [33]], [[5]]]


@pytest.mark.slow
def test_a_panel_in_order_of_time_is_read_within_the_stated_size(tmp_path):
    """200 series side by side, a row of each a step: the sums are those of the rows."""
    draw = random.Random(0)
    values = {f"s{number}": [] for number in range(200)}
    lines = ["g,x,y,l\n"]
    for _ in range(1000):
        for name, series in values.items():
            series.append(draw.randint(0, 999))
            lines.append(f"{name},{series[-1]},0,l\n")
    sheet = Sheet(tmp_path, "csv")
    sheet.path.write_text("".join(lines))
    read = gathered(sheet.source(["x"], group="g"), "numbers")
    assert read == [[[x] for x in series] for series in values.values()]
