"""Sources: what files, tables and the task itself hold comes out as it is, and every fault has its place."""

from __future__ import annotations

import gzip
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recurra import InputError
from recurra_sources import files, tables
from recurra_sources.inline import Inline, InlineOptions
from recurra_sources.python_docs import PythonDocs, PythonDocsOptions
from recurra_sources.tables import Csv, CsvOptions, Jsonl, JsonlOptions
from recurra_sources.text import Text, TextOptions


def gathered(source, element="text"):
    """Return the sequences of a source, pieces of one sequence put together."""
    found = []
    for values, start in source.read(element):
        if start or not found:
            found.append([])
        found[-1].append(values)
    joins = {"text": "".join, "tokens": lambda parts: sum(parts, []), "numbers": lambda p: np.concatenate(p).tolist()}
    return [joins[element](parts) for parts in found]


def text(path, **options):
    return Text(TextOptions(path=str(path), **options))


# Text files


def test_files_come_in_the_order_of_their_names(tmp_path):
    """A pattern gives its files sorted, several patterns one after the other, and no file twice."""
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text(f"in {name}\n")
    assert gathered(text(tmp_path / "*.txt")) == ["in a.txt\n", "in b.txt\n"]
    paths = [str(tmp_path / name) for name in ("c.md", "*.txt", "a.*")]
    assert gathered(Text(TextOptions(paths=paths))) == ["in c.md\n", "in a.txt\n", "in b.txt\n"]


@settings(deadline=None, max_examples=40)
@given(content=st.text(st.characters(codec="utf-8"), max_size=60), block=st.integers(1, 9), packed=st.booleans())
def test_a_file_is_one_text_or_its_lines(content, block, packed, tmp_path_factory):
    """Whatever the block size, the file's text comes whole; by line, joined it is the same and no line is cut."""
    content = content.removeprefix("\ufeff")
    path = tmp_path_factory.mktemp("text") / ("file.gz" if packed else "file.txt")
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", block)
        assert gathered(text(path)) == ([content] if content else [])
        lines = gathered(text(path, each="line"))
    assert "".join(lines) == content
    assert lines == [line + "\n" for line in content.split("\n")[:-1]] + [content.split("\n")[-1]] * (
        not content.endswith("\n") and content != ""
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig"])
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_encodings(tmp_path, monkeypatch, encoding, block):
    """A file in a named encoding is read as that, also when a block ends inside a character."""
    monkeypatch.setattr(files, "BLOCK", block)
    (tmp_path / "file").write_bytes("naïve café\r\nÿ\n".encode(encoding))
    assert gathered(text(tmp_path / "file", encoding=encoding)) == ["naïve café\r\nÿ\n"]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1 << 20])
@pytest.mark.parametrize(
    ("raw", "encoding", "at", "byte"),
    [
        (b"ab\xff cd", "utf-8", 2, "0xff"),
        (b"abc\xc3\xa9\xc3(", "utf-8", 5, "0xc3"),
        (b"one two \xe2\x82", "utf-8", 8, "0xe2"),
        (b"\xe2\x82\xac\xe2\x28\xa1", "utf-8", 3, "0xe2"),
        (b"plain\xe9", "ascii", 5, "0xe9"),
        ("ab".encode("utf-16-le") + b"\x00\xdc", "utf-16-le", 4, "0x00"),
    ],
)
def test_a_bad_byte_has_its_offset(tmp_path, monkeypatch, block, raw, encoding, at, byte):
    """The error names the file, the encoding, the byte and where it stands, whatever the block size."""
    monkeypatch.setattr(files, "BLOCK", block)
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(InputError, match=rf"file is not {encoding} text: byte {byte} at offset {at} \[RC040\]"):
        gathered(text(tmp_path / "file", encoding=encoding))


def test_utf16_needs_its_mark(tmp_path):
    """A file without the byte-order mark that its encoding needs is a clear error."""
    (tmp_path / "file").write_bytes(b"abcd")
    with pytest.raises(InputError, match=r"not utf-16 text: .*BOM.* \[RC040\]"):
        gathered(text(tmp_path / "file", encoding="utf-16"))


@pytest.mark.parametrize("encoding", ["utf-99", "hex", "rot13", "zlib", "undefined", ""])
def test_an_encoding_that_is_none_is_refused_with_the_task(encoding):
    """An unknown name, or a codec that is not of text, is found when the task file is checked."""
    for model, table in ((TextOptions, {}), (CsvOptions, {"columns": ["a"]}), (JsonlOptions, {"columns": ["a"]})):
        with pytest.raises(ValidationError, match=f"Python knows no encoding '{encoding}'"):
            model(path="x", encoding=encoding, **table)


