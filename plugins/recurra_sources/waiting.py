"""Rows as bytes, while they wait for those of their group: text that is read, and never runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from recurra_sources.cells import Literal, Pairs, Row

TEXT = frozenset({str})
PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types that JSON has, and gives back as they were."""
LONGEST = 1 << 12
"""Bits of an integer that is written; Python refuses one of thousands of digits."""
DEEPEST = 32
"""Lists in lists that are written."""
TOGETHER = 256
"""Rows that are read back at a time."""
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_QUOTED = json.encoder.encode_basestring_ascii


class Waiting:
    """Turns rows into lines of JSON and back.

    A cell that JSON does not have stands in an object, whose key says what it is: `n` a number as
    it is written, `l` a list, `p` an object, `d` a decimal, `t` a day or a time, `o` whatever has
    another type. That itself is kept here, as is a time zone, and its number is written.
    """

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._zones: dict[int, int] = {}

    def packed(self, row: Row) -> bytes:
        """Return a row as a line."""
        place, cells = row
        if type(place) is int and TEXT.issuperset(map(type, cells)):
            return f"[{place},[{','.join(map(_QUOTED, cells))}]]\n".encode()
        return _ENCODE([place, [self._told(cell) for cell in cells], 1]).encode() + b"\n"

    def rows(self, part: bytes | bytearray) -> Iterator[Row]:
        """Give the rows of lines."""
        lines = iter(bytes(part).splitlines())
        while some := [*islice(lines, TOGETHER)]:
            for place, cells, *marked in json.loads(f"[{b','.join(some).decode('ascii')}]"):
                yield place, [*map(self._meant, cells)] if marked else cells

    def _told(self, cell: Any, depth: int = 0) -> Any:
        """Return a cell as JSON says it."""
        kind = type(cell)
        if kind in PLAIN:
            is_long = kind is int and cell.bit_length() > LONGEST
            return self._of_its_own(cell) if is_long else cell
        if kind is Literal:
            return {"n": str(cell)}
        if kind is list and depth < DEEPEST:
            return {"l": [self._told(inner, depth + 1) for inner in cell]}
        if kind is Pairs and depth < DEEPEST:
            return {"p": [[key, self._told(inner, depth + 1)] for key, inner in cell]}
        if kind is Decimal:
            return {"d": str(cell)}
        if kind is date:
            return {"t": [cell.isoformat()]}
        if kind is datetime and not cell.fold:
            return {"t": [cell.replace(tzinfo=None).isoformat(), self._zone(cell.tzinfo)]}
        return self._of_its_own(cell)

    def _of_its_own(self, cell: Any) -> Any:
        self._kept.append(cell)
        return {"o": len(self._kept) - 1}

    def _zone(self, zone: Any) -> int:
        """Return the number of a time zone: few are kept, whatever has them."""
        number = self._zones.get(id(zone))
        if number is None:
            number = self._zones[id(zone)] = len(self._kept)
            self._kept.append(zone)
        return number

    def _meant(self, cell: Any) -> Any:
        """Return the cell that JSON says."""
        if type(cell) is not dict:
            return cell
        ((kind, value),) = cell.items()

        if kind == "n":
            return Literal(value)
        if kind == "l":
            return [self._meant(inner) for inner in value]
        if kind == "p":
            return Pairs((key, self._meant(inner)) for key, inner in value)
        if kind == "d":
            return Decimal(value)
        if kind == "t":
            if len(value) == 1:
                return date.fromisoformat(value[0])
            return datetime.fromisoformat(value[0]).replace(tzinfo=self._kept[value[1]])
        return self._kept[value]
