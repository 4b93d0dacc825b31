"""Dialects of tables: whatever way a table is written in, it is the table that it was."""

from __future__ import annotations

import gzip
import json
import re
import sys
import tomllib
from fractions import Fraction

import numpy as np
import pytest
from dialects import tables, written
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import block
from pydantic import ValidationError
from sheets import Sheet, csv_of, gathered, jsonl_of, text

from recurra import InputError, Unsuited
from recurra_sources import files, numbers
from recurra_sources.numbers import Writing
from recurra_sources.tables import Csv, CsvOptions, Jsonl, JsonlOptions

laws = settings(deadline=None, max_examples=40)


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


# Whole tables


@laws
@given(tables(), st.sampled_from(["error", "forward", "interpolate", "drop"]))
def test_a_table_in_any_dialect_is_the_plain_one(tmp_path_factory, table, missing):
    """Its numbers are those of the same table of commas and points, and so are its faults."""
    rows, options = table
    folder = tmp_path_factory.mktemp("dialect")
    plain = Sheet(folder, "csv").write(["a", "b"], rows)
    path = folder / "other.csv"
    path.write_text(written(rows, options), encoding="utf-8", newline="")
    names = ["a", "b"] if options["header"] else ["1", "2"]
    other = Csv(CsvOptions(path=str(path), columns=names, missing=missing, **options))

    outcomes = []
    for source in (plain.source(["a", "b"], missing=missing), other):
        try:
            outcomes.append(gathered(source, "numbers"))
        except InputError as error:
            outcomes.append(re.findall(r"\d+ cells?|all \d+ rows", error.problems[0].fact)[:1])
    assert outcomes[0] == outcomes[1]


def test_columns_without_a_header_have_numbers(tmp_path):
    """The first row is data; what is no number, or beyond the last column, is refused."""
    content = "5,x\n6,y\n"
    source = csv_of(tmp_path, content, columns=["1"], label="2", header=False)
    assert gathered(source, "numbers") == [[[5]], [[6]]]
    over = source.over(str(tmp_path / "table.csv"))
    assert gathered(over, "numbers") == [[[5]], [[6]]]
    with pytest.raises(InputError, match="has no column '3'(.|\n)*allowed: 1, 2"):
        gathered(csv_of(tmp_path, content, columns=["3"], header=False), "numbers")
    with pytest.raises(InputError, match="csv:2: the row has 1 cell, and the first row has 2"):
        gathered(csv_of(tmp_path, "1,2\n3\n", columns=["1"], header=False), "numbers")
    with pytest.raises(InputError, match=r"is empty \[RC041\]"):
        gathered(csv_of(tmp_path, "", columns=["1"], header=False), "numbers")
    for name in ("x", "0", "01", "-1", "9" * 5000 + "x"):
        with pytest.raises(ValidationError, match="header: .*called by their number"):
            CsvOptions(path="x", columns=[name], header=False)


def test_comments_are_between_rows_alone(tmp_path):
    """A line inside a quoted cell is none, nor is a mark behind cells; lines are counted all the
    same.
    """
    content = '# first\na,b\n#x\n1,"one\n# two"\n\n# three\n2,# four\n'
    source = csv_of(tmp_path, content, columns=["b"], comment="#")
    assert gathered(source) == ["one\n# two", "# four"]
    assert gathered(csv_of(tmp_path, "#\nx\n#1\n\n2\n", columns=["x"], comment="#"), "text") == [
        "",
        "2",
    ]
    with pytest.raises(InputError, match="line 9, column a: 'x' is not a number"):
        gathered(csv_of(tmp_path, content + "x,1\n", columns=["a"], comment="#"), "numbers")
    with pytest.raises(InputError, match=r"csv:4: .* a quote that is never closed"):
        gathered(csv_of(tmp_path, '#\na,b\n#"\n1,"2\n#\n', columns=["a"], comment="#"))
    with pytest.raises(InputError, match='is a comment: set source.comment = "#"'):
        gathered(csv_of(tmp_path, content, columns=["b"]))


