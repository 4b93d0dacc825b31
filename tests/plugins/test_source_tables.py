"""Tables: the same rows come of csv and of JSON lines, and every fault has its place."""

from __future__ import annotations

import gzip
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import Sheet, gathered, jsonl_of

from recurra import InputError
from recurra_sources import files
from recurra_sources.applying import refuse_unused
from recurra_sources.tables import CsvOptions, JsonlOptions


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


def test_columns_are_features_in_the_order_asked(sheet):
    """Each row is a step; the columns come in the task's order, not the file's."""
    sheet.write(["t", "a", "b"], [[0, 1.5, -2], [1, 3, 4e3]])
    source = sheet.source(["b", "a"])
    assert gathered(source, "numbers") == [[[-2, 1.5], [4000, 3]]]
    assert source.features() == ["b", "a"]
    assert gathered(source, "numbers") == gathered(source, "numbers")


@pytest.mark.parametrize("chunk", [1, 2, 1 << 14])
def test_a_group_is_a_sequence(sheet, monkeypatch, chunk):
    """Rows that follow each other with the same group are one sequence, in whatever chunks they
    come.
    """
    monkeypatch.setattr("recurra_sources.pieces.CHUNK", chunk)
    sheet.write(["g", "a"], [["x", 1], ["x", 2], ["x", 3], ["y", 4], ["z", 5]])
    assert gathered(sheet.source(["a"], group="g"), "numbers") == [[[1], [2], [3]], [[4]], [[5]]]
    assert gathered(sheet.source(["a"]), "numbers") == [[[1], [2], [3], [4], [5]]]
    assert gathered(sheet.source(["g"], group="g"), "tokens") == [["x"] * 3, ["y"], ["z"]]


def test_a_scattered_group_is_one_sequence(sheet):
    """A group that comes again after another one goes on where it was."""
    sheet.write(["g", "a"], [["x", 1], ["y", 2], ["x", 3]])
    assert gathered(sheet.source(["a"], group="g"), "numbers") == [[[1], [3]], [[2]]]


def test_tokens_and_texts_come_as_they_are(sheet):
    """Of one column, tokens are one sequence and each text is one by itself."""
    sheet.write(["w"], [["up"], ["down"], ["up"]])
    assert gathered(sheet.source(["w"]), "tokens") == [["up", "down", "up"]]
    assert gathered(sheet.source(["w"]), "text") == ["up", "down", "up"]


@pytest.mark.parametrize("element", ["text", "tokens"])
def test_only_numbers_take_several_columns(sheet, element):
    """Text or tokens of two columns is refused."""
    sheet.write(["a", "b"], [["x", "y"]])
    with pytest.raises(
        InputError, match=rf'2 columns are read, a, b, and {element} .*one(.|\n)*= \["a"\]'
    ):
        gathered(sheet.source(["a", "b"]), element)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["x", "x", None]), st.sampled_from([1, 2, None]), st.just(3)),
        max_size=5,
    ),
    missing=st.sampled_from(["error", "forward"]),
    element=st.sampled_from(["numbers", "tokens", "text"]),
    grouped=st.booleans(),
    kind=st.sampled_from(["csv", "jsonl"]),
)
def test_the_cure_for_missing_cells_mends_them(
    rows, missing, element, grouped, kind, tmp_path_factory
):
    """Of the policies the cure names those that read the table, and no other."""
    assume(element != "text" or missing == "error")
    names = [["g", "a", "b"][index] for index in range(3)]
    as_text = [
        [cell if cell is None or element == "numbers" else str(cell) for cell in row]
        for row in rows
    ]
    sheet = Sheet(tmp_path_factory.mktemp("cure"), kind).write(names, as_text)
    columns = ["a", "b"] if element == "numbers" else ["a"]

    def cure(policy):
        try:
            gathered(sheet.source(columns, group="g" if grouped else None, missing=policy), element)
        except InputError as error:
            return error.problems[0].cure

    if words := cure(missing):
        named = set(re.findall('"(.+?)"', words))
        assert named == {policy for policy in ("forward", "drop") if cure(policy) is None}


GAPS = [[1, 10], [None, 20], [3, None], [None, None], [5, 50]]


