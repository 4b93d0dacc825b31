"""Tables: the same rows come of csv and of JSON lines, and every fault has its place."""

from __future__ import annotations

import csv
import gzip
import json
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import Sheet, csv_of, gathered, jsonl_of

from recurra import InputError
from recurra_sources import files, numbers
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
    monkeypatch.setattr("recurra_sources.columns.CHUNK", chunk)
    sheet.write(["g", "a"], [["x", 1], ["x", 2], ["x", 3], ["y", 4], ["z", 5]])
    assert gathered(sheet.source(["a"], group="g"), "numbers") == [[[1], [2], [3]], [[4]], [[5]]]
    assert gathered(sheet.source(["a"]), "numbers") == [[[1], [2], [3], [4], [5]]]
    assert gathered(sheet.source(["g"], group="g"), "tokens") == [["x"] * 3, ["y"], ["z"]]


def test_a_scattered_group_is_refused(sheet):
    """A group that comes again after another one would be cut in two: the group is named, and the
    cure is to sort.
    """
    sheet.write(["g", "a"], [["x", 1], ["y", 2], ["x", 3]])
    with pytest.raises(InputError, match="'x' comes again(.|\n)*sort the file by g"):
        gathered(sheet.source(["a"], group="g"), "numbers")


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
        InputError, match=rf"2 columns are named, but {element} are read from one \[RC030\]"
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


def test_quoted_cells_hold_newlines_and_delimiters(tmp_path):
    """A quoted text is one cell, whatever is in it; doubled quotes are one."""
    source = csv_of(tmp_path, 'a,b\r\n"one\r\ntwo, ""three""",1\r\n,2\r\nfour,3\r\n', columns=["a"])
    assert gathered(source) == ['one\r\ntwo, "three"', "", "four"]


def test_a_short_row_lacks_its_last_cells(tmp_path):
    """Which cell a short row lacks is not known: it is refused, or under the other policies its
    last ones are missing.

    An empty line is no row, and counts as a line.
    """
    content = "\na,b\n1,2\n\n3\n5,6\n"
    source = csv_of(tmp_path, content, columns=["a", "b"], missing="drop")
    assert gathered(source, "numbers") == [[[1, 2], [5, 6]]]
    source = csv_of(tmp_path, content, columns=["a", "b"], missing="forward")
    assert gathered(source, "numbers") == [[[1, 2], [3, 2], [5, 6]]]
    assert gathered(csv_of(tmp_path, "a,b,,\n1,2\n3,4,,\n5,6,7,8\n", columns=["b"]), "numbers") == [
        [[2], [4], [6]]
    ]
    for columns in (["a"], ["b"], ["a", "b"]):
        with pytest.raises(
            InputError, match=r"csv:5: the row has 1 cell, and the header names 2 columns \[RC042\]"
        ):
            gathered(csv_of(tmp_path, content, columns=columns), "numbers")


@pytest.mark.parametrize("element", ["numbers", "tokens", "text"])
@settings(max_examples=25, deadline=None)
@given(
    blank=st.lists(st.booleans(), min_size=1, max_size=8), end=st.sampled_from(["\n", "\r\n", ""])
)
def test_a_blank_line_of_one_column_is_an_empty_cell(element, blank, end, tmp_path_factory):
    """Between rows it is read as the quoted empty cell is, under every policy; after the last row
    it is nothing.
    """

    def outcome(empty, missing, tail):
        lines = [empty if each else f"{index}" for index, each in enumerate(blank)]
        content = "\n\nx\n" + "".join(f"{line}\n" for line in [*lines, "8"]) + tail
        source = csv_of(tmp_path_factory.mktemp("one"), content, columns=["x"], missing=missing)
        try:
            return gathered(source, element), source.gaps()
        except InputError as error:
            return error.problems[0].fact.partition("table.csv")[2]

    policies = ["error", "drop"] if element == "text" else ["error", "drop", "forward"]
    for missing in policies:
        assert outcome("", missing, end * 3) == outcome('""', missing, "")


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