@pytest.mark.parametrize("each", ["file", "line"])
def test_a_byte_order_mark_is_no_text(tmp_path, monkeypatch, each):
    """A mark at the start of a file is left out; one that stands later is text."""
    monkeypatch.setattr(files, "BLOCK", 2)
    (tmp_path / "file").write_bytes("\ufeffa\ufeff\n".encode())
    assert gathered(text(tmp_path / "file", each=each)) == ["a\ufeff\n"]


def test_what_is_no_file_is_named(tmp_path):
    """Missing files, directories and patterns without a match are told apart."""
    cases = [
        (tmp_path / "none.txt", "there is no file .*none.txt"),
        (tmp_path, "is a directory"),
        (tmp_path / "*.none", r"no file matches .*\*\.none"),
    ]
    for path, words in cases:
        for use in (lambda source: list(source.read("text")), lambda source: source.fingerprint()):
            with pytest.raises(InputError, match=rf"{words} \[RC040\]"):
                use(text(path))


def test_empty_files_give_nothing(tmp_path):
    """An empty file has no piece, and does not merge its neighbours."""
    for name, content in (("a", "one"), ("b", ""), ("c", "two")):
        (tmp_path / name).write_text(content)
    assert gathered(text(tmp_path / "*")) == ["one", "two"]
    assert gathered(text(tmp_path / "b")) == []


@pytest.mark.parametrize("damage", ["cut", "not gzip", "checksum"])
def test_a_damaged_gz_is_a_clear_error(tmp_path, damage):
    """A file that ends too soon, is not packed at all, or has a wrong sum, cannot be read."""
    raw = gzip.compress(os.urandom(5000))
    broken = {"cut": raw[:-2000], "not gzip": b"plain text", "checksum": raw[:-8] + b"\0" * 8}[damage]
    (tmp_path / "file.gz").write_bytes(broken)
    with pytest.raises(InputError, match=r"file\.gz cannot be read: .*\[RC040\]"):
        gathered(text(tmp_path / "file.gz", encoding="latin-1"))


def test_path_and_paths_exclude_each_other():
    """Exactly one of both is given, and not an empty list."""
    for options in ({}, {"path": "a", "paths": ["b"]}, {"paths": []}):
        with pytest.raises(ValidationError, match="give exactly one of path and paths"):
            TextOptions(**options)


def test_a_fingerprint_follows_the_files(tmp_path):
    """It is the same while nothing changes, and another after an edit or a new file."""
    (tmp_path / "a.txt").write_text("one")
    source = text(tmp_path / "*.txt")
    seen = [source.fingerprint(), source.fingerprint()]
    (tmp_path / "a.txt").write_text("four")
    seen.append(source.fingerprint())
    (tmp_path / "b.txt").write_text("")
    seen.append(source.fingerprint())
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


# Tables


class Sheet:
    """Writes the same rows as csv and as JSON lines."""

    def __init__(self, folder, kind):
        self.path, self.kind = folder / f"table.{kind}", kind

    def write(self, names, rows):
        if self.kind == "csv":
            lines = [",".join(names), *[",".join("" if cell is None else str(cell) for cell in row) for row in rows]]
        else:
            lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        self.path.write_text("".join(line + "\n" for line in lines))
        return self

    def row(self, index):
        """Return how the file counts the row that was written at an index."""
        return index + (2 if self.kind == "csv" else 1)

    def source(self, columns, **options):
        source, model = {"csv": (Csv, CsvOptions), "jsonl": (Jsonl, JsonlOptions)}[self.kind]
        return source(model(path=str(self.path), columns=columns, **options))


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
    """Rows that follow each other with the same group are one sequence, in whatever chunks they come."""
    monkeypatch.setattr(tables, "CHUNK", chunk)
    sheet.write(["g", "a"], [["x", 1], ["x", 2], ["x", 3], ["y", 4], ["z", 5]])
    assert gathered(sheet.source(["a"], group="g"), "numbers") == [[[1], [2], [3]], [[4]], [[5]]]
    assert gathered(sheet.source(["a"]), "numbers") == [[[1], [2], [3], [4], [5]]]
    assert gathered(sheet.source(["g"], group="g"), "tokens") == [["x"] * 3, ["y"], ["z"]]


def test_a_scattered_group_is_refused(sheet):
    """A group that comes again after another one would be cut in two: the group is named, and the cure is to sort."""
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
    with pytest.raises(InputError, match=rf"2 columns are named, but {element} are read from one \[RC030\]"):
        gathered(sheet.source(["a", "b"]), element)


GAPS = [[1, 10], [None, 20], [3, None], [None, None], [5, 50]]


def test_missing_cells_are_reported_all_at_once(sheet):
    """Under "error" every empty cell is listed with its row and column."""
    with pytest.raises(InputError, match=r"4 cells cannot be read(.|\n)*RC042") as caught:
        gathered(sheet.write(["a", "b"], GAPS).source(["a", "b"]), "numbers")
    for index, name in ((1, "a"), (2, "b"), (3, "a"), (3, "b")):
        assert f"row {sheet.row(index)}, column {name}: nothing\n" in f"{caught.value}\n".replace(" [RC042]", "")


