"""What the index of a DataFrame or of a Series tells of rows that are taken as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAR = 4
"""Usual steps between two times of an index that are a gap if they are more."""


def told_by_index(data: Any) -> str:
    """Return what an index says against rows that follow each other, and a cure; else nothing.

    That is several levels, a gap, a way back, and Series of a dict whose rows are not each other's.
    """
    if isinstance(data, Mapping):
        return _of_several(data)
    index = _index(data)
    if index is None:
        return ""

    if getattr(index, "nlevels", 1) > 1:
        fact = (
            f"the index of the data has {index.nlevels} levels, and is not read: all rows are one"
        )
        return fact + " series; reset_index() makes columns of them, one of which group may name"
    row = gap(index)
    if row is None:
        return ""
    fact = f"the index of the data jumps from {index[row - 1]} to {index[row]}, before row {row};"
    fact += " it is not read: rows count as steps that follow each other; put in what is missing"
    return fact + " (asfreq, reindex), or name a group of rows for each stretch"


def _index(data: Any) -> Any:
    """Return the index of what has one; that of a list is a method."""
    index = getattr(data, "index", None)
    return index if hasattr(index, "__array__") else None


def _of_several(columns: Mapping[Any, Any]) -> str:
    """Return what the indices of columns tell: that they differ, or what the first does."""
    indexed = {name: column for name, column in columns.items() if _index(column) is not None}
    if not indexed:
        return ""
    first, *others = indexed
    for name in others:
        one, other = (np.asarray(indexed[each].index) for each in (first, name))
        if one.shape == other.shape and not (one == other).all():
            fact = f"columns {first!r} and {name!r} of the data have different indices, which are"
            fact += " not read: their rows stand side by side as they come; a DataFrame of the dict"
            return fact + " puts them in line, and to_numpy() says that they are"
    return told_by_index(indexed[first])


def gap(index: Any) -> int | None:
    """Return the first row before which an index leaves steps out, or goes back.

    Whole numbers and periods go on by their usual step; times by no more than `FAR` of them, so
    that neither weekends nor months of several lengths are gaps. None where there is no such row,
    or the index holds something else.
    """
    steps, far = _steps(index)
    if steps is None or not len(steps):
        return None
    gaps = np.flatnonzero((steps <= 0) | (steps > far * np.median(steps)))
    return int(gaps[0]) + 1 if len(gaps) else None


def _steps(index: Any) -> tuple[NDArray[Any] | None, int]:
    """Return the steps of an index, where it counts any, and how many usual ones are no gap."""
    array = np.asarray(index)
    if array.ndim != 1 or array.dtype.kind not in "iuMO" or len(array) < 2:
        return None, 1
    if array.dtype.kind != "O":
        return np.diff(array.astype(np.int64)), FAR if array.dtype.kind == "M" else 1

    try:
        # Times of a zone, and what a library counts as periods.
        if isinstance(array[0], datetime):
            return np.diff([time.timestamp() for time in array]), FAR
        return np.diff([period.ordinal for period in array]), 1
    except (AttributeError, TypeError, ValueError):
        return None, 1
