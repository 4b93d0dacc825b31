"""Tables: csv files and files of JSON lines. A row is a step of a series or of a token sequence, or one whole text."""

from __future__ import annotations

import csv
import json
import math
from abc import abstractmethod
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import model_validator

from recurra import Element, Field, FilePath, InputError, Options, Piece, Source
from recurra_sources import files

Row = tuple[int, list[Any]]  # where the row stands in the file, and its cells
CHUNK = 1 << 14


class TableOptions(Options):
    """Options of csv and jsonl."""

    path: FilePath = Field(description="the file; .gz is unpacked")
    columns: list[str] = Field(min_length=1, description="the columns to read; several give several features")
    group: str | None = Field(
        None, description="column that tells which sequence a row belongs to; the rows of one follow each other"
    )
    missing: Literal["error", "forward", "drop"] = Field(
        "error",
        description="an empty cell: refuse it, take the value of the row before in its sequence, or leave the row out",
    )
    encoding: str = Field("utf-8", description="how the file's bytes are read")

    @model_validator(mode="after")
    def _encoding_is_known(self) -> TableOptions:
        files.known_encoding(self.encoding)
        return self


class CsvOptions(TableOptions):
    """Options of csv."""

    delimiter: str = Field(",", min_length=1, max_length=1, description="what stands between cells")
    decimal: str = Field(".", min_length=1, max_length=1, description="what stands before the decimals")


class JsonlOptions(TableOptions):
    """Options of jsonl."""


O = TypeVar("O", bound=TableOptions)  # noqa: E741


class Table(Source[O]):
    """What both kinds of table share: columns, missing cells, groups."""

    offers: ClassVar[tuple[Element, ...]] = ("text", "tokens", "numbers")

    def __init__(self, options: O) -> None:
        super().__init__(options)
        self._gaps = Gaps()

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Give the cells of the named columns, the group last where there is one."""

    def read(self, element: Element) -> Iterator[Piece]:
        """Give a series or token sequence a group, or a text a row."""
        if element != "numbers" and len(self.options.columns) > 1:
            fact = f"{len(self.options.columns)} columns are named, but {element} are read from one"
            raise InputError.of("RC030", fact, key="source.columns")
        complete = self._complete(element)
        if element == "text":
            yield from (Piece(str(cells[0])) for _, cells in complete)
            return
        seen: set[Any] = set()
        for group, rows in groupby(complete, key=lambda row: row[1][-1] if self.options.group else None):
            if group in seen:
                raise self._scattered(group)
            seen.add(group)
            yield from self._sequence(rows, element)

    def _scattered(self, group: Any) -> InputError:
        fact = f"{self.options.path}: group {group!r} comes again after another group"
        cure = f"sort the file by {self.options.group}, so that the rows of a group follow each other"
        return InputError.of("RC042", fact, key="source.group", cure=cure)

    def _sequence(self, rows: Iterator[Row], element: Element) -> Iterator[Piece]:
        width = len(self.options.columns)
        start, held = True, []
        for _, cells in rows:
            held.append(cells[:width] if element == "numbers" else str(cells[0]))
            if len(held) == CHUNK:
                yield Piece(np.array(held, np.float64) if element == "numbers" else held, start)
                start, held = False, []
        if held:
            yield Piece(np.array(held, np.float64) if element == "numbers" else held, start)

    def _complete(self, element: Element) -> Iterator[Row]:
        """Give rows with every cell read, and missing ones mended as the task says; report all that are wrong."""
        options = self.options
        wrong: list[str] = []
        count = 0
        unknown: list[Any] = [None] * len(options.columns)
        last, group = unknown, None
        self._gaps = gaps = Gaps(grouped=options.group is not None)
        for number, cells in self.rows():
            if options.group and cells[-1] != group:  # a sequence takes nothing from the one before
                last, group = unknown, cells[-1]
                gaps.begin()
            for index, name in enumerate(options.columns):
                value, fault = self._cell(cells[index], element)
                if fault == "missing" and options.missing == "forward" and last[index] is not None:
                    value, fault = last[index], ""
                if fault and not (fault == "missing" and options.missing == "drop"):
                    count += 1
                    if len(wrong) < 10:
                        wrong.append(f"row {number}, column {name}: {_said(cells[index])}")
                cells[index] = value
            if any(cell is None for cell in cells[: len(options.columns)]):
                gaps.leave(number)
                continue
            gaps.keep()
            last = cells[: len(options.columns)]
            yield number, cells
        if count:
            raise self._faults(wrong, count)

    def _faults(self, wrong: list[str], count: int) -> InputError:
        more = f"\n    and {count - len(wrong)} more" if count > len(wrong) else ""
        what = "1 cell" if count == 1 else f"{count} cells"
        fact = f"{self.options.path}: {what} cannot be read\n    " + "\n    ".join(wrong) + more
        cure = 'mend the rows; for empty cells set source.missing = "forward" or "drop"'
        return InputError.of("RC042", fact, key="source.columns", cure=cure)

    def _cell(self, raw: Any, element: Element) -> tuple[Any, str]:
        """Return a cell's value and, if it has none, what is wrong with it."""
        if raw is None or (isinstance(raw, str) and not raw.strip() and element != "text"):
            return None, "missing"
        if element != "numbers":
            return raw, ""
        if isinstance(raw, bool) or "_" in str(raw):  # Python reads 1_0 as 10
            return None, "not a number"
        try:
            value = float(self.number(raw))
        except (TypeError, ValueError, OverflowError):
            return None, "not a number"
        if math.isnan(value):
            return None, "missing"
        return (value, "") if math.isfinite(value) else (None, "not finite")

    def number(self, raw: Any) -> Any:
        """Return a cell as `float` reads it."""
        return raw

    def _file(self) -> Path:
        return files.matching([self.options.path])[0]

    def _no_column(self, name: str, known: list[str], where: str = "") -> InputError:
        fact = f"{self.options.path}{where} has no column {name!r}"
        return InputError.of("RC040", fact, key="source.columns", allowed=", ".join(known[:20]))

    def fingerprint(self) -> str:
        """Return name, size and time of the file."""
        return files.fingerprint([self._file()])

    def features(self) -> list[str]:
        """Return the names of the columns."""
        return self.options.columns

    def gaps(self) -> list[str]:
        """Return the rows that the last reading left out before others of their sequence."""
        return [f"row {number}" for number in self._gaps.rows]