def test_missing_cells_take_the_value_before_or_lose_their_row(sheet):
    """forward repeats the last value of the column; drop leaves the row out."""
    sheet.write(["a", "b"], GAPS)
    forward = gathered(sheet.source(["a", "b"], missing="forward"), "numbers")
    assert forward == [[[1, 10], [1, 20], [3, 20], [3, 20], [5, 50]]]
    assert gathered(sheet.source(["a", "b"], missing="drop"), "numbers") == [[[1, 10], [5, 50]]]
    assert gathered(sheet.source(["a"], missing="drop"), "numbers") == [[[1], [3], [5]]]


def test_nothing_is_carried_from_one_sequence_to_the_next(sheet):
    """forward has no value at the start of a file or of a group: that cell is missing."""
    sheet.write(["g", "a"], [["x", 1], ["x", None], ["y", None], ["y", 4]])
    with pytest.raises(InputError, match=rf"1 cell cannot be read\n +row {sheet.row(2)}, column a: nothing"):
        gathered(sheet.source(["a"], group="g", missing="forward"), "numbers")
    sheet.write(["g", "a"], [["x", None], ["x", 1]])
    with pytest.raises(InputError, match=rf"row {sheet.row(0)}, column a: nothing"):
        gathered(sheet.source(["a"], missing="forward"), "numbers")


@pytest.mark.parametrize("missing", ["error", "forward", "drop"])
def test_what_is_no_number_is_an_error_under_every_policy(sheet, missing):
    """Text, infinity and a number beyond all bounds are not missing: they are wrong, and shown."""
    huge = 10**400
    sheet.write(["a"], [[1], ["two"], [huge], ["inf"], [4]])
    with pytest.raises(InputError, match="3 cells cannot be read") as caught:
        gathered(sheet.source(["a"], missing=missing), "numbers")
    for index, shown in ((1, "'two'"), (2, "10000"), (3, "'inf'")):
        assert f"row {sheet.row(index)}, column a: " in str(caught.value)
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


def csv_of(tmp_path, content, **options):
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode())
    return Csv(CsvOptions(path=str(path), **options))


def test_quoted_cells_hold_newlines_and_delimiters(tmp_path):
    """A quoted text is one cell, whatever is in it; doubled quotes are one."""
    source = csv_of(tmp_path, 'a,b\r\n"one\r\ntwo, ""three""",1\r\n,2\r\nfour,3\r\n', columns=["a"])
    assert gathered(source) == ['one\r\ntwo, "three"', "", "four"]


def test_short_rows_are_missing_cells_and_blank_lines_are_no_rows(tmp_path):
    """A row that ends early lacks its last cells; an empty line counts as a line and nothing else."""
    source = csv_of(tmp_path, "\na,b\n1,2\n\n3\n5,6,7\n", columns=["a", "b"], missing="drop")
    assert gathered(source, "numbers") == [[[1, 2], [5, 6]]]
    with pytest.raises(InputError, match=r"1 cell cannot be read\n +row 5, column b: nothing"):
        gathered(csv_of(tmp_path, "\na,b\n1,2\n\n3\n", columns=["a", "b"]), "numbers")


def test_a_decimal_comma(tmp_path):
    """With decimal = "," points group the thousands; with a point a comma is no number."""
    content = "a;b\n1.234,5; -0,25 \n7;1e3\n"
    source = csv_of(tmp_path, content, columns=["a", "b"], delimiter=";", decimal=",")
    assert gathered(source, "numbers") == [[[1234.5, -0.25], [7, 1000]]]
    with pytest.raises(InputError, match="2 cells cannot be read"):
        gathered(csv_of(tmp_path, content, columns=["a", "b"], delimiter=";"), "numbers")


@pytest.mark.parametrize("content", ["", "\n", "\n\r\n"])
def test_an_empty_csv_has_no_header(tmp_path, content):
    """A file without a row cannot name its columns; one with nothing but names gives nothing."""
    with pytest.raises(InputError, match=r"is empty: a csv file begins with the names of its columns \[RC041\]"):
        gathered(csv_of(tmp_path, content, columns=["a"]), "numbers")
    assert gathered(csv_of(tmp_path, "a,b\n", columns=["a"]), "numbers") == []