def test_another_quote_or_none(tmp_path):
    """Inside its quotes a mark is doubled; without any, a quote is a letter like another."""
    content = "a|b\n'it''s|so'|\"\n5' 3\"|6\"\n"
    options = {"columns": ["a"], "delimiter": "|"}
    assert gathered(csv_of(tmp_path, content, quote="'", **options)) == ["it's|so", "5' 3\""]
    content = 'a|b\n"x|y"\n"""|\n'
    assert gathered(csv_of(tmp_path, content, quote="", **options)) == ['"x', '"""']


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"quote": "ab"}, "quote(.|\n)*must be one character"),
        ({"quote": "a"}, "quote(.|\n)*no letter"),
        ({"quote": ";", "delimiter": ";"}, "quote: it is the same character as delimiter"),
        ({"thousands": "."}, "thousands: it is the same character as decimal"),
        ({"thousands": ""}, "thousands(.|\n)*must be one character"),
        ({"thousands": "1"}, "thousands(.|\n)*must be one character"),
        ({"decimal": "%"}, "decimal(.|\n)*must be one character"),
        ({"comment": ","}, "comment: it begins with the delimiter"),
        ({"comment": '"#'}, "comment: it begins with the quote"),
        ({"comment": "# "}, "comment(.|\n)*without spaces"),
        ({"na": [""]}, "na(.|\n)*an empty cell, which is one already"),
        ({"na": [" -"]}, "na(.|\n)*spaces around it"),
        ({"na": ["-", "-"]}, "na(.|\n)*'-' is named 2 times"),
        ({"longest_gap": 3}, 'longest_gap: it is for missing = "forward" and "interpolate"'),
        ({"longest_gap": -1}, "longest_gap"),
        ({"percent": "half"}, "percent"),
        ({"errors": "ignore"}, "errors"),
    ],
)
def test_what_contradicts_itself_is_refused(option, words):
    """Each option that cannot be, or not beside another, says so under its name."""
    with pytest.raises(ValidationError, match=words):
        CsvOptions(path="x", columns=["a"], **option)


# Numbers

WRITINGS = {
    Writing(thousands=","): {
        "1,234": 1234, "-1,234,567.5": -1234567.5, "12.5": 12.5, "0.5": 0.5, "1234": 1234,
    },
    Writing(thousands=" "): {
        "1 234": 1234, "1\u00a0234": 1234, "1\u202f234\u2009567": 1234567, "+12 345.": 12345,
    },
    Writing(",", " "): {"1 234,5": 1234.5, "0,5": 0.5},
    Writing(thousands="'"): {"1'234'567": 1234567},
    Writing(thousands="_"): {"1_234": 1234},
    Writing(percent="share"): {
        "12.3 %": 0.123, "7%": 0.07, "-0.5%": -0.005, "3": 3, "1e2%": 1, "nan": None,
    },
    Writing(percent="number"): {"12.3 %": 12.3, "1e2%": 100, "3": 3},
    Writing(",", percent="share"): {"1.234,5 %": 12.345},
}  # fmt: skip
NO_WRITINGS = {
    Writing(thousands=","): ["1,2", "12,34", "1,23,456", "1234,567", "0,123", "1,234e3", "1 234",
        ",123", "1,,234"],
    Writing(thousands=" "): ["1 2", "12 34 567", "1,234", "1\t234"],
    Writing(",", " "): ["1.234,5", "1.5"],
    Writing(percent="share"): ["%", "% 12", "12 %%", "12 % x", "--1%"],
    Writing(): ["12.5 %", "12%", "1 234", "1,234", "1'234"],
    numbers.JSON: ["12%", "1,234"],
}  # fmt: skip


@pytest.mark.parametrize("writing", WRITINGS, ids=str)
def test_what_is_a_number_in_a_writing(writing):
    """Thousands by three digits; per cent of the digits, so that 12.3 % is 0.123 itself."""
    for cell, value in WRITINGS[writing].items():
        assert numbers.number(cell, writing) == (value, "" if value is not None else "missing")


