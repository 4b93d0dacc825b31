"""Numbers of which some are missing: what was seen last stands for them, series by series.

A missing number is not a number here. What the network reads in its place is what came last in its
column, 0 as it is scaled where nothing has come yet; a column beside, 1 where a number came and
else 0, says which it is. As an answer a missing number is not scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.transform import Floats
from recurra.data.blocks import blocks, of_spans
from recurra.data.splits import Split
from recurra.data.store import Array, Covariates, Ints, Store


class Carried(NamedTuple):
    """Rows `[n, F]` in which nothing is missing, and the state `[2, F]` after them.

    `age` `[n, F]` is how many rows of a column have come since its first number, with that: 0
    before it. The state holds what came last, and the age.
    """

    rows: Floats
    age: Floats
    state: Floats


def begun(features: int) -> Floats:
    """Return the state before the first row of a series: nothing has come, which is read as 0."""
    return np.zeros((2, features))


def carry(rows: Floats, state: Floats) -> Carried:
    """Return rows with what came last for what is missing, from a state on."""
    if not len(rows):
        return Carried(rows, np.zeros(rows.shape), state)
    came = ~np.isnan(rows)
    # Of a row before the first of these it is row 0, which is the state's.
    at = np.arange(1, len(rows) + 1)[:, None]
    last = np.maximum.accumulate(np.where(came, at, 0), axis=0)
    line = np.concatenate([state[:1], rows])
    filled = np.take_along_axis(line, last, axis=0)

    # Of a column that has begun each row counts; else those from its first number on.
    fresh = state[1] == 0
    first = np.where(came.any(axis=0), came.argmax(axis=0), len(rows))
    age = np.maximum(np.where(fresh, at - first, at + state[1]), 0)
    return Carried(filled, age, np.stack([filled[-1], age[-1]]))


def latest(rows: Floats, before: Floats) -> Floats:
    """Return what came last of each column of rows, `[F]`; `before` `[F]` came before them."""
    state = begun(rows.shape[1])
    state[0] = before
    return np.asarray(carry(rows, state).state[0])


def last_before(store: Store, begin: int, place: int) -> Floats:
    """Return what came last of each column before a place of the series that begins at `begin`.

    It is no number where nothing came.
    """
    last: Floats = np.full(store.values.shape[1], np.nan)
    at, count = place, 64
    while at > begin and np.isnan(last).any():
        low = max(begin, at - count)
        found = latest(np.asarray(store.values[low:at], np.float64), np.full(len(last), np.nan))
        last = np.where(np.isnan(last), found, last)
        at, count = low, 2 * count
    return last


def plain(rows: Floats) -> list[Any]:
    """Return numbers as lists, None for each that is missing."""
    told = rows.astype(object)
    told[np.isnan(rows)] = None
    return list(told.tolist())


def observed(values: Array, begins: Ints, places: Ints) -> Floats:
    """Return the numbers at some places, what came last in its series for those that are missing.

    `begins` are the places at which series begin; before the first number of one it is 0.
    """
    rows = np.array(values[places])
    lacks = np.isnan(rows)
    if not lacks.any():
        return rows
    first = np.sort(begins)
    begin = first[np.searchsorted(first, places, side="right") - 1]
    at = np.array(places)
    while lacks.any():
        # One step back where anything still lacks.
        some = np.flatnonzero(lacks.any(axis=1))
        at[some] -= 1
        inside = at[some] >= begin[some]
        before = np.where(inside[:, None], values[np.maximum(at[some], 0)], 0.0)
        rows[some] = np.where(lacks[some], before, rows[some])
        lacks[some] &= np.isnan(rows[some])
    return rows


def carried(store: Store, nothing: Floats) -> Iterator[tuple[Array, bool]]:
    """Give the rows of a store with nothing missing, in blocks, and whether a series begins.

    `nothing` `[F]` stands where nothing has come.
    """
    for begin, end in zip(store.starts.tolist(), store.ends.tolist(), strict=True):
        state = begun(store.values.shape[1])
        state[0] = nothing
        for span in blocks(begin, end):
            filled, _, state = carry(np.asarray(store.values[span]), state)
            yield filled, span.start == begin


def lacking(store: Store, part: Split | None = None) -> NDArray[np.bool_]:
    """Return which columns lack a number, anywhere or in a split."""
    found = np.zeros(store.values.shape[1], bool)
    spans = blocks(0, len(store)) if part is None else of_spans(part.low, part.high)
    for span in spans:
        found |= np.isnan(store.values[span]).any(axis=0)
    return found


def covariates_lacking(covariates: Covariates) -> list[str]:
    """Return the names of the covariates of which something is missing."""
    found = np.zeros(0, bool) if covariates.steps is None else lacking(covariates.steps)
    for rows in covariates.ahead.values():
        # Those of the future stand last of the columns of steps.
        found[len(found) - rows.shape[1] :] |= np.isnan(rows).any(axis=0)
    found = np.concatenate([found, np.isnan(covariates.static).any(axis=0)])
    columns = zip(covariates.columns, found, strict=True)
    return [column.name for column, lacks in columns if lacks]


def partly(store: Store) -> int:
    """Return the place of the first row of which some numbers are missing, but not all; else -1."""
    for span in blocks(0, len(store)):
        missing = np.isnan(store.values[span])
        some = missing.any(axis=1) & ~missing.all(axis=1)
        if some.any():
            return int(span.start + some.argmax())
    return -1
