"""The frame of a backtest, in the long format that other tools of forecasting read as it is.

A row is a step that was forecast: `unique_id` names its series, `ds` says which step of it that
is, by its time stamp, else its place from 0, and `cutoff` which was the last that the model knew;
`y` is what came, and the column named after the model what it forecast. Of several columns of
numbers each is a series of its own. In text a stamp stands as the data writes it; elsewhere it is a
moment.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from recurra.errors import InputError
from recurra.job.clock import Clock
from recurra.runs import files

KEYS = ("unique_id", "ds", "cutoff", "y")
"""The columns beside that of the model."""
ROWS = 1 << 16
"""Rows that are written to parquet at a time."""

PLACES = Clock()
"""Steps that are called by their places."""

Row: TypeAlias = tuple[Any, ...]
"""unique_id, ds, cutoff, y, and what the model says."""


def model_column(name: str) -> str:
    """Return the name of a model's column, which must be none of the others."""
    return "model" if name in KEYS else name


def columns_of(rows: Iterable[Row], model: str, clock: Clock = PLACES) -> dict[str, list[Any]]:
    """Return the columns by their names, as a DataFrame is made of them."""
    listed = list(_timed(rows, clock))
    names = (*KEYS, model)
    return {name: [row[place] for row in listed] for place, name in enumerate(names)}


def form_of(path: Path) -> str:
    """Return how a frame is written, by the end of its file's name.

    Raises `InputError` (RC080) for one that tells none, and for parquet where pyarrow is missing.
    """
    form = path.suffix.lower()
    if form not in WRITERS:
        fact = f"the name of {path} does not tell how the frame is to be written"
        allowed = f"a name that ends with {', '.join(WRITERS)}"
        raise InputError.of("RC080", fact, allowed=allowed)
    if form == ".parquet":
        _arrow()
    return form


def write(path: Path, rows: Iterable[Row], model: str, clock: Clock = PLACES) -> None:
    """Write a frame, whole or not at all. Raises `InputError` (RC080), `RunError` (RC053)."""
    WRITERS[form_of(path)](path, rows, (*KEYS, model), clock)


def _timed(rows: Iterable[Row], clock: Clock) -> Iterator[Row]:
    """Give rows whose stamps are moments."""
    for name, ds, cutoff, *cells in rows:
        yield name, clock.moment(ds), clock.moment(cutoff), *cells


def _plain(row: Row) -> Iterator[Any]:
    """Give the cells of a row; a forecast that is not finite is missing."""
    for cell in row:
        missing = isinstance(cell, float) and not math.isfinite(cell)
        yield None if missing else cell


def _csv(path: Path, rows: Iterable[Row], names: tuple[str, ...], clock: Clock) -> None:
    with files.streamed(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(_plain(row) for row in rows)


def _jsonl(path: Path, rows: Iterable[Row], names: tuple[str, ...], clock: Clock) -> None:
    with files.streamed(path) as file:
        for row in rows:
            line = json.dumps(dict(zip(names, _plain(row), strict=True)), ensure_ascii=False)
            file.write(f"{line}\n")


def _parquet(path: Path, rows: Iterable[Row], names: tuple[str, ...], clock: Clock) -> None:
    arrow, parquet = _arrow()
    buffer, rest = io.BytesIO(), _timed(rows, clock)
    writer = None
    while some := [tuple(_plain(row)) for row in islice(rest, ROWS)]:
        if writer is None:
            time = _type_of(arrow, some[0][1])
            types = arrow.string(), time, time, arrow.float64(), arrow.float64()
            schema = arrow.schema(list(zip(names, types, strict=True)))
            writer = parquet.ParquetWriter(buffer, schema)
        columns = [list(column) for column in zip(*some, strict=True)]
        table = dict(zip(names, columns, strict=True))
        writer.write_table(arrow.table(table, schema=schema))
    assert writer is not None, "each fold has a series"
    writer.close()
    files.write_bytes(path, buffer.getvalue(), "or give another path")


def _type_of(arrow: Any, moment: Any) -> Any:
    """Return the type of a column of moments."""
    if isinstance(moment, int):
        return arrow.int64()
    return arrow.timestamp("us", tz="UTC" if moment.tzinfo else None)


def _arrow() -> tuple[Any, Any]:
    """Return pyarrow. Raises `InputError` (RC080) where it is not installed."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        fact = "parquet is written by pyarrow, which is not installed"
        cure = "pip install 'recurra[data]', or write .csv or .jsonl"
        raise InputError.of("RC080", fact, cure=cure) from error


Writer: TypeAlias = Callable[[Path, Iterable[Row], tuple[str, ...], Clock], None]

WRITERS: dict[str, Writer] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
"""How a frame is written, by the end of the name of its file."""