@pytest.mark.parametrize("missing", ["error", "forward", "drop"])
def test_a_long_row_is_refused(tmp_path, missing):
    """Cells beyond the header mean that one before them was cut in two; empty ones at the end mean
    nothing.
    """
    source = csv_of(
        tmp_path, "month,sales\n2020-01,11,,\n2020-02,12, \n", columns=["sales"], missing=missing
    )
    assert gathered(source, "numbers") == [[[11], [12]]]
    for row in ("2020-03,11,1", "2020-03,,11", '"two\nlines",11,1,'):
        source = csv_of(
            tmp_path, f"month,sales\n2020-01,11\n{row}\n", columns=["sales"], missing=missing
        )
        with pytest.raises(
            InputError, match=r"csv:3: the row has [34] cells, and the header names 2(.|\n)*quotes"
        ):
            gathered(source, "numbers")


NUMBERS = {
    ".": {"1.5": 1.5, " -2 ": -2, "+.5": 0.5, "7.": 7, "1e3": 1000, "1E-2": 0.01, "\u00a04\t": 4,
        "1e-999": 0,
          "9007199254740993": 2.0**53, "0012": 12},
    ",": {"1.234,5": 1234.5, " -0,25 ": -0.25, "7": 7, "1e3": 1000, "1.234.567": 1234567,
        "-12.345": -12345,
          ",5": 0.5, "1234,5": 1234.5},
    "\u00b7": {"1\u00b75": 1.5, "12": 12},
}  # fmt: skip
NO_NUMBERS = {
    ".": ["1,5", "1,234.5", "1,234", "1_000", "0x10", "\uff11\uff12", "1e400", "inf", "-Infinity",
        "1 000", "1.2.3",
          "--1", "9" * 5000, "1\x01", "true", "\u0661", "1e", "12%"],
    ",": ["11.25", "1.2345", "0.125", "1.23,5", "12.34.567", "1234.567", "1,2,3", "1,234.5", ".5",
        "1.234e3", "1_0,5"],
    "\u00b7": ["1.5", "1,5", "1.234\u00b75"],
}  # fmt: skip


@pytest.mark.parametrize("decimal", NUMBERS)
def test_what_is_a_number(tmp_path, decimal):
    """With a decimal comma, points group the thousands by three digits; else nothing groups
    them.
    """
    options = {"columns": ["a"], "delimiter": "|", "decimal": decimal}
    rows = "".join(f"{cell}|0\n" for cell in NUMBERS[decimal])
    source = csv_of(tmp_path, f"a|b\n{rows}", **options)
    assert gathered(source, "numbers") == [[[value] for value in NUMBERS[decimal].values()]]
    for cell in NO_NUMBERS[decimal]:
        with pytest.raises(
            InputError,
            match=r"1 cell cannot be read\n +line 3, column a: .+ is not (a number|finite)",
        ):
            gathered(csv_of(tmp_path, f"a|b\n1|0\n{cell}|0\n", **options), "numbers")


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([".", ","]), st.booleans())
@settings(max_examples=50, deadline=None)
def test_numbers_come_back_as_they_were_written(value, decimal, grouped):
    """What Python writes of a number, with a comma or thousands too, is that number."""
    written = f"{value:,.3f}" if grouped and abs(value) < 1e15 else repr(value)
    if decimal == ",":
        written = written.translate({ord("."): ",", ord(","): "."})
    elif "," in written:
        return
    expected = float(f"{value:.3f}") if grouped and abs(value) < 1e15 else value
    assert numbers.number(written, decimal) == (expected, "")