class Gaps:
    """Rows that are left out before others of their sequence, which thus move up.

    What is left out at the end moves nothing, nor does the beginning of a table that is one sequence: all of it moves
    together. In groups it does, for they stand beside each other.
    """

    def __init__(self, grouped: bool = False) -> None:
        self.rows: list[int] = []
        self.grouped = grouped
        self.begin()

    def begin(self) -> None:
        """Begin a new sequence."""
        self.waiting: list[int] = []
        self.begun = self.grouped

    def leave(self, number: int) -> None:
        """Leave a row out."""
        self.waiting.append(number)

    def keep(self) -> None:
        """Keep a row, which stands after those that were left out."""
        if self.begun:
            self.rows += self.waiting
        self.waiting, self.begun = [], True


def _said(raw: Any) -> str:
    return "nothing" if raw is None or raw == "" else repr(raw)[:60]


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    """Give whole lines, with their ends."""
    held = ""
    for block in blocks:
        *whole, held = (held + block).split("\n")
        yield from (line + "\n" for line in whole)
    if held:
        yield held


class Csv(Table[CsvOptions]):
    """Columns of a csv file whose first row names them."""

    def rows(self) -> Iterator[Row]:
        """Give the cells of the named columns, row by row; rows count from 1, the header."""
        path, options = self._file(), self.options
        lines = _lines(files.blocks(path, options.encoding))
        reader = csv.reader(lines, delimiter=options.delimiter)
        try:
            header = [name.strip() for name in next(filter(None, reader), [])]
            if not header:
                raise InputError.of(
                    "RC041",
                    f"{path} is empty: a csv file begins with the names of its columns",
                    key="source.path",
                )
            wanted = [*options.columns, *([options.group] if options.group else [])]
            for name in wanted:
                if name not in header:
                    raise self._no_column(name, header)
            places = [header.index(name) for name in wanted]
            for cells in reader:
                if cells:
                    yield reader.line_num, [cells[at] if at < len(cells) else None for at in places]
        except csv.Error as error:
            raise InputError.of("RC042", f"{path}, row {reader.line_num}: {error}", key="source.path") from error

    def number(self, raw: Any) -> Any:
        """Return a cell with a point before its decimals."""
        text = str(raw).strip()
        return text if self.options.decimal == "." else text.replace(".", "").replace(self.options.decimal, ".")


class Jsonl(Table[JsonlOptions]):
    """Keys of a file with one JSON object a line."""

    def rows(self) -> Iterator[Row]:
        """Give the values of the named keys, line by line, from 1."""
        path, options = self._file(), self.options
        wanted = [*options.columns, *([options.group] if options.group else [])]
        for number, line in enumerate(_lines(files.blocks(path, options.encoding)), 1):
            if not line.strip():
                continue
            record = _record(path, number, line)
            for name in wanted:
                if name not in record:
                    raise self._no_column(name, list(record), f", line {number},")
            yield number, [record[name] for name in wanted]


def _record(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line.rstrip())  # an error at the end of the line is in this line
    except json.JSONDecodeError as error:
        fact = f"{path}:{number}:{error.colno} is not JSON: {error.msg}"
        raise InputError.of("RC042", fact, key="source.path") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of brackets
        raise InputError.of("RC042", f"{path}:{number} cannot be read: {error}", key="source.path") from error
    if not isinstance(record, dict):
        raise InputError.of("RC042", f"{path}:{number} is not a JSON object", key="source.path")
    return record
