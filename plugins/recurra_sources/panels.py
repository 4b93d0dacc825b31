"""Rows of several groups that stand in between each other, and how they are brought together."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import NamedTuple

from recurra import InputError, Timeline
from recurra_sources.cells import Reader, Row
from recurra_sources.spacing import Spacing
from recurra_sources.table_options import RowOptions

HELD = 1 << 28
"""Bytes of rows that are held in memory at most while they are brought together."""
OF_A_GROUP = 256
"""Bytes that a group takes beside its rows."""


class Panel(NamedTuple):
    """How the rows of a table stand: whether those of a group are `apart`, and their time."""

    apart: bool
    timeline: Timeline | None


def panel(
    rows: Iterator[Row], options: RowOptions, group: Reader, spacing: Spacing | None
) -> Panel:
    """Look through all rows: whether a group comes again after another one, and how time goes on.

    `group` reads the last cell of a row. Without `spacing` rows are looked at up to the first that
    is not of their form: whoever reads them meets it too. Raises `InputError` (RC041, RC042).
    """
    apart = False
    seen: set[str | None] = set()
    name: str | None = None
    last: str | None = None
    where = options.named.index(options.time) if options.time else 0
    try:
        for place, cells in rows:
            if not cells:
                continue
            if options.group is not None:
                name, _ = group(cells[-1])
                if name is None:
                    # It does not say whose it is.
                    continue
                apart = apart or (name != last and name in seen)
                seen.add(name)
                last = name
            if spacing is not None:
                spacing.add(name, place, cells[where])
            elif apart:
                break
    except InputError:
        if spacing is not None:
            raise
    return Panel(apart, spacing.timeline() if spacing is not None else None)


def together(rows: Iterator[Row], group: Reader, where: str, column: str) -> Iterator[Row]:
    """Give rows group by group, in the order in which these begin.

    A blank line stays behind the row that it follows, and so does a row of no group. Raises
    `InputError` (RC042) for more rows than are held.
    """
    held: dict[str | None, bytearray] = {}
    name: str | None = None
    size = 0
    for place, cells in rows:
        own = group(cells[-1])[0] if cells else None
        name = name if own is None else own
        if name not in held:
            held[name] = bytearray()
            size += OF_A_GROUP

        packed = pickle.dumps((place, cells), pickle.HIGHEST_PROTOCOL)
        held[name] += packed
        size += len(packed)
        if size > HELD:
            raise _too_many(where, column)

    for name in list(held):
        yield from _unpacked(held.pop(name))


def _unpacked(packed: bytearray) -> Iterator[Row]:
    """Give the rows of a group."""
    file = io.BytesIO(packed)
    while file.tell() < len(packed):
        yield pickle.load(file)


def _too_many(where: str, column: str) -> InputError:
    """Return the error of more rows than are brought together."""
    fact = f"{where}: the rows of groups stand in between each other, and take more than"
    fact += f" {HELD >> 20} MiB, which is what is held to bring them together"
    cure = f"sort the rows by {column}: those of a group then follow each other, and are read in"
    return InputError.of("RC042", fact, key="source.group", cure=f"{cure} constant memory")
