"""Rows of a table in blocks, column by column, so that many cells are read at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from recurra_sources.cells import Place, Reader, Row

T = TypeVar("T")
Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

MANY = 1 << 15
"""Rows of a block, at most."""
FEW = 1 << 10
"""Rows of a block whose cells may be long."""


class Coded(NamedTuple):
    """A column whose cells come again: the different ones, and which of them each row has `[n]`."""

    codes: Codes
    cells: list[Any]


class Block:
    """Rows that follow each other, none of them blank: their places, and the cells of columns.

    A column may be an array of numbers. Cells that are text are `plain` where Python writes numbers
    as they do.
    """

    def __init__(
        self, places: Sequence[Place], columns: Sequence[Sequence[Any] | Floats], plain: bool
    ) -> None:
        self.places, self.columns, self.plain = places, columns, plain

    def __len__(self) -> int:
        return len(self.places)

    def row(self, at: int) -> Row:
        """Return the cells of one row, and where it stands."""
        cells = [
            float(column[at]) if isinstance(column, np.ndarray) else column[at]
            for column in self.columns
        ]
        return self.places[at], cells

    def rows(self) -> Iterator[Row]:
        """Give each row."""
        return map(self.row, range(len(self)))

    def numbers(self, column: int, read: Reader) -> Floats:
        """Return the numbers of a column `[n]`, as `read` reads each cell; NaN for what is none."""
        cells = self.columns[column]
        if isinstance(cells, np.ndarray):
            return cells
        values = _floats(cells) if self.plain else None
        return each(cells, read) if values is None else values

    def coded(self, column: int) -> Coded | None:
        """Return a column by its different cells; nothing where one of them is a list."""
        cells = self.columns[column]
        listed = cells.tolist() if isinstance(cells, np.ndarray) else cells
        places: dict[Any, int] = {}
        try:
            codes = [places.setdefault(cell, len(places)) for cell in listed]
        except TypeError:
            return None
        if len({type(cell) for cell in places}) > 1 and not all(isinstance(c, str) for c in places):
            # As keys true and 1 are one cell.
            return None
        return Coded(np.array(codes, np.int64), [*places])


Stretch: TypeAlias = Block | list[Row]
"""Rows that follow each other; as a list where one is blank, or not as wide as the others."""


def _floats(cells: Iterable[Any]) -> Floats | None:
    """Return texts as numbers; nothing where Python may read one that a table does not hold."""
    try:
        text = "".join(cells)
    except TypeError:
        return None
    if not text.isascii() or "_" in text:
        return None
    try:
        return np.array([*map(float, cells)])
    except ValueError:
        return np.array([*map(_float, cells)])


def _float(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def each(cells: Iterable[Any], read: Reader) -> Floats:
    """Return cells as numbers, each by itself."""
    values = (read(cell)[0] for cell in cells)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def of_rows(rows: Iterator[Row], plain: bool) -> Iterator[Stretch]:
    """Give rows in blocks."""
    for some in together(rows, FEW):
        widths = {len(cells) for _, cells in some}
        if len(widths) > 1 or 0 in widths:
            yield some
        else:
            places, cells = zip(*some, strict=True)
            yield Block(places, [*zip(*cells, strict=True)], plain)


def together(rows: Iterator[T], count: int) -> Iterator[list[T]]:
    """Give so many at a time; what goes wrong is raised after what came before it."""
    while True:
        some: list[T] = []
        try:
            some.extend(islice(rows, count))
        except Exception:
            if some:
                yield some
            raise
        if not some:
            return
        yield some


def refused(cells: Sequence[Any], read: Callable[[Any], tuple[Any, str]]) -> NDArray[np.bool_]:
    """Return which cells `[n]` are missing, or cannot be read."""
    return np.array([bool(read(cell)[1]) for cell in cells], np.bool_)
