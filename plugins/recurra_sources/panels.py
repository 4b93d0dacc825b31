"""Rows of several groups that stand in between each other, and how they are brought together."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator

from recurra import InputError
from recurra_sources.cells import Reader, Row

HELD = 1 << 28
"""Bytes of rows that are held in memory at most while they are brought together."""
OF_A_GROUP = 256
"""Bytes that a group takes beside its rows."""


def are_apart(rows: Iterator[Row], group: Reader) -> bool:
    """Return whether a group comes again after another one.

    `group` reads the last cell of a row. Rows are looked at up to the first that is not of their
    form: whoever reads them meets it too.
    """
    seen: set[str | None] = set()
    last: str | None = None
    try:
        for _, cells in rows:
            if not cells:
                continue
            name, _ = group(cells[-1])
            if name is None:
                # It does not say whose it is.
                continue
            if name != last and name in seen:
                return True
            seen.add(name)
            last = name
    except InputError:
        pass
    return False


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