@pytest.mark.parametrize("content", ["x" * 200_000, "a\n" + "x" * 200_000])
def test_a_file_that_is_no_csv_is_a_clear_error(tmp_path, content):
    """A cell beyond the reader's limit is reported with its row, in the header too."""
    with pytest.raises(InputError, match=r"table.csv, row \d: .*limit.* \[RC042\]"):
        gathered(csv_of(tmp_path, content, columns=["a"]))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"a": 2', r":3:8 is not JSON"),
        ("[1, 2]", r":3 is not a JSON object"),
        ("7", r":3 is not a JSON object"),
        ('{"b": 2}', r", line 3, has no column 'a'(.|\n)*allowed: b"),
        ('{"a": ' + "9" * 5000 + "}", ":3 cannot be read: .*digits"),
        ("[" * 100_000, ":3 cannot be read: .*recursion"),
    ],
)
def test_a_bad_line_of_json_has_its_number(tmp_path, line, words):
    """The error gives file and line; empty lines are counted and skipped."""
    path = tmp_path / "table.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{line}\n')
    with pytest.raises(InputError, match=rf"table\.jsonl{words}"):
        gathered(Jsonl(JsonlOptions(path=str(path), columns=["a"])), "numbers")


def test_json_has_types_of_its_own(tmp_path):
    """null is missing, true is no number, a number in quotes is one, NaN is missing."""
    path = tmp_path / "table.jsonl"
    path.write_text('{"a": "1.5"}\n{"a": null}\n{"a": NaN}\n{"a": 2}\n')
    options = {"path": str(path), "columns": ["a"], "missing": "drop"}
    assert gathered(Jsonl(JsonlOptions(**options)), "numbers") == [[[1.5], [2]]]
    path.write_text('{"a": true}\n{"a": [1]}\n')
    with pytest.raises(InputError, match=r"2 cells(.|\n)*row 1, column a: True\n +row 2, column a: \[1\]"):
        gathered(Jsonl(JsonlOptions(**options)), "numbers")


def test_a_table_that_is_missing_is_named(sheet):
    """A path without a file is an error when it is read."""
    with pytest.raises(InputError, match=r"there is no file .*table\.(csv|jsonl) \[RC040\]"):
        gathered(sheet.source(["a"]), "numbers")


# In the task file, and in Python


@pytest.mark.parametrize(
    ("options", "element", "wanted"),
    [
        ({"text": "hello"}, "text", ["hello"]),
        ({"text": "a\0\r\n"}, "text", ["a\0\r\n"]),
        ({"texts": ["a", "", "bc"]}, "text", ["a", "bc"]),
        ({"texts": []}, "text", []),
        ({"tokens": ["up", "down"]}, "tokens", [["up", "down"]]),
        ({"tokens": []}, "tokens", []),
        ({"values": [1.0, 2.5]}, "numbers", [[[1], [2.5]]]),
        ({"values": [[1.0, 2.0], [3.0, 4.0]]}, "numbers", [[[1, 2], [3, 4]]]),
        ({"values": []}, "numbers", []),
        ({"series": [[1.0], [2.0, 3.0]]}, "numbers", [[[1]], [[2], [3]]]),
        ({"series": [[], [2.0]]}, "numbers", [[[2]]]),
    ],
)
def test_inline_gives_what_it_holds(options, element, wanted):
    """Each of the five forms gives its sequences; empty ones give nothing. Its fingerprint follows the content."""
    source = Inline(InlineOptions(**options))
    assert gathered(source, element) == wanted
    assert gathered(source, element) == wanted
    assert source.fingerprint() == Inline(InlineOptions(**options)).fingerprint()
    assert source.fingerprint() != Inline(InlineOptions(text="another")).fingerprint()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "got none"),
        ({"text": "a", "tokens": ["b"]}, "got .*text.*tokens"),
        ({"values": [[1.0], [1.0, 2.0]]}, r"same number of features; got \[1, 2\]"),
        ({"values": [[], []]}, "one has none"),
    ],
)
def test_inline_takes_one_form(options, words):
    """None, two, or steps of different widths are refused with the task."""
    with pytest.raises(ValidationError, match=words):
        InlineOptions(**options)


@pytest.mark.parametrize(
    ("options", "holds"), [({"text": "a"}, "text"), ({"tokens": ["a"]}, "tokens"), ({"values": [1.0]}, "numbers")]
)
def test_inline_says_what_it_holds(options, holds):
    """A vocabulary that reads something else gets an error that names both."""
    for element in {"text", "tokens", "numbers"} - {holds}:
        with pytest.raises(InputError, match=rf"holds {holds}, but the vocabulary reads {element} \[RC030\]"):
            gathered(Inline(InlineOptions(**options)), element)


def test_the_documentation_of_python_reads_twice_the_same():
    """It is one long text, with a fingerprint that stays."""
    one, other = PythonDocs(PythonDocsOptions()), PythonDocs(PythonDocsOptions())
    (first,), (second,) = gathered(one), gathered(other)
    assert first == second
    assert len(first) > 300_000
    assert one.fingerprint() == one.fingerprint() == other.fingerprint()