@pytest.mark.parametrize("writing", NO_WRITINGS, ids=str)
def test_what_is_none_in_a_writing(writing):
    """Two numbers, groups of other sizes, and signs in odd places are none."""
    for cell in NO_WRITINGS[writing]:
        value, fault = numbers.number(cell, writing)
        assert value is None and fault.startswith("is not a number")


@pytest.mark.parametrize(
    ("cell", "option"),
    [
        ("1,234", 'source.thousands = ","'),
        ("1,234.5", 'source.thousands = ","'),
        ("1 234", 'source.thousands = " "'),
        ("12.5 %", 'source.percent = "share"'),
        ("11,25", 'source.decimal = ","'),
        ("1'234.50", 'source.thousands = "\'"'),
        ("1\u2019234", 'source.thousands = "\u2019"'),
        ("1.234.567", 'source.decimal = ","'),
        ("12,5 %", 'source.decimal = ","(.|\n)*source.percent = "share"'),
        ("N/A", 'source.na = \\["N/A"\\]'),
        ("-", 'source.na = \\["-"\\]'),
        ("#DIV/0!", 'source.na = \\["#DIV/0!"\\]'),
        ("<NA>", 'source.na = \\["<NA>"\\]'),
    ],
)
def test_a_cell_of_another_dialect_has_its_cure(tmp_path, cell, option):
    """What a cell may be in another dialect is told with the option that reads it so."""
    with pytest.raises(InputError, match=option):
        gathered(csv_of(tmp_path, f"a|b\n1|2\n{cell}|3\n", columns=["a"], delimiter="|"), "numbers")


@pytest.mark.parametrize(
    ("cell", "options"),
    [("12,5 %", {"decimal": ","}), ("1 234 %", {"thousands": " "}), ("1.234 %", {"decimal": ","})],
)
def test_a_sign_behind_a_number_is_all_that_is_wrong(tmp_path, cell, options):
    """A number of the table's own writing is one but for its sign, and nothing else is told."""
    options |= {"columns": ["a"], "delimiter": ";"}
    with pytest.raises(InputError, match="is not a number: for per cent set source.percent = "):
        gathered(csv_of(tmp_path, f"a\n{cell}\n", **options), "numbers")
    csv_of(tmp_path, f"a\n{cell}\n", **options, percent="share")


@laws
@given(
    st.from_regex(r"[+-]?([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})", fullmatch=True),
    st.one_of(st.none(), st.integers(-400, 400), st.integers(-(10**30), 10**30)),
)
def test_a_share_is_the_hundredth(digits, exponent):
    """As exactly as a fraction says, whatever the exponent; what float64 cannot hold is refused."""
    text = digits if exponent is None else f"{digits}e{exponent}"
    share, fault = numbers.number(f"{text}%", Writing(percent="share"))
    if exponent is not None and abs(exponent) > 400:
        nought = exponent < 0 or not float(digits)
        assert (share == 0) if nought else (fault == "is not finite, or too large")
        return
    exact = Fraction(digits) * Fraction(10) ** ((exponent or 0) - 2)
    if abs(exact) > Fraction(sys.float_info.max):
        assert fault == "is not finite, or too large"
    elif abs(exact) > numbers.LARGEST:
        assert fault.startswith("is above 1e+140")
    else:
        assert share == float(exact)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("sep=;\na;b\n1;2\n", 'source.comment = "sep=" and source.delimiter = ";"'),
        ("Report of May\n\na,b\n1,2\n", "take away what stands before it"),
        (",,\na,b\n1,2\n", "take away what stands before it"),
        ('b, "a"\n1, 2\n', "take the space before it away"),
        ('a,b\n1, "2,5"\n', "take the space before it away"),
        ("a\n1\n\u00a0\n", r"line 3, column a: '\\xa0' is missing"),
    ],
)
def test_a_table_of_another_program_has_its_cure(tmp_path, content, words):
    """A line that is for Excel, a title, cells after a space, a space that nobody sees."""
    with pytest.raises(InputError, match=words):
        gathered(csv_of(tmp_path, content, columns=["a"]), "numbers")


