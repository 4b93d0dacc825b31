"""A source over another file: the sequences that it would give were they its own, without a word of
what they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheets import Sheet, csv_of, gathered, jsonl_of, labelled, text

from recurra import InputError, Source
from recurra_sources import single
from recurra_sources.inline import Inline, InlineOptions
from recurra_sources.python_docs import PythonDocs, PythonDocsOptions


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


def names(source: Source, element: str) -> list[str | None]:
    """Return what each sequence is called; only the piece that starts one may say it, and nothing
    else.
    """
    found = []
    for piece in source.read(element):
        assert set(piece.columns) <= ({"series"} if piece.start else set())
        found += [piece.columns.get("series")] if piece.start or not found else []
    return found


def moved(sheet: Sheet) -> str:
    """Give the file of a sheet another name, so that the first is there no more."""
    path = sheet.path.with_name(f"other.{sheet.kind}")
    sheet.path.rename(path)
    return str(path)


@given(
    rows=st.lists(
        st.tuples(st.sampled_from("pqr"), st.integers(0, 9), st.sampled_from("ab")),
        min_size=1,
        max_size=8,
    ),
    element=st.sampled_from(["text", "tokens", "numbers"]),
    grouped=st.booleans(),
    kind=st.sampled_from(["csv", "jsonl"]),
)
@settings(max_examples=40, deadline=None)
def test_the_same_file_gives_the_same_sequences(rows, element, grouped, kind, tmp_path_factory):
    """With labels or without, a file read over is what it is as a source's own, and each sequence
    has its name.
    """
    label = {group: label for group, _, label in rows}  # one for each group
    rows = sorted((group, number, label[group]) for group, number, _ in rows)
    sheet = Sheet(tmp_path_factory.mktemp("over"), kind).write(["g", "x", "l"], rows)
    source = sheet.source(["x"], label="l", group="g" if grouped else None)
    wanted = [values for values, _ in labelled(source, element)]
    path = moved(sheet)

    over = source.over(path)
    assert gathered(over, element) == gathered(over.over(path), element) == wanted
    groups = sorted(label) if grouped else [str(number) for number in range(1, len(rows) + 1)]
    assert names(over, element) == groups
    assert source.named == over.named == ("g" if grouped else "row")
    assert set(over.columns()) == {"input"}


@pytest.mark.parametrize("beside", [{}, {"label": "l"}, {"fold": "f"}, {"label": "l", "fold": "f"}])
def test_columns_beside_are_neither_needed_nor_read(sheet, beside):
    """They may lack, or hold anything; whether a row is a whole sequence, the source's own options
    tell.
    """
    source = sheet.source(["x"], **beside)
    for columns, rows in (
        (["x"], [["a b"], ["c"]]),
        (["l", "x", "f"], [[None, "a b", "dev"], ["", "c", None]]),
    ):
        path = moved(sheet.write(columns, rows))
        assert gathered(source.over(path), "text") == ["a b", "c"]
        tokens = [["a b"], ["c"]] if not beside else [["a", "b"], ["c"]]
        assert gathered(source.over(path), "tokens") == (tokens if beside else [["a b", "c"]])


def test_a_name_is_of_the_row_that_bears_it(tmp_path):
    """Blank lines are no rows, and a row that is left out takes its number with it."""
    lines = ['{"x": [1, 2], "l": 1}', "", '{"x": null, "l": 1}', '{"x": [3], "l": 1}']
    source = jsonl_of(tmp_path, *lines, columns=["x"], label="l", missing="drop").over(
        str(tmp_path / "table.jsonl")
    )
    assert list(zip(names(source, "numbers"), gathered(source, "numbers"), strict=True)) == [
        ("1", [[1], [2]]),
        ("3", [[3]]),
    ]


def test_ways_of_writing_are_kept(tmp_path):
    """Delimiter, decimals, encoding and what is done about missing cells are those of the
    source.
    """
    source = csv_of(
        tmp_path,
        "g;x\na;1\n",
        columns=["x"],
        group="g",
        delimiter=";",
        decimal=",",
        encoding="utf-16",
        missing="forward",
    )
    path = tmp_path / "other.csv"
    path.write_text("x;g\n1,5;é\n;é\n2;b\n", encoding="utf-16")
    over = source.over(str(path))
    assert gathered(over, "numbers") == [[[1.5], [1.5]], [[2]]] and names(over, "numbers") == [
        "é",
        "b",
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("grouped", [False, True])
def test_no_sequence_is_given_with_a_step_left_out(kind, grouped, tmp_path):
    """Before any piece of a sequence of which a cell cannot be read, its error comes: no answer may
    be of the rest.
    """
    sheet = Sheet(tmp_path, kind)
    bad = [["p", 1], ["q", 2], ["q", "two"], ["q", 3], ["r", 4]]
    if grouped:
        source = sheet.write(["g", "x"], bad).source(["x"], group="g")
    elif kind == "jsonl":
        source = sheet.write(["x", "l"], [[[1], "a"], [[2, "two", 3], "a"], [[4], "a"]]).source(
            ["x"], label="l"
        )
    else:
        source = sheet.write(["x", "l"], [[1, "a"], ["two", "a"], [3, "a"]]).source(
            ["x"], label="l"
        )
    found = []
    with pytest.raises(
        InputError, match=r"line \d(, step 2)?, column x: 'two' is not a number"
    ) as caught:
        for piece in source.over(str(sheet.path)).read("numbers"):
            if isinstance(piece.values, InputError):
                raise piece.values
            found.append(piece.values.tolist())
    assert found in ([], [[[1]]])
    assert "source.missing" not in str(caught.value), "a run's options are what they were"


# Text


def test_files_are_called_by_their_paths(tmp_path):
    """Of a pattern each file is a sequence and has its own name, whatever folders they lie in; of
    lines none has.
    """
    for name in ("x/1.txt", "y/2.txt"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(f"{name}\n" * 2)
    pattern = str(tmp_path / "*" / "*.txt")
    labels, lines = text(pattern, labels="folder"), text(pattern, each="line")
    assert labels.named == "file" and lines.named == "row"
    for source in (labels.over(pattern), text(tmp_path / "gone.txt").over(pattern)):
        assert gathered(source) == ["x/1.txt\n" * 2, "y/2.txt\n" * 2]
        assert names(source, "text") == [str(tmp_path / "x/1.txt"), str(tmp_path / "y/2.txt")]
    assert gathered(lines.over(pattern)) == ["x/1.txt\n"] * 2 + ["y/2.txt\n"] * 2
    assert names(lines.over(pattern), "text") == [None] * 4


def test_a_file_without_text_is_told(tmp_path):
    """Of a file that is a sequence nothing could be said; one of lines has none of them."""
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match=r"a.txt is empty(.|\n)*RC042"):
        gathered(text("b.txt").over(str(tmp_path / "a.txt")))
    assert gathered(text("b.txt", each="line").over(str(tmp_path / "a.txt"))) == []


@pytest.mark.parametrize(
    "source", [Inline(InlineOptions(text="ab")), PythonDocs(PythonDocsOptions())]
)
def test_what_reads_no_file_says_so(source, tmp_path):
    """And says how rows are given instead."""
    with pytest.raises(InputError, match=r"reads no file \[RC080\]\n.*give --text"):
        source.over(str(tmp_path / "a.txt"))
    assert source.named == "row"


def test_a_table_is_one_file(tmp_path):
    """A pattern of several is refused, and one of a single file taken."""
    for name in ("1", "2"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"x": name}) + "\n")
    source = jsonl_of(tmp_path / "", '{"x": 1}', columns=["x"])
    assert gathered(source.over(str(tmp_path / "[1].jsonl"))) == ["1"]
    with pytest.raises(InputError, match=r"stands for 2 files(.|\n)*RC040"):
        gathered(source.over(str(Path(tmp_path) / "[12].jsonl")))


CELLS = st.sampled_from(["a", "b c", "", "NA", "é", None, 7, True])


@given(
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=1, max_size=9),
    kind=st.sampled_from(["csv", "jsonl"]),
    beside=st.sampled_from([{}, {"label": "l"}, {"fold": "f"}, {"na": ["NA"]}]),
    many=st.integers(2, 4),
    unreadable=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_texts_that_are_read_side_by_side_are_those_of_each_row(
    rows, kind, beside, many, unreadable, tmp_path_factory
):
    """Each row has its text or its own error, under its number, however many are read at once; and
    what stands before a row at which the file ends to be one is given before its error.
    """
    sheet = Sheet(tmp_path_factory.mktemp("beside"), kind)
    sheet.write(["x", "l", "f"], [["a", "p", "q"]])
    source = sheet.source(["x"], **beside)
    sheet.write(["x", "l", "f"], [(row + ["p", "q"])[:3] for row in rows])
    if kind == "csv":
        lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
        sheet.path.write_text("\n".join(["x,l,f", *lines]) + "\n")
    if unreadable:
        with sheet.path.open("ab") as file:
            file.write(b'"never closed')

    def told(size):
        with mock.patch.object(single, "MANY", size):
            given = []
            try:
                for piece in source.over(str(sheet.path)).read("text"):
                    error = isinstance(piece.values, InputError)
                    given.append((str(piece.values) if error else piece.values, piece[1:]))
            except InputError as error:
                given.append(str(error))
            return given

    def by_itself(*arguments):
        return real(*arguments[:3], False)

    real = single.one_by_one
    with mock.patch("recurra_sources.columns.one_by_one", by_itself):
        wanted = told(1)
    assert told(many) == wanted