def test_missing_cells_are_reported_all_at_once(sheet):
    """Under "error" every empty cell is listed with its row and column."""
    with pytest.raises(InputError, match=r"4 cells cannot be read(.|\n)*RC042") as caught:
        gathered(sheet.write(["a", "b"], GAPS).source(["a", "b"]), "numbers")
    for index, name in ((1, "a"), (2, "b"), (3, "a"), (3, "b")):
        assert f"line {sheet.row(index)}, column {name}: nothing\n" in f"{caught.value}\n".replace(
            " [RC042]", ""
        )


def test_missing_cells_take_the_value_before_or_lose_their_row(sheet):
    """forward repeats the last value of the column; drop leaves the row out."""
    sheet.write(["a", "b"], GAPS)
    forward = gathered(sheet.source(["a", "b"], missing="forward"), "numbers")
    assert forward == [[[1, 10], [1, 20], [3, 20], [3, 20], [5, 50]]]
    assert gathered(sheet.source(["a", "b"], missing="drop"), "numbers") == [[[1, 10], [5, 50]]]
    assert gathered(sheet.source(["a"], missing="drop"), "numbers") == [[[1], [3], [5]]]


@pytest.mark.parametrize("element", ["numbers", "tokens"])
def test_a_table_of_which_every_row_is_left_out_is_told(sheet, element):
    """It is not empty: what left the rows out is named, and how many there were."""
    sheet.write(["g", "a"], [["x", None], [None, "1"], ["y", None]])
    with pytest.raises(
        InputError, match=r'"drop" leaves out all 3 rows .* each lacks a cell of a, g \[RC041\]'
    ):
        gathered(sheet.source(["a"], group="g", missing="drop"), element)
    assert gathered(sheet.write(["g", "a"], []).source(["a"], missing="drop"), element) == []


def test_nothing_is_carried_from_one_sequence_to_the_next(sheet):
    """forward has no value at the start of a file or of a group: that cell is missing."""
    sheet.write(["g", "a"], [["x", 1], ["x", None], ["y", None], ["y", 4]])
    with pytest.raises(
        InputError, match=rf"1 cell cannot be read\n +line {sheet.row(2)}, column a: nothing"
    ):
        gathered(sheet.source(["a"], group="g", missing="forward"), "numbers")
    sheet.write(["g", "a"], [["x", None], ["x", 1]])
    with pytest.raises(InputError, match=rf"line {sheet.row(0)}, column a: nothing"):
        gathered(sheet.source(["a"], missing="forward"), "numbers")


@pytest.mark.parametrize("missing", ["error", "forward", "drop"])
def test_what_is_no_number_is_an_error_under_every_policy(sheet, missing):
    """Text, infinity and a number beyond all bounds are not missing: they are wrong, and shown."""
    huge = 10**400
    sheet.write(["a"], [[1], ["two"], [huge], ["inf"], [4]])
    with pytest.raises(InputError, match="3 cells cannot be read") as caught:
        gathered(sheet.source(["a"], missing=missing), "numbers")
    for index, shown in ((1, "'two'"), (2, "10000"), (3, "'inf'")):
        assert f"line {sheet.row(index)}, column a: " in str(caught.value)
        assert shown in str(caught.value)


def test_a_long_list_of_faults_is_cut(sheet):
    """Ten faults are shown, the rest is counted."""
    sheet.write(["a"], [["x"]] * 25)
    with pytest.raises(InputError, match=r"25 cells(.|\n)*and 15 more") as caught:
        gathered(sheet.source(["a"]), "numbers")
    assert str(caught.value).count("column a") == 10


def test_an_unknown_column_names_those_there_are(sheet):
    """A column or group that the file lacks is an error that lists the others."""
    sheet.write(["date", "price"], [["d", 1]])
    for columns, group in ((["prize"], None), (["price"], "prize")):
        with pytest.raises(InputError, match=r"no column 'prize'(.|\n)*allowed: date, price"):
            gathered(sheet.source(columns, group=group), "numbers")


