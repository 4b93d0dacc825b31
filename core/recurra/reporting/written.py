"""What files of figures say, taken with care: a plugin's metric may have written anything."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def number(value: Any) -> float:
    """Return a number as JSON holds it; nan for none, and for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        # What is not finite is written as text.
        return float(value)
    except ValueError:
        return math.nan


def numbers(values: Any) -> Floats:
    """Return numbers `[N]` of a list; nan for what is none."""
    return np.array([number(value) for value in values], np.float64)


def tables(value: Any) -> Iterator[Mapping[str, Any]]:
    """Give the tables of a list, of whatever else it may hold or be."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from (each for each in value if isinstance(each, Mapping))


def table(value: Any) -> Mapping[str, Any]:
    """Return a table, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def steps(value: Any) -> Floats:
    """Return numbers `[T, F]` of a list of lists, or of numbers; none of what is neither."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return np.zeros((0, 0))
    rows = [row if isinstance(row, list) else [row] for row in value]
    width = max(len(row) for row in rows)
    filled = [[number(cell) for cell in row] + [math.nan] * (width - len(row)) for row in rows]
    return np.array(filled, np.float64)


def shortened(text: str, limit: int) -> str:
    """Return a text of no more than so many characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
