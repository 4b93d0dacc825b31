"""Steps whose cells are read, put together into the pieces of sequences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra import Piece, Role
from recurra_sources import covariates
from recurra_sources.cells import Cells, Place
from recurra_sources.table_options import RowOptions

CHUNK = 1 << 14
"""Rows of a sequence that are given at a time."""
NONE: Mapping[str, Any] = MappingProxyType({})


class Step(NamedTuple):
    """A row whose cells are read, where it stands, and of what sequence it is.

    `tags` is its own, or one for each character of a text. Behind the numbers that are read its
    `values` hold its covariates, and `static` has those of its series. One that is `ahead` is still
    to come: nothing but its covariates of the future is known. One may stand for `many` rows with
    the numbers `[n, F]`, and has no values of its own.
    """

    place: Place
    values: Cells
    label: str | None
    fold: str | None
    answer: str | list[str] | None
    tags: Any
    group: str | None
    time: str | None = None
    static: Mapping[str, Any] = NONE
    ahead: bool = False
    many: NDArray[np.float64] | None = None


def with_name(pieces: Iterable[Piece], name: str | None) -> Iterator[Piece]:
    """Give pieces, of which each that starts a sequence carries its name, where it has one."""
    columns: Mapping[Role, Any] = {} if name is None else {"series": name}
    for piece in pieces:
        yield piece._replace(columns={**piece.columns, **columns}) if piece.start else piece


def chunks(steps: Iterator[Step], options: RowOptions) -> Iterator[Piece]:
    """Give the steps of one sequence, many at a time; those ahead with the last that has come."""
    chunk: list[Step] = []
    start = True
    count = 0
    for step in steps:
        if count >= CHUNK and not step.ahead:
            yield together(chunk, start, options)
            chunk, start, count = [], False, 0
        chunk.append(step)
        count += 1 if step.many is None else len(step.many)
    if chunk:
        yield together(chunk, start, options)


def together(steps: list[Step], start: bool, options: RowOptions) -> Piece:
    """Return steps as elements: tokens of one column, or numbers of several."""
    said = {**tags_of(steps), **covariates.tables(options, steps, start)}
    if start and steps[0].time is not None:
        said = {**said, "time": steps[0].time}
    # Rows may be wider than their columns, where a cell holds a list; then nothing stands behind.
    width = len(options.columns) if options.covariates else None
    rows = [step.values[:width] for step in steps if not step.ahead]
    if isinstance(rows[0][0], str):
        return Piece([cells[0] for cells in rows], start, said)
    if all(step.many is None for step in steps):
        return Piece(np.array(rows, np.float64), start, said)
    parts = [[step.values] if step.many is None else step.many for step in steps]
    return Piece(np.concatenate(parts, dtype=np.float64), start, said)


def tags_of(steps: list[Step]) -> Mapping[Role, Any]:
    """Return the tags of steps, or of the characters of one text, if they have such."""
    first = steps[0].tags
    if first is None:
        return {}
    return {"tags": first if isinstance(first, list) else [step.tags for step in steps]}


def indexed(column: str, width: int) -> list[str]:
    """Return what the numbers of a step are called where one column holds them all."""
    return [f"{column}[{index}]" for index in range(width)]