def test_a_byte_order_mark_is_no_part_of_a_table(sheet):
    """A mark at the start, as spreadsheets write it, changes nothing, also before a quoted name."""
    sheet.write(["a", "b"], [[1, 2]])
    plain = sheet.path.read_text().replace("a,", '"a",')
    sheet.path.write_bytes(b"\xef\xbb\xbf" + plain.encode())
    assert gathered(sheet.source(["a"]), "numbers") == [[[1]]]


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_tables_do_not_depend_on_blocks(sheet, monkeypatch, block):
    """Rows are read whole, plain or packed, wherever a block of the file ends."""
    monkeypatch.setattr(files, "BLOCK", block)
    rows = [[f"k {index}", index / 8] for index in range(20)]
    sheet.write(["g", "a"], rows)
    wanted = [[[value]] for _, value in rows]
    assert gathered(sheet.source(["a"], group="g"), "numbers") == wanted
    packed = sheet.path.with_suffix(f".{sheet.kind}.gz")
    packed.write_bytes(gzip.compress(sheet.path.read_bytes()))
    sheet.path = packed
    assert gathered(sheet.source(["a"], group="g"), "numbers") == wanted


def test_a_blank_line_between_rows_is_a_gap(sheet):
    """In a table of several columns it is no row, and where positions count it is told, for it may
    have been one; before, between and after sequences it moves nothing.
    """
    sheet.write(["g", "a"], [["x", 1], ["x", 2], ["y", 3]])
    first, *rows = ["", *sheet.path.read_text().splitlines()][sheet.kind == "csv" :]
    sheet.path.write_text(
        "\n".join(["", first, "", rows[0], "", " ", rows[1], "", rows[2], "", ""])
    )
    for group, values, gaps in (
        ("g", [[[1], [2]], [[3]]], [5, 6]),
        (None, [[[1], [2], [3]]], [5, 6, 8]),
    ):
        source = sheet.source(["a"], group=group)
        assert gathered(source, "numbers") == values
        assert source.gaps() == [f"blank line {line}" for line in gaps]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_rows_end_as_lines_do(tmp_path, sheet, ends):
    """LF, CRLF and CR end a row; what else Unicode takes for a line end stands in a cell."""
    odd = "a\x0bb\x0cc\x1cd\x85e\u2028f"
    sheet.write(["w"], [[odd], ["two"]])
    sheet.path.write_bytes(sheet.path.read_text().replace("\n", ends).encode())
    assert gathered(sheet.source(["w"])) == [odd, "two"]


def test_a_name_that_stands_twice_is_refused(sheet):
    """A header or a list of columns with one name twice is refused; a double that nobody asks for
    is not.
    """
    sheet.write(["t", "x"], [[0, 1]])
    if sheet.kind == "csv":
        sheet.path.write_text("t, x,x ,,\n0,1,2,,\n")
    else:
        sheet.path.write_text('{"t": 0, "x": 1, "x": 2}\n')
    assert gathered(sheet.source(["t"]), "numbers") == [[[0]]]
    for columns, group in ((["x"], None), (["t"], "x")):
        with pytest.raises(InputError, match=r"has several columns 'x' \[RC042\]"):
            gathered(sheet.source(columns, group=group), "numbers")
    with pytest.raises(ValidationError, match="'t' is named 2 times"):
        sheet.source(["t", "x", "t"])


# Groups of text, and options that would be ignored


@pytest.mark.parametrize(("separator", "joint"), [(None, "\n"), ("", ""), (" / ", " / ")])
def test_texts_of_a_group_are_one_text(sheet, separator, joint):
    """The rows of a group are joined by the separator, a newline where none is named; groups stay
    apart.
    """
    sheet.write(
        ["g", "w"],
        [["x", "good"], ["x", "morning"], ["y", "good night"], ["z", "a"], ["z", "b"], ["z", "c"]],
    )
    source = sheet.source(["w"], group="g", separator=separator)
    assert gathered(source) == [joint.join(["good", "morning"]), "good night", joint.join("abc")]
    sheet.write(["g", "w"], [["x", "a"], ["y", "b"], ["x", "c"]])
    assert gathered(sheet.source(["w"], group="g")) == ["a\nc", "b"]