def test_cures_are_of_what_is_wrong(tmp_path):
    """A key that one line lacks has another cure than one that none has, and where columns can be
    read as they are, none is named in their place.
    """
    with pytest.raises(InputError, match="line 2, has no column(.|\n)*write null there, or set"):
        gathered(jsonl_of(tmp_path, '{"a": 1}', '{"b": 2}', columns=["a"]), "numbers")
    source = csv_of(tmp_path, "a,l\n1,\n", columns=["a"], label="l")
    with pytest.raises(InputError, match="line 2, column l: nothing") as caught:
        gathered(source, "numbers")
    assert "read others alone" not in str(caught.value)
    source = jsonl_of(tmp_path, '{"a": 1, "l": true}', columns=["a"], label="l")
    with pytest.raises(InputError, match="column l: True is not text") as caught:
        gathered(source, "numbers")
    assert "read others alone" not in str(caught.value)


def test_the_note_for_excel_may_be_a_comment(tmp_path):
    """With the options that are told the table is read."""
    content = "\ufeffsep=;\r\na;b\r\n1;2\r\n"
    source = csv_of(tmp_path, content, columns=["a"], comment="sep=", delimiter=";")
    assert gathered(source, "numbers") == [[[1]]]


# Missing cells


@pytest.mark.parametrize("element", ["numbers", "tokens", "text"])
def test_a_marker_is_an_empty_cell(sheet, element):
    """By its text, spaces aside, for every element and column; by its value for numbers alone."""
    rows = [["g", "1"], ["g", "-999"], ["g", " N/A "], ["g", "-999.0"], ["g", "2"], ["-999", "3"]]
    sheet.write(["g", "a"], rows)
    source = sheet.source(["a"], group="g", missing="drop", na=["-999", "N/A"])
    expected = {
        "numbers": [[[1], [2]]],
        "tokens": [["1", "-999.0", "2"]],
        "text": ["1\n-999.0\n2"],
    }
    assert gathered(source, element) == expected[element]
    with pytest.raises(InputError, match=r"line \d, column a: '-999' is missing"):
        gathered(sheet.source(["a"], group="g", na=["-999"]), element)


def test_a_marker_stands_for_a_whole_sequence(tmp_path):
    """Of tokens that stand in one cell it is looked for before they are taken apart."""
    lines = [
        '{"a": "no data", "l": "x"}',
        '{"a": "b no", "l": "y"}',
        '{"a": [1, -999.0, 3], "l": 1}',
    ]
    options = {"columns": ["a"], "label": "l", "missing": "drop", "na": ["no data", "-999"]}
    assert gathered(jsonl_of(tmp_path, *lines[:2], **options), "tokens") == [["b", "no"]]
    assert gathered(jsonl_of(tmp_path, lines[2], **options), "numbers") == [[[1], [3]]]


gaps = st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=1, max_size=12)


