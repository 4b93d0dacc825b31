"""Files of data that grow in memory: bounded, or refused, in a process that may have little."""

from __future__ import annotations

import gzip
import os
import resource
import warnings
from pathlib import Path

import numpy as np
import pytest

from recurra import InputError
from recurra_sources import csv_rows, parquet
from recurra_sources.csv_rows import Form
from recurra_sources.tables import Csv, CsvOptions, Jsonl, JsonlOptions
from recurra_sources.text import Text, TextOptions

MEMORY = 320 << 20
"""Bytes that a reader may add to the process."""
LESS = {"blank rows": 48 << 20}
SECONDS = 20


def packed(path, head, unit, count):
    """Write a packed file that begins so, and goes on with a million bytes so many times."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(count):
            file.write(unit * ((1 << 20) // len(unit)))
    return path


def sparse(path, head):
    """Write a file that begins so and is a gigabyte long, in which nothing else stands."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(1 << 30)
    return path


def csv(path):
    """Return the source of a csv file."""
    return Csv(CsvOptions(path=str(path), columns=["a"]))


def jsonl(path):
    """Return the source of a file of JSON lines."""
    return Jsonl(JsonlOptions(path=str(path), columns=["a"]))


def text(path):
    """Return the source of a text, by line."""
    return Text(TextOptions(path=str(path), each="line"))


BOMBS = {
    "a cell of a gigabyte": (lambda p: csv(sparse(p / "a.csv", b'a\n"')), "NUL"),
    "a line of a gigabyte": (lambda p: jsonl(sparse(p / "a.jsonl", b'{"a": "')), "NUL"),
    "a text of nothing": (lambda p: text(sparse(p / "a.txt", b"abc")), "NUL"),
    "a packed cell": (lambda p: csv(packed(p / "a.csv.gz", b'a\n"', b"a", 80)), "longer than"),
    "a packed line": (lambda p: jsonl(packed(p / "a.jsonl.gz", b'"', b"a", 80)), "longer than"),
    "a packed text": (lambda p: text(packed(p / "a.txt.gz", b"a", b"a", 80)), ""),
    "a list in a line": (
        lambda p: jsonl(packed(p / "a.jsonl.gz", b'{"a": [1', b",1", 20)),
        "4,194,304 values",
    ),
    "objects in a line": (
        lambda p: jsonl(packed(p / "a.jsonl.gz", b'{"a": [{}', b",{}", 20)),
        "4,194,304 values",
    ),
    "blank rows": (lambda p: csv(packed(p / "a.csv.gz", b"a,b\n1,2\n", b"\n", 3)), ""),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_bounded_or_refused(name, tmp_path):
    """What would fill the memory is read in pieces, or refused in words, in time."""
    made, told = BOMBS[name]
    source = made(tmp_path)
    child = os.fork()
    if not child:
        os._exit(_outcome(source, told, LESS.get(name, MEMORY)))
    _, status = os.waitpid(child, 0)
    assert status == 0


def _outcome(source, told, memory, element="text"):
    """Read in little memory; return 0 where it went as it should."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, hard))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    warnings.simplefilter("ignore")
    try:
        for _ in source.read(element):
            pass
    except InputError as error:
        return 0 if told and told in str(error) else 3
    except BaseException:
        return 4
    return 5 if told else 0


def test_blank_lines_before_a_row_are_rows_that_lack(tmp_path):
    """However many, and wherever comments stand between them, each is one row, at its line."""
    lines = "a,b\n1,2\n\n\n#\n\n3,4\n\n5,6\n\n\n".splitlines(keepends=True)
    numbered = csv_rows._Lines(iter(lines), "#")
    rows = list(csv_rows._one_by_one(numbered, tmp_path / "a.csv", Form(comment="#")))
    expected = {1: ["a", "b"], 2: ["1", "2"], 7: ["3", "4"], 9: ["5", "6"]}
    assert rows == sorted({**expected, **dict.fromkeys((3, 4, 6, 8), [])}.items())


def _words(arrow):
    """Return one long word in each of many rows, written once."""
    codes = arrow.array(np.zeros(2000, np.int32))
    return arrow.DictionaryArray.from_arrays(codes, arrow.array(["x" * (1 << 20)]))


def _lists(arrow):
    """Return one cell that holds more numbers than are read at once."""
    numbers = arrow.array(np.zeros((1 << 16) + 1, np.int8))
    return arrow.ListArray.from_arrays(arrow.array([0, len(numbers)], arrow.int32()), numbers)


def _long(arrow):
    """Return one cell that holds as many as are read, which are more than this memory holds."""
    numbers = arrow.array(np.zeros(1 << 25, np.int8))
    return arrow.ListArray.from_arrays(arrow.array([0, len(numbers)], arrow.int32()), numbers)


PACKED = {"a word": (_words, "text", ""), "a list": (_lists, "numbers", "65,537 values"),
          "a long list": (_long, "numbers", "there is memory for")}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
def test_a_bomb_of_parquet_is_bounded_or_refused(name, tmp_path, monkeypatch):
    """Some kilobytes of it become gigabytes: they come in parts, or are refused in words."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    make, element, told = PACKED[name]
    path = tmp_path / "a.parquet"
    # Which is made in a process of its own: this one stays small.
    child = os.fork()
    if not child:
        write_table(arrow.table({"a": make(arrow)}), path, compression="zstd")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0 and path.stat().st_size < 50_000

    source = parquet.Parquet(parquet.ParquetOptions(path=str(path), columns=["a"]))
    if make is _lists:
        monkeypatch.setattr(parquet, "VALUES", 1 << 16)
    child = os.fork()
    if not child:
        os._exit(_outcome(source, told, MEMORY, element))
    assert os.waitpid(child, 0)[1] == 0