def test_a_comma_has_a_cure(tmp_path):
    """Where decimals stand after a comma, the option is named; where points do not group, the rule
    is.
    """
    with pytest.raises(InputError, match=r"'11,25' is not a number: .*set source.decimal = \",\""):
        gathered(csv_of(tmp_path, "a;b\n11,25;1\n", columns=["a"], delimiter=";"), "numbers")
    with pytest.raises(
        InputError,
        match=r"'11.25' is not a number: with decimal = \",\" points group the thousands",
    ):
        gathered(csv_of(tmp_path, "a\n11.25\n", columns=["a"], decimal=","), "numbers")
    with pytest.raises(
        InputError, match="'11,25' is not a number: in JSON decimals stand after a point"
    ):
        gathered(jsonl_of(tmp_path, '{"a": "11,25"}', columns=["a"]), "numbers")


@given(
    cell=st.sampled_from(["1,5", "1.234,5", "1.5x", "x", "1 000", "12%"]),
    kind=st.sampled_from(["csv", "jsonl"]),
)
@settings(max_examples=12, deadline=None)
def test_no_cure_names_an_option_that_there_is_not(cell, kind, tmp_path_factory):
    """Whatever cannot be read, what its source is told to set is an option of that source."""
    sheet = Sheet(tmp_path_factory.mktemp("cure"), kind).write(["a", "b"], [[1, 2]])
    row = f'"{cell}",2\n' if kind == "csv" else json.dumps({"a": cell, "b": 2}) + "\n"
    sheet.path.write_text(sheet.path.read_text() + row)
    source = sheet.source(["a"])
    with pytest.raises(InputError) as caught:
        gathered(source, "numbers")
    assert set(re.findall(r"source\.(\w+)", str(caught.value))) <= set(
        type(source.options).model_fields
    )


@pytest.mark.parametrize("content", ["", "\n", "\n\r\n"])
def test_an_empty_csv_has_no_header(tmp_path, content):
    """A file without a row cannot name its columns; one with nothing but names gives nothing."""
    with pytest.raises(
        InputError, match=r"is empty: a csv file begins with the names of its columns \[RC041\]"
    ):
        gathered(csv_of(tmp_path, content, columns=["a"]), "numbers")
    assert gathered(csv_of(tmp_path, "a,b\n", columns=["a"]), "numbers") == []


def test_a_long_cell_is_read_and_the_limit_of_the_process_stays(tmp_path):
    """A cell may be longer than the csv module takes by default; that default is as before, after
    errors too.
    """
    before = csv.field_size_limit()
    long = "x" * 200_000
    assert gathered(csv_of(tmp_path, f"a,b\n{long},1\n", columns=["a"])) == [long]
    reader = csv_of(tmp_path, f"a,b\n{long},1\n", columns=["a"]).read("text")
    next(reader)
    assert csv.field_size_limit() == before
    with pytest.raises(InputError, match="has no column 'a'"):
        gathered(csv_of(tmp_path, long, columns=["a"]))
    assert csv.field_size_limit() == before


def test_a_cell_without_end_is_refused(tmp_path, monkeypatch):
    """A quote that is never closed takes no more memory than a cell may: the row is named where it
    begins.
    """
    monkeypatch.setattr(files, "LONGEST", 100)
    content = 'a,b\n1,2\n3,"4\n' + "5,6\n" * 1000
    with pytest.raises(
        InputError,
        match=r"csv:3: a cell of the row that begins here is longer(.|\n)*quote never closed",
    ):
        gathered(csv_of(tmp_path, content, columns=["a"]))
    with pytest.raises(InputError, match=r"jsonl:2: the line is longer than 100 characters"):
        gathered(jsonl_of(tmp_path, '{"a": "1"}', '{"a": "' + "1" * 200 + '"}', columns=["a"]))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('1,"2\n3,4\n', r"csv:3: .* a quote that is never closed"),
        (
            '1,"2\n3,"4"\n5,6\n',
            r"csv:3: in the row that begins here and goes on to line 4 something stands after",
        ),
        ('"1"2,3\n', r"csv:3: in the row that begins here something stands after a closing quote"),
    ],
)
def test_quotes_that_do_not_fit_have_a_line(tmp_path, rows, words):
    """It is the line where the row began that swallowed the others; a quote inside a plain cell is
    a letter.
    """
    source = csv_of(tmp_path, "a,b\n0,0\n" + rows, columns=["a"])
    with pytest.raises(InputError, match=rf"{words}(.|\n)*written twice"):
        gathered(source)
    assert gathered(csv_of(tmp_path, 'a,b\n5" pipe,\x01\n', columns=["a"])) == ['5" pipe']


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_rows_end_as_lines_do(tmp_path, sheet, ends):
    """LF, CRLF and CR end a row; what else Unicode takes for a line end stands in a cell."""
    odd = "a\x0bb\x0cc\x1cd\x85e\u2028f"
    sheet.write(["w"], [[odd], ["two"]])
    sheet.path.write_bytes(sheet.path.read_text().replace("\n", ends).encode())
    assert gathered(sheet.source(["w"])) == [odd, "two"]