@laws
@given(st.lists(gaps, min_size=1, max_size=3), st.integers(0, 3), st.sampled_from(["csv", "jsonl"]))
def test_interpolation_is_numpys(tmp_path_factory, series, longest, kind):
    """Inside each series gaps are filled as np.interp does; at its ends, and where a gap is longer
    than is said, the cells are named.
    """
    rows = [[name, cell] for name, part in zip("xyz", series, strict=False) for cell in part]
    sheet = Sheet(tmp_path_factory.mktemp("gaps"), kind).write(["g", "a"], rows)
    source = sheet.source(["a"], group="g", missing="interpolate", longest_gap=longest)

    wanted: list = []
    refused: list[int] = []
    line = 0
    for part in series:
        known = [place for place, cell in enumerate(part) if cell is not None]
        for place in range(len(part)):
            before = max((k for k in known if k < place), default=None)
            after = min((k for k in known if k > place), default=None)
            gap = (len(part) if after is None else after) - (-1 if before is None else before) - 1
            if part[place] is None and (None in (before, after) or (longest and gap > longest)):
                refused.append(sheet.row(line))
            line += 1
        wanted.append(np.interp(range(len(part)), known, [part[k] for k in known]) if known else [])
    if refused:
        with pytest.raises(InputError) as caught:
            gathered(source, "numbers")
        lines = re.findall(r"line (\d+), column a: nothing stands here", str(caught.value))
        assert sorted(map(int, lines)) == refused[: len(lines)] or len(refused) > 10
        assert re.search(rf"{len(refused)} cells? cannot", str(caught.value))
        return
    found = gathered(source, "numbers")
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.ravel(one), other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("row", [["", 2], ["-", 2], ["  ", 2]])
def test_a_row_of_no_group_that_is_left_out_is_a_gap(sheet, row):
    """It stands between two rows of one group, as one without a number does."""
    sheet.write(["g", "a"], [["x", 1], row, ["x", 3], row, ["y", 4]])
    source = sheet.source(["a"], group="g", missing="drop", na=["-"])
    assert gathered(source, "numbers") == [[[1], [3]], [[4]]]
    assert source.gaps() == [f"line {sheet.row(1)}"]


def test_a_line_between_the_largest_numbers_is_finite(sheet):
    """The largest that are read: what lies between them is as a line says."""
    top = numbers.LARGEST
    sheet.write(["a", "b"], [[-top, 0], [None, 0], [None, 0], [None, 0], [top, 0]])
    (found,) = gathered(sheet.source(["a"], missing="interpolate"), "numbers")
    np.testing.assert_allclose(np.ravel(found), np.linspace(-1, 1, 5) * top)


def test_columns_are_filled_one_by_one(sheet):
    """Each by its own neighbours; what comes before and after is as it was, in its order."""
    rows = [[1, 8], [None, None], [None, 4], [4, None], [5, 2], [6, 1]]
    source = sheet.write(["a", "b"], rows).source(["a", "b"], missing="interpolate")
    assert gathered(source, "numbers") == [[[1, 8], [2, 6], [3, 4], [4, 3], [5, 2], [6, 1]]]
    with pytest.raises(InputError, match="is for numbers alone"):
        gathered(source, "tokens")


def test_what_cannot_be_read_is_no_gap(sheet):
    """It is told once, for what it is, and fills nothing."""
    rows = [["x", 0], [1, 0], [None, 0], ["y", 0], [2, 0]]
    with pytest.raises(InputError, match="2 cells cannot be read") as caught:
        gathered(sheet.write(["a", "b"], rows).source(["a"], missing="interpolate"), "numbers")
    assert "nothing stands here" not in str(caught.value)


def test_steps_of_one_row_are_filled(tmp_path):
    """A series that stands in one line is a sequence as any other."""
    lines = ['{"x": [1, null, 3], "l": "a"}', '{"x": [[1, 2], null, [2, 4]], "l": "b"}']
    options = {"columns": ["x"], "label": "l", "missing": "interpolate"}
    assert gathered(jsonl_of(tmp_path, lines[0], **options), "numbers") == [[[1], [2], [3]]]
    found = gathered(jsonl_of(tmp_path, lines[1], **options), "numbers")
    assert found == [[[1, 2], [1.5, 3], [2, 4]]]


def test_a_bounded_gap_is_filled_forward(sheet):
    """So many cells one after the other, and no more."""
    rows = [[1, 0], [None, 0], [None, 0], [4, 0], [None, 0]]
    options = {"columns": ["a"], "missing": "forward"}
    sheet.write(["a", "b"], rows)
    assert gathered(sheet.source(**options, longest_gap=2), "numbers") == [
        [[1], [1], [1], [4], [4]]
    ]
    with pytest.raises(InputError, match="in a gap of more than longest_gap = 1") as caught:
        gathered(sheet.source(**options, longest_gap=1), "numbers")
    assert f"line {sheet.row(2)}, column a" in str(caught.value)


