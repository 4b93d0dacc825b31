"""How csv and JSON lines are written: quotes, short rows, numbers, types, the line of a fault."""

from __future__ import annotations

import csv
import json
import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import Sheet, csv_of, gathered, jsonl_of

from recurra import InputError
from recurra_sources import files, numbers
from recurra_sources.faults import shortened
from recurra_sources.tables import CsvOptions


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


@given(st.floats(-numbers.LARGEST, numbers.LARGEST), st.sampled_from([".", ","]), st.booleans())
@settings(max_examples=50, deadline=None)
def test_numbers_come_back_as_they_were_written(value, decimal, grouped):
    """What Python writes of a number, with a comma or thousands too, is that number."""
    written = f"{value:,.3f}" if grouped and abs(value) < 1e15 else repr(value)
    if decimal == ",":
        written = written.translate({ord("."): ",", ord(","): "."})
    elif "," in written:
        return
    expected = float(f"{value:.3f}") if grouped and abs(value) < 1e15 else value
    assert numbers.number(written, numbers.Writing(decimal)) == (expected, "")


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


@pytest.mark.parametrize("made", [list, tuple, lambda row: {"a": list(row)}, lambda row: [[*row]]])
def test_of_a_large_cell_no_more_is_made_than_is_shown(made):
    """A list of a million numbers is shown in 60 characters, of which no million is written."""
    small, large = made(range(3)), made(range(1_000_000))
    assert shortened(small) == repr(small)
    tracemalloc.start()
    try:
        assert len(shortened(large)) == 60
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
