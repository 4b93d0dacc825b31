"""Forecasts in the long format that other tools of forecasting read as it is.

A row is a step that was forecast: `unique_id` names its series, `ds` says which step of it that is,
by its time stamp, else its place from 0, and the column named after the model what it forecast.
Behind it stand the bounds of intervals, `<model>-lo-80` and `<model>-hi-80`, where there are such.
In the frame of a backtest `cutoff` is the last step that the model knew, and `y` what came. Of
several columns of numbers each is a series of its own. In text a stamp stands as the data writes
it; elsewhere it is a moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from recurra.job.clock import Clock
from recurra.runs import written
from recurra.runs.written import Kind

KEYS: Mapping[str, Kind] = {"unique_id": "text", "ds": "time"}
"""The columns that name a step."""
BACKTEST: Mapping[str, Kind] = {**KEYS, "cutoff": "time", "y": "number"}
"""The columns of a backtest beside that of the model."""
WHAT = "the frame is"

PLACES = Clock()
"""Steps that are called by their places."""

Row: TypeAlias = tuple[Any, ...]
"""unique_id, ds, cutoff, y, what the model says, and the bounds of its intervals."""


def model_column(name: str) -> str:
    """Return the name of a model's column, which must be none of the others."""
    return "model" if name in (*BACKTEST, "error") else name


def bound_columns(model: str, bounds: Iterable[str]) -> list[str]:
    """Return the columns of the bounds of intervals, which stand behind that of a model."""
    return [f"{model}-{name}" for name in bounds]


def unique_id(series: str, features: Sequence[str], column: int) -> str:
    """Return what one of several columns of a series is called."""
    feature = features[column] if features else f"column {column}"
    return f"{series}/{feature}" if series else feature


def _kinds(model: str, bounds: Sequence[str]) -> dict[str, Kind]:
    """Return the columns of a backtest, and what their cells are."""
    own = [model, *bound_columns(model, bounds)]
    return {**BACKTEST, **dict.fromkeys(own, "number")}


def columns_of(
    rows: Iterable[Row], model: str, clock: Clock = PLACES, bounds: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Return the columns by their names, as a DataFrame is made of them."""
    listed = list(rows)
    kinds = _kinds(model, bounds)
    columns = {name: [row[place] for row in listed] for place, name in enumerate(kinds)}
    return written.with_moments(columns, kinds, clock.moment)


def form_of(path: Path) -> str:
    """Return how a frame is written, by the end of its file's name.

    Raises `InputError` (RC080) for one that tells none, and for parquet where pyarrow is missing.
    """
    return written.form_of(path, WHAT)


def write(
    path: Path,
    rows: Iterable[Row],
    model: str,
    clock: Clock = PLACES,
    bounds: Sequence[str] = (),
) -> None:
    """Write a frame, whole or not at all. Raises `InputError` (RC080), `RunError` (RC053)."""
    kinds = _kinds(model, bounds)
    cells = (dict(zip(kinds, map(_plain, row), strict=True)) for row in rows)
    written.write(path, cells, kinds, WHAT, clock.moment)


def _plain(cell: Any) -> Any:
    """Return a cell; a forecast that is not finite is missing."""
    missing = isinstance(cell, float) and not math.isfinite(cell)
    return None if missing else cell