@pytest.mark.parametrize("option", ["delimiter", "decimal"])
@pytest.mark.parametrize("mark", ["", "||", '"', "\n"])
def test_a_mark_is_one_character(option, mark):
    """Delimiter and decimal mark are one character each, and none that means something else."""
    with pytest.raises(ValidationError, match="must be one character"):
        CsvOptions(path="x", columns=["a"], **{option: mark})


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("1,2.5", "numbers alone: put a row with the names"),
        ("x;y", 'source.delimiter = ";"'),
        ("x\ty", r'source.delimiter = "\\t"'),
        ("\ufeff\u200b x ,y", "did you mean: \u200b x"),
        ("X,y", "did you mean: X"),
        ("# hi", "the first line is a comment"),
        ("// x, y", "the first line is a comment"),
    ],
)
def test_a_header_that_lacks_a_column_is_read_for_why(tmp_path, header, words):
    """No header at all, another delimiter, or a name that differs by what nobody sees."""
    with pytest.raises(InputError, match=rf"has no column 'x'(.|\n)*{words}"):
        gathered(csv_of(tmp_path, f"{header}\n1,2\n", columns=["x"]), "numbers")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"a": 2', r":3:8 is not JSON"),
        ("[1, 2]", r":3 is not a JSON object"),
        ("7", r":3 is not a JSON object"),
        ('{"b": 2}', r", line 3, has no column 'a'(.|\n)*allowed: b"),
        ('{"a": NaN}', ":3 cannot be read: NaN is no number of JSON"),
        ('{"a": -Infinity}', ":3 cannot be read: -Infinity is no number of JSON"),
        ('{"a": 1, "b": 2, "a": 1}', ", line 3, has several columns 'a'"),
        ('{"a": 1, "b\\udc00": 2}', r":3: a key holds '.udc00', half a surrogate pair"),
        ('{"a": "x\\ud83d"}', r":3: the value of 'a' holds '.ud83d', half a surrogate pair"),
        ('{"a": ' + "9" * 5000 + "}", "(.|\n)*line 3, column a: 9+... is not finite"),
        ('{"a": 1e999}', "(.|\n)*line 3, column a: 1e999 is not finite"),
        ("[" * 100_000, ":3 cannot be read: its brackets stand one inside another too often"),
    ],
)
def test_a_bad_line_of_json_has_its_number(tmp_path, line, words):
    """The error gives file and line; empty lines are counted and skipped."""
    with pytest.raises(InputError, match=rf"table\.jsonl{words}"):
        gathered(jsonl_of(tmp_path, '{"a": 1}', "", line, columns=["a"]), "numbers")