# Bytes


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
def test_what_cannot_be_decoded_is_replaced_and_counted(tmp_path, monkeypatch, block, packed):
    """Wherever blocks end, each place becomes U+FFFD, once is said how many there are, and where
    the first is.
    """
    monkeypatch.setattr(files, "BLOCK", block)
    raw = "a,b\néé\ufffdé,1\n".encode() + b"x\xff\xe9y,2\r\n\xc3,3\n"
    path = tmp_path / ("table.csv.gz" if packed else "table.csv")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    source = Csv(CsvOptions(path=str(path), columns=["a"], errors="replace"))
    wanted = ["éé\ufffdé", "x\ufffd\ufffdy", "\ufffd"]
    with pytest.warns(Unsuited, match=r"3 places were no utf-8 text in .* the first is in line 3"):
        assert gathered(source) == wanted
    assert gathered(source) == wanted, "and it is said once"
    with pytest.raises(InputError, match=r"source.errors to replace, which reads U\+FFFD"):
        gathered(Csv(CsvOptions(path=str(path), columns=["a"])))
    with pytest.warns(Unsuited, match="3 places"):
        assert "x\ufffd\ufffdy" in gathered(text(path, errors="replace"))[0]


def test_halves_of_pairs_are_replaced_in_json(tmp_path):
    """JSON can spell them in every value that is read; bytes are replaced as elsewhere."""
    path = tmp_path / "table.jsonl"
    path.write_bytes(b'{"a": "x\\ud83d"}\n{"a": "\xff"}\n{"a": "\\ud83d\\ude00"}\n')
    source = Jsonl(JsonlOptions(path=str(path), columns=["a"], errors="replace"))
    with pytest.warns(Unsuited, match="2 places were no utf-8 text .* line 1"):
        assert gathered(source) == ["x\ufffd", "\ufffd", "\U0001f600"]


def test_another_encoding_is_not_replaced(tmp_path):
    """A file that is written in another encoding as a whole is refused all the same."""
    path = tmp_path / "table.csv"
    path.write_bytes("a,b\n1,2\n".encode("utf-16"))
    with pytest.raises(InputError, match='source.encoding = "utf-16"'):
        gathered(Csv(CsvOptions(path=str(path), columns=["a"], errors="replace")), "numbers")


def test_a_file_given_is_read_in_the_dialect(tmp_path):
    """What a source reads over another file is written as its own was."""
    options = {
        "columns": ["2"], "group": "1", "header": False, "delimiter": ";", "quote": "'",
        "comment": "#", "decimal": ",", "thousands": " ", "percent": "share", "na": ["-"],
        "missing": "interpolate", "longest_gap": 1, "errors": "replace",
    }  # fmt: skip
    source = csv_of(tmp_path, "a;1\n", **options)
    path = tmp_path / "other.csv.gz"
    path.write_bytes(gzip.compress(b"# x\n'a;b';1 234,5\n'a;b';-\n'a;b';12 %\nc;2\n"))
    found = gathered(source.over(str(path)), "numbers")
    np.testing.assert_allclose(found[0], [[1234.5], [617.31], [0.12]])
    assert found[1:] == [[[2]]]
    assert json.loads(source.options.model_dump_json())["na"] == ["-"]


def test_the_page_reads_its_row(tmp_path):
    """The example of the page reads the row that stands above it."""
    first, _, body = block("toml", "# harbours.toml").partition("\n")
    row = first.partition(": ")[2]
    options = tomllib.loads(body)["source"]
    path = tmp_path / options.pop("path")
    path.write_text(f"# none\n{row}\n", encoding=options["encoding"])
    assert options.pop("kind") == "csv"
    assert gathered(Csv(CsvOptions(path=str(path), **options)), "numbers") == [[[1204.5, 0.125]]]
