"""Rows that are a sequence each, none of which hangs on another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from recurra import InputError, Piece
from recurra_sources.cells import Row
from recurra_sources.pieces import with_name

MANY = 256
"""Rows that are read at once, where they can be."""


def one_by_one(
    written: Iterator[tuple[int, Any]],
    cells: Callable[[int, Any], list[Any]],
    read: Callable[[Iterator[Row]], Iterator[Piece]],
    texts: bool,
) -> Iterator[Piece]:
    """Give the sequence of each row, or why it cannot be read, under the number of the row.

    Where they are `texts`, of which none may be missing, many are read at once, a piece each; if
    one of them cannot be read, each is looked at by itself.
    """

    def alone(line: int, row: Any) -> list[Piece]:
        try:
            return [*read(iter([(line, cells(line, row))]))]
        except InputError as error:
            return [Piece(error)]

    def abreast(rows: list[tuple[int, Any]]) -> list[list[Piece]]:
        if texts:
            with suppress(InputError):
                pieces = [*read(iter([(line, cells(line, row)) for line, row in rows]))]
                if len(pieces) == len(rows):
                    return [[piece] for piece in pieces]
        return [alone(line, row) for line, row in rows]

    count = 0
    rest = ((line, row) for line, row in written if row)
    more = True
    while more:
        some: list[tuple[int, Any]] = []
        unread: InputError | None = None
        try:
            some.extend(islice(rest, MANY))
        except InputError as error:
            unread = error
        for pieces in abreast(some):
            count += 1
            yield from with_name(pieces, str(count))
        if unread is not None:
            raise unread
        more = len(some) == MANY
