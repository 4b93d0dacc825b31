"""Parquet: its rows come as they would of JSON lines, whatever the types and the batches."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sheets import gathered, jsonl_of, labelled

from recurra import InputError
from recurra_sources import parquet as reading
from recurra_sources.parquet import Parquet, ParquetOptions
from recurra_sources.tables import Jsonl, JsonlOptions

HERE = "pyarrow is not installed"


def written(path, columns, **options):
    """Write a table, and return its path; columns are lists, or arrays of a type."""
    arrow = pytest.importorskip("pyarrow", reason=HERE)
    parquet = pytest.importorskip("pyarrow.parquet", reason=HERE)
    parquet.write_table(arrow.table(columns), path, **options)
    return path


def parquet_of(path, table, /, *, write=None, **options):
    return Parquet(ParquetOptions(path=str(written(path, table, **(write or {}))), **options))


def typed(values, name):
    """Return values as an array of the type that pyarrow calls so."""
    arrow = pytest.importorskip("pyarrow", reason=HERE)
    return arrow.array(values, eval(name, {"pa": arrow}))


def test_without_the_library_the_cure_says_how_to_get_it(tmp_path, monkeypatch):
    """Nothing but a parquet file needs it."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    source = Parquet(ParquetOptions(path=str(tmp_path / "a.parquet"), columns=["x"]))
    assert source.fingerprint()
    with pytest.raises(InputError, match=r"pyarrow(.|\n)*pip install 'recurra\[data\]'"):
        gathered(source, "numbers")


def outcome(read, source, element):
    """Return what a source gives, or the code of what it refuses."""
    try:
        return read(source, element)
    except InputError as error:
        return error.problems[0].code


row = st.fixed_dictionaries(
    {
        "g": st.sampled_from(["p", "q"]),
        "x": st.one_of(st.none(), st.integers(-(2**53), 2**53)),
        "y": st.one_of(st.none(), st.floats(-1e9, 1e9)),
        "w": st.one_of(st.none(), st.text("ab é", max_size=3)),
    }
)
OPTIONS = (
    ("numbers", {"columns": ["y", "x"]}),
    ("numbers", {"columns": ["x"], "group": "g"}),
    ("tokens", {"columns": ["w"], "group": "g"}),
    ("tokens", {"columns": ["x"]}),
    ("text", {"columns": ["w"]}),
    ("text", {"columns": ["w"], "group": "g"}),
)


