"""Tables as they are written: with commas, as a JSON object a line, or as parquet by pyarrow.

A file takes its name once all of its rows are written.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from recurra.errors import InputError
from recurra.runs import files

Row: TypeAlias = Mapping[str, Any]
"""The cells of a row by the names of their columns; one that is not there is missing."""
Kind: TypeAlias = Literal["text", "time", "number", "flag", "texts", "numbers", "rows"]
"""What the cells of a column are: the last three are lists, of texts, of numbers, of such lists.

A time is a whole number, or a text of which a moment can be made.
"""
Kinds: TypeAlias = Mapping[str, Kind]
"""What the columns of a table are called, in their order, and what their cells are."""

FORMS = (".csv", ".jsonl", ".parquet")
"""How a table is written, by the end of the name of its file."""
TOGETHER = 1 << 16
"""Rows that are written to parquet at a time."""

Moments: TypeAlias = Callable[[Any], Any]
"""Makes of a time a whole number or a `datetime`."""


def as_it_is(time: Any) -> Any:
    """Return a time that is a whole number."""
    return time


def with_moments(
    columns: dict[str, list[Any]], kinds: Kinds, moments: Moments
) -> dict[str, list[Any]]:
    """Return columns whose times are whole numbers or moments; one that is missing stays so."""
    made = dict(columns)
    for name, cells in columns.items():
        if kinds[name] == "time":
            made[name] = [None if cell is None else moments(cell) for cell in cells]
    return made


def form_of(path: Path, what: str) -> str:
    """Return how a file is written, by its name; `what` says what stands in it.

    Raises `InputError` (RC080) for a name that tells nothing, and for parquet without pyarrow.
    """
    form = path.suffix.lower()
    if form not in FORMS:
        fact = f"the name of {path} does not tell how {what} to be written"
        allowed = f"a name that ends with {', '.join(FORMS)}"
        raise InputError.of("RC080", fact, allowed=allowed)
    if form == ".parquet":
        _arrow()
    return form


def write(
    path: Path, rows: Iterable[Row], kinds: Kinds, what: str, moments: Moments = as_it_is
) -> int:
    """Write a file whole or not at all; return how many rows there are.

    In text a time stands as it is, and in parquet the moment. Raises `InputError` (RC080) as
    `form_of` does, and `RunError` (RC053).
    """
    form = form_of(path, what)
    with files.streamed(path, binary=form == ".parquet") as file:
        if form == ".csv":
            return write_csv(rows, list(kinds), file)
        if form == ".jsonl":
            return write_lines(rows, file)
        return _parquet(rows, kinds, file, moments)


def write_lines(rows: Iterable[Row], file: IO[str], escaped: bool = False) -> int:
    """Write a JSON object a line, in ASCII where it is `escaped`; return how many there are."""
    count = 0
    for row in rows:
        line = json.dumps(files.finite(dict(row)), ensure_ascii=escaped, allow_nan=False)
        file.write(f"{line}\n")
        count += 1
    return count


def write_csv(rows: Iterable[Row], names: list[str], file: IO[str]) -> int:
    """Write a table; return how many rows there are. A list stands in its cell as JSON."""
    writer = csv.DictWriter(_Rows(file), names, lineterminator=_Rows.END, restval="")
    writer.writeheader()

    count = 0
    for row in rows:
        cells = {}
        for name, value in row.items():
            cells[name] = json.dumps(value) if isinstance(value, list) else value
        writer.writerow(cells)
        count += 1
    return count


class _Rows:
    """Takes rows of a table that end with CR LF, and writes them with LF alone.

    Python before 3.13 quotes a CR in a cell only where rows end with one.
    """

    END = "\r\n"

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, row: str) -> int:
        """Write a row."""
        line = row.removesuffix(self.END)
        return self.file.write(f"{line}\n")


def _parquet(rows: Iterable[Row], kinds: Kinds, file: IO[bytes], moments: Moments) -> int:
    """Write parquet, many rows at a time; return how many there are."""
    arrow, parquet = _arrow()
    count, writer = 0, None
    try:
        for some in _many(rows):
            columns = {name: [row.get(name) for row in some] for name in kinds}
            columns = with_moments(columns, kinds, moments)
            if writer is None:
                fields = [(name, _type(arrow, kind, columns[name])) for name, kind in kinds.items()]
                schema = arrow.schema(fields)
                writer = parquet.ParquetWriter(file, schema)
            writer.write_table(arrow.table(columns, schema=schema))
            count += len(some)
    finally:
        if writer is not None:
            writer.close()
    return count


def _type(arrow: Any, kind: Kind, cells: list[Any]) -> Any:
    """Return the type of a column, of which there are some cells."""
    if kind == "time":
        moment = next((cell for cell in cells if cell is not None), 0)
        if isinstance(moment, int):
            return arrow.int64()
        return arrow.timestamp("us", tz="UTC" if moment.tzinfo else None)
    types = {
        "text": arrow.string(),
        "number": arrow.float64(),
        "flag": arrow.bool_(),
        "texts": arrow.list_(arrow.string()),
        "numbers": arrow.list_(arrow.float64()),
        "rows": arrow.list_(arrow.list_(arrow.float64())),
    }
    return types[kind]


def _many(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Give rows, many at a time."""
    rest = iter(rows)
    while some := list(islice(rest, TOGETHER)):
        yield some


def _arrow() -> tuple[Any, Any]:
    """Return pyarrow. Raises `InputError` (RC080) where it is not installed."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        fact = "parquet is written by pyarrow, which is not installed"
        cure = "pip install 'recurra[data]', or write .csv or .jsonl"
        raise InputError.of("RC080", fact, cure=cure) from error