def test_json_has_types_of_its_own(tmp_path):
    """null is missing, true is no number, and a number in quotes is one, read as in a csv file."""
    lines = [
        '{"a": "1.5"}',
        '{"a": null}',
        '{"a": " "}',
        '{"a": "nan"}',
        '{"b": 7}',
        '{"a": 2}',
        '{"a": -2.50e1}',
    ]
    source = jsonl_of(tmp_path, *lines, columns=["a"], missing="drop")
    assert gathered(source, "numbers") == [[[1.5], [2], [-25]]]
    lines = ['{"a": true}', '{"a": [1]}', '{"a": "1_0"}', '{"a": {"b": 1}}']
    with pytest.raises(InputError, match="4 cells") as caught:
        gathered(jsonl_of(tmp_path, *lines, columns=["a"]), "numbers")
    for line, shown in enumerate(("True", "['1']|[1]", "'1_0'", "{'b': 1}"), 1):
        assert any(
            f"line {line}, column a: {form} is not a number" in str(caught.value)
            for form in shown.split("|")
        )


@pytest.mark.parametrize(
    "written", [json.dumps, lambda rows: json.dumps(rows, indent=1), lambda rows: "[" * 5000]
)
def test_an_array_gets_one_cure(tmp_path, written):
    """However a file of one array is laid out, each element must get a line of its own."""
    with pytest.raises(
        InputError,
        match=r"table\.jsonl:1(.|\n)*in a file of one array each element must get a line",
    ):
        gathered(jsonl_of(tmp_path, written([{"a": 1}, {"a": 2}]), columns=["a"]), "numbers")


@pytest.mark.parametrize("element", ["text", "tokens"])
def test_what_is_no_text_is_refused(tmp_path, element):
    """A list, an object or true under a column of text is an error; a number is a text as it is
    written.
    """
    lines = ['{"a": 1.50}', '{"a": "x"}', '{"a": -0}', '{"a": 12345678901234567890}']
    found = gathered(jsonl_of(tmp_path, *lines, columns=["a"]), element)
    texts = ["1.50", "x", "-0", "12345678901234567890"]
    assert found == (texts if element == "text" else [texts])
    assert all(type(each) is str for run in found for each in run)
    lines = ['{"a": "x"}', '{"a": ["a", "b"]}', '{"a": {"b": 1}}', '{"a": true}', '{"a": null}']
    with pytest.raises(InputError, match="4 cells cannot be read") as caught:
        gathered(jsonl_of(tmp_path, *lines, columns=["a"]), element)
    for line, shown in (
        (2, "['a', 'b'] is not text"),
        (3, "{'b': 1} is not text"),
        (4, "True is not text"),
        (5, "nothing"),
    ):
        assert f"line {line}, column a: {shown}" in str(caught.value)


def test_a_key_may_lack_in_some_lines_but_not_in_all(tmp_path):
    """Under "drop" a line without the key is left out; where none has it, the name is wrong."""
    lines = ['{"text": "a"}', '{"other": "b"}']
    assert gathered(jsonl_of(tmp_path, *lines, columns=["text"], missing="drop")) == ["a"]
    with pytest.raises(InputError, match="has no column 'Text'(.|\n)*did you mean: text"):
        gathered(jsonl_of(tmp_path, lines[0], columns=["Text"], missing="drop"))
    with pytest.raises(InputError, match="line 2, has no column 'text'"):
        gathered(jsonl_of(tmp_path, *lines, columns=["text"]))


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
    with pytest.raises(InputError, match="'x' comes again(.|\n)*sort the file by g"):
        gathered(sheet.source(["w"], group="g"))


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
    "columns": ["b", "a"], "path": "other", "label": "l", "fold": "f",
}  # fmt: skip


@pytest.mark.parametrize("element", ["numbers", "tokens", "text"])
@pytest.mark.parametrize("model", [CsvOptions, JsonlOptions])
def test_every_option_says_what_it_counts_for(element, model):
    """An option that has no meaning for an element is marked so, and refused when it is set."""
    meaningless = {
        "numbers": {"separator"}, "tokens": {"separator", "decimal"},
        "text": {"decimal", "missing"},
    }[element]  # fmt: skip
    assert set(model.model_fields) <= set(OPTIONS)
    for name in model.model_fields:
        table = {"path": "x", "columns": ["a"], "group": "g", name: OPTIONS[name]}
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