@given(
    missing=st.sampled_from(["error", "forward", "drop"]),
    options=st.sampled_from(OPTIONS),
    rows=st.lists(row, min_size=1, max_size=6),
    size=st.integers(1, 4),
    group=st.integers(1, 4),
)
def test_it_is_read_as_json_lines_are(tmp_path_factory, missing, options, rows, size, group):
    """Batches and row groups do not show."""
    element, options = options
    missing = "drop" if element == "text" else missing
    folder = tmp_path_factory.mktemp("both")
    lines = folder / "table.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    types = {"g": "pa.string()", "x": "pa.int64()", "y": "pa.float64()", "w": "pa.string()"}
    columns = {name: typed([row[name] for row in rows], of) for name, of in types.items()}
    source = parquet_of(
        folder / "table.parquet",
        columns,
        write={"row_group_size": group},
        missing=missing,
        **options,
    )
    other = Jsonl(JsonlOptions(path=str(lines), missing=missing, **options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "ROWS", size)
        assert outcome(gathered, source, element) == outcome(gathered, other, element)


SEQUENCES = [
    {"x": [1, 2.5], "p": [[0, 1], [2, 3]], "t": ["a", "b c"], "l": "one"},
    {"x": [4, 5, 6], "p": [[4, 5]], "t": ["d"], "l": "two"},
    {"x": [7], "p": [[6, 7], [8, 9], [0.5, 1]], "t": ["e", "e"], "l": "one"},
]


@pytest.mark.parametrize(
    ("element", "column"), [("numbers", "x"), ("numbers", "p"), ("tokens", "t")]
)
@pytest.mark.parametrize("rows", [1, 2, 128])
def test_a_list_is_a_whole_sequence(tmp_path, monkeypatch, element, column, rows):
    """Of numbers, of lists of numbers, and of tokens; its features are named as in JSON lines."""
    monkeypatch.setattr(reading, "LISTS", rows)
    columns = {name: [row[name] for row in SEQUENCES] for name in SEQUENCES[0]}
    source = parquet_of(tmp_path / "a.parquet", columns, columns=[column], label="l")
    other = jsonl_of(tmp_path, *map(json.dumps, SEQUENCES), columns=[column], label="l")
    assert labelled(source, element) == labelled(other, element)
    assert source.features() == other.features()


NUMBERS = [
    *(f"pa.{name}()" for name in ("int8", "int32", "uint16", "uint64", "float16", "float32")),
    "pa.float64()",
    "pa.decimal128(9, 2)",
    "pa.dictionary(pa.int8(), pa.int64())",
    "pa.string()",
]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_one_of_any_type(tmp_path, name):
    """Whole, broken, decimal, of a dictionary, or written as text; null is missing."""
    values = [1, 2, None, 3]
    if name == "pa.string()":
        values = ["1", "2.0", None, " 3 "]
    if "decimal" in name:
        values = [Decimal(1), Decimal(2), None, Decimal(3)]
    if "float16" in name:
        numpy = pytest.importorskip("numpy")
        values = [None if value is None else numpy.float16(value) for value in values]
    source = parquet_of(tmp_path / "a.parquet", {"x": typed(values, name)}, columns=["x"])
    with pytest.raises(InputError, match="row 3, column x: nothing"):
        gathered(source, "numbers")
    dropped = Parquet(source.options.model_copy(update={"missing": "drop"}))
    assert gathered(dropped, "numbers") == [[[1], [2], [3]]]


def test_truth_values_and_what_is_no_number(tmp_path):
    """True is 1 and NaN is missing; an infinite number is refused with its row."""
    nan = typed([1.0, float("nan"), 3.0], "pa.float64()")
    infinite = typed([1.0, 2.0, float("inf")], "pa.float64()")
    path = written(
        tmp_path / "a.parquet", {"b": [True, False, True], "n": nan, "i": infinite, "w": ["a"] * 3}
    )

    def source(column, **options):
        return Parquet(ParquetOptions(path=str(path), columns=[column], **options))

    assert gathered(source("b"), "numbers") == [[[1], [0], [1]]]
    assert gathered(source("b"), "tokens") == [["true", "false", "true"]]
    assert gathered(source("n", missing="interpolate"), "numbers") == [[[1], [2], [3]]]
    with pytest.raises(InputError, match="row 3, column i: inf is not finite"):
        gathered(source("i"), "numbers")
    with pytest.raises(InputError, match="row 1, column w: 'a' is not a number"):
        gathered(source("w"), "numbers")
    assert gathered(source("b", na=["false"], missing="drop"), "tokens") == [["true", "true"]]


@pytest.mark.parametrize(
    ("values", "name", "texts"),
    [
        ([1, 2], "pa.int16()", ["1", "2"]),
        ([1.0, 0.5], "pa.float64()", ["1.0", "0.5"]),
        ([Decimal("1.50"), Decimal("2.00")], "pa.decimal128(9, 2)", ["1.50", "2.00"]),
        (["a", "b"], "pa.dictionary(pa.int32(), pa.string())", ["a", "b"]),
        (["a", "b"], "pa.large_string()", ["a", "b"]),
        ([date(2024, 2, 29), date(2024, 3, 1)], "pa.date32()", ["2024-02-29", "2024-03-01"]),
        (
            [datetime(2024, 1, 1), datetime(2024, 1, 1, 12)],
            'pa.timestamp("ns")',
            ["2024-01-01T00:00:00", "2024-01-01T12:00:00"],
        ),
    ],
)
def test_a_name_is_what_would_be_written(tmp_path, values, name, texts):
    """What has a type of its own is named as JSON and ISO 8601 write it: as token, group, label."""
    columns = {"x": [1.0, 2.0], "n": typed(values, name)}
    path = str(written(tmp_path / "a.parquet", columns))
    assert gathered(Parquet(ParquetOptions(path=path, columns=["n"])), "tokens") == [texts]
    by_label = Parquet(ParquetOptions(path=path, columns=["x"], label="n"))
    assert labelled(by_label, "numbers") == list(zip([[[1]], [[2]]], texts, strict=True))
    by_group = Parquet(ParquetOptions(path=path, columns=["x"], group="n"))
    assert [piece.columns["series"] for piece in by_group.read("numbers")] == texts


@pytest.mark.parametrize(
    ("values", "name", "said"),
    [
        ([{"a": 1}], 'pa.struct([("a", pa.int64())])', "struct<a: int64>"),
        ([[("a", 1)]], "pa.map_(pa.string(), pa.int64())", "map<string, int64"),
        ([[{"a": 1}]], 'pa.list_(pa.struct([("a", pa.int64())]))', "list<"),
        ([b"ab"], "pa.binary()", "binary"),
        ([date(2024, 1, 1)], "pa.date32()", r"date32\[day\]"),
        ([datetime(2024, 1, 1)], 'pa.timestamp("us")', r"timestamp\[us\]"),
        ([5], 'pa.time32("ms")', r"time32\[ms\]"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_type(tmp_path, values, name, said):
    """The column and its type are named, before a row is read."""
    columns = {"odd": typed(values, name), "x": [1.0]}
    source = parquet_of(tmp_path / "a.parquet", columns, columns=["odd"])
    with pytest.raises(InputError, match=rf"column 'odd' is of type {said}"):
        gathered(source, "numbers")
    assert gathered(Parquet(source.options.model_copy(update={"columns": ["x"]})), "numbers")


def test_times_that_are_finer_than_ours_are_refused(tmp_path):
    """A billionth of a second is never cut off in silence."""
    columns = {"x": [1.0], "t": typed([1], 'pa.timestamp("ns")')}
    source = parquet_of(tmp_path / "a.parquet", columns, columns=["x"], group="t")
    with pytest.raises(InputError, match="'t' holds times that are finer"):
        gathered(source, "numbers")


def test_columns_are_found_by_their_names(tmp_path):
    """One that is not there names the nearest; one that stands twice is refused; a point in a name
    is a letter like others.
    """
    arrow = pytest.importorskip("pyarrow", reason=HERE)
    parquet = pytest.importorskip("pyarrow.parquet", reason=HERE)
    table = arrow.table([[1.0], [2.0], [3.0], [4.0]], names=["height", "a.b", "x", "x"])
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)

    def source(column):
        return Parquet(ParquetOptions(path=str(path), columns=[column]))

    assert gathered(source("a.b"), "numbers") == [[[2]]]
    with pytest.raises(InputError, match="no column 'hight'(.|\n)*did you mean: height"):
        gathered(source("hight"), "numbers")
    with pytest.raises(InputError, match="several columns 'x'"):
        gathered(source("x"), "numbers")


def test_a_damaged_file_is_told_as_such(tmp_path):
    """Cut off anywhere, or with a byte changed, it is refused by its name, or read."""
    source = parquet_of(tmp_path / "a.parquet", {"x": [1.5, 2.5], "w": ["é", "b"]}, columns=["x"])
    path = tmp_path / "a.parquet"
    content = path.read_bytes()
    for cut in range(0, len(content), 97):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"a\.parquet"):
            gathered(source, "numbers")
    for place in range(0, len(content), 13):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            gathered(source, "numbers")
        except InputError as error:
            assert "a.parquet" in str(error)


def test_a_table_of_text_and_a_packed_file_are_told(tmp_path):
    """The cure names the kind that reads them."""
    pytest.importorskip("pyarrow", reason=HERE)
    (tmp_path / "a.parquet").write_text("x\n1\n" * 9)
    with pytest.raises(InputError, match='set source.kind = "csv"'):
        gathered(
            Parquet(ParquetOptions(path=str(tmp_path / "a.parquet"), columns=["x"])), "numbers"
        )
    (tmp_path / "a.parquet.gz").write_bytes(b"\x1f\x8b")
    path = str(tmp_path / "a.parquet.gz")
    with pytest.raises(InputError, match="unpack it"):
        gathered(Parquet(ParquetOptions(path=path, columns=["x"])), "numbers")


def test_rows_of_another_file_are_read_alike(tmp_path):
    """For predictions: without label, as many sequences as rows, each with its name."""
    columns = {"x": [[1.0, 2.0], [3.0]], "l": ["a", "b"]}
    source = parquet_of(tmp_path / "a.parquet", columns, columns=["x"], label="l")
    other = source.over(str(written(tmp_path / "b.parquet", {"x": [[5.0], None, [6.0]]})))
    pieces = [*other.read("numbers")]
    assert [piece.columns["series"] for piece in pieces] == ["1", "2", "3"]
    assert isinstance(pieces[1].values, InputError)
    assert pieces[2].values.tolist() == [[6]]


MEMORY = """
import resource, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from recurra_sources.parquet import Parquet, ParquetOptions
path, rows = sys.argv[1], int(sys.argv[2])
with pq.ParquetWriter(path, pa.schema([("g", pa.string()), ("x", pa.float64())])) as out:
    # One row group, which need not fit in memory.
    x = np.random.default_rng(0).normal(size=rows)
    g = pa.array(np.repeat([f"s{n}" for n in range(100)], rows // 100))
    out.write_table(pa.table({"g": g, "x": x}), row_group_size=rows)
del x, g
pa.default_memory_pool().release_unused()
source = Parquet(ParquetOptions(path=path, columns=["x"], group="g"))
source_rows = iter(source.rows())
next(source_rows)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak = pa.total_allocated_bytes()
for _ in source_rows:
    peak = max(peak, pa.total_allocated_bytes())
print(peak, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Of one row group of a million rows a few megabytes are held at a time."""
    pytest.importorskip("pyarrow", reason=HERE)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "a.parquet"), "1000000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    held, grown = map(int, done.stdout.split())
    assert held < 8 << 20
    assert grown < 32 << 20


COUNTS = (0, 1, 49, 51, 100, 10**6, 1 << 62, -1, -(1 << 40))
"""What a file of fifty rows may say of itself instead."""


def zigzag(number):
    """Return a number as the end of a file writes it."""
    number = number << 1 if number >= 0 else (-number << 1) - 1
    groups = [number >> shift & 127 for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def test_an_end_that_counts_other_rows_is_refused(tmp_path):
    """Whatever it says instead of fifty, of the file, a part of it or a column of that, nothing is
    left out or made up in silence: all rows come, or an error says how many there should be.
    """
    numbers = [float(number) for number in range(50)]
    path = written(tmp_path / "a.parquet", {"a": numbers}, use_dictionary=False,
                   write_statistics=False)  # fmt: skip
    raw = path.read_bytes()
    whole = gathered(Parquet(ParquetOptions(path=str(path), columns=["a"])), "numbers")
    size = int.from_bytes(raw[-8:-4], "little")
    body, end = raw[: -8 - size], raw[-8 - size : -8]
    told = set()
    for at in (at for at in range(len(end)) if end[at : at + 1] == zigzag(50)):
        for count in COUNTS:
            lie = end[:at] + zigzag(count) + end[at + 1 :]
            path.write_bytes(body + lie + len(lie).to_bytes(4, "little") + b"PAR1")
            source = Parquet(ParquetOptions(path=str(path), columns=["a"]))
            try:
                assert gathered(source, "numbers") == whole
            except InputError as error:
                told.add(at)
                assert error.problems[0].code == "RC040"
    assert len(told) >= 3, "of the file, of its one part, and of the column in that"