def test_a_group_is_known_by_its_text(tmp_path, sheet):
    """1 in csv, 1 in JSON and "1" are one group; a row without one, or with a list, has none and is
    refused.
    """
    sheet.write(["g", "a"], [[1, 5], ["1", 6], [2, 7]])
    assert gathered(sheet.source(["a"], group="g"), "numbers") == [[[5], [6]], [[7]]]
    sheet.write(["g", "a"], [[1, 5], [None, 6], ["", 7]])
    for missing in ("error", "forward"):
        with pytest.raises(InputError, match="2 cells(.|\n)*column g: nothing"):
            gathered(sheet.source(["a"], group="g", missing=missing), "numbers")
    assert gathered(sheet.source(["a"], group="g", missing="drop"), "numbers") == [[[5]]]
    with pytest.raises(InputError, match=r"line 2, column g: \[1\] is not text"):
        gathered(
            jsonl_of(tmp_path, '{"g": 1, "a": 1}', '{"g": [1], "a": 1}', columns=["a"], group="g"),
            "numbers",
        )


OPTIONS = {
    "decimal": ",", "delimiter": ";", "encoding": "latin-1", "group": "g", "separator": "-",
    "missing": "forward",
    "columns": ["b", "a"], "path": "other", "label": "l", "fold": "f", "answer": "z",
    "na": ["-"], "longest_gap": 3, "errors": "replace", "header": False, "quote": "'",
    "comment": "#", "thousands": " ", "percent": "share",
    "tags": "t", "time": "ds", "frequency": "month", "gaps": "fill", "time_zone": "UTC",
    "time_numbers": "second", "past_covariates": ["p"], "future_covariates": ["q"],
    "static_covariates": ["s"], "categorical": ["p"],
    "calendar": ["month"], "fourier": {"year": 1}, "holidays": ["2024-12-25"],
}  # fmt: skip
STAMPS = {"time", "frequency", "gaps", "time_zone", "time_numbers"}
OF_STAMPS = {"calendar", "fourier", "holidays"}
COVARIATES = {"past_covariates", "future_covariates", "static_covariates"}


@pytest.mark.parametrize("element", ["numbers", "tokens", "text"])
@pytest.mark.parametrize("model", [CsvOptions, JsonlOptions])
def test_every_option_says_what_it_counts_for(element, model):
    """An option that has no meaning for an element is marked so, and refused when it is set."""
    meaningless = {
        "numbers": {"separator", "answer"},
        "tokens": {"separator", "decimal", "thousands", "percent", *COVARIATES, *OF_STAMPS},
        "text": {"decimal", "thousands", "percent", "missing", *STAMPS, *COVARIATES, *OF_STAMPS},
    }[element]  # fmt: skip
    assert set(model.model_fields) <= set(OPTIONS)
    beside = {
        "header": {"columns": ["1"], "group": "2"},
        "longest_gap": {"missing": "forward"},
        "gaps": {"time": "ds", "missing": "forward"},
        **dict.fromkeys((STAMPS | OF_STAMPS) - {"gaps"}, {"time": "ds"}),
        "categorical": {"past_covariates": ["p"]},
    }
    for name in model.model_fields:
        if element == "text" and name in {"longest_gap", *STAMPS, *OF_STAMPS} - {"time"}:
            continue  # it needs what is refused there
        if name == "categorical" and element != "numbers":
            continue  # it needs what is refused there
        needed = beside.get(name, {})
        table = {"path": "x", "columns": ["a"], "group": "g", **needed, name: OPTIONS[name]}
        if name in meaningless:
            with pytest.raises(
                InputError,
                match=rf"source.{name}: {name} = .* alone, but the vocabulary reads {element}",
            ):
                refuse_unused(model(**table), element)
        else:
            refuse_unused(model(**table), element)


def test_a_separator_needs_a_group(sheet):
    """Without a group there are no rows to join."""
    with pytest.raises(ValidationError, match="separator: .*no group is named"):
        sheet.source(["a"], separator="-")


def test_an_option_that_is_ignored_stops_the_reading(sheet):
    """What `refuse_unused` says is said when the source is read."""
    sheet.write(["w"], [["a"]])
    with pytest.raises(InputError, match=r"missing = 'forward' is for numbers and tokens alone"):
        gathered(sheet.source(["w"], missing="forward"))


def test_a_table_that_is_missing_is_named(sheet):
    """A path without a file is an error when it is read."""
    with pytest.raises(InputError, match=r"there is no file .*table\.(csv|jsonl) \[RC040\]"):
        gathered(sheet.source(["a"]), "numbers")
