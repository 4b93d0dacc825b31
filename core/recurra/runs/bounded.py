"""How much a file that recurra has written may hold, told before it is taken into memory."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

BYTES = 1 << 28
"""Bytes of a JSON file; the words of a vocabulary of millions are far within."""
VALUES = 1 << 22
"""Values of a JSON text, counted by its commas and brackets."""
DEEPEST = 100
"""How deeply lists and objects of a JSON text may lie in each other."""
DIGITS = 1000
"""Digits of an integer of a JSON text."""
LINE = 1 << 20
"""Bytes of a line of records; a longer one is none."""
HEADER = 1 << 24
"""Bytes of the header of a safetensors file."""

WIDTHS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}
"""Bytes of a number of each type that safetensors and torch both have."""
KEYS = {"dtype", "shape", "data_offsets"}


def whole(path: Path, most: int = BYTES) -> bytes:
    """Return all that a file holds. Raises `OSError`, and `ValueError` for more than `most`."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return content


def check_json(content: bytes) -> None:
    """Raise `ValueError` for a JSON text of too many values, or that nests too deeply."""
    opened = content.count(b"[") + content.count(b"{")
    if opened + content.count(b",") > VALUES:
        raise ValueError(f"it has more than {VALUES:,} values")
    if opened <= DEEPEST:
        return

    depth = 0
    for match in _MARKS.finditer(content):
        mark = match.group()
        if mark in (b"[", b"{"):
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"it nests more than {DEEPEST} lists or objects")
        elif mark in (b"]", b"}"):
            depth -= 1


_MARKS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
"""A text, or a bracket outside of one."""


def integer(text: str) -> int:
    """Return an integer of JSON. Raises `ValueError` for one of too many digits."""
    if len(text) > DIGITS:
        raise ValueError(f"{text[:40]}... has more than {DIGITS:,} digits")
    return int(text)


def check_tensors(path: Path) -> None:
    """Check that the header of a safetensors file says what the file holds, byte for byte.

    Raises `OSError`, or `ValueError` that names the tensor: one that stands twice, of an unknown
    type, of a shape that is none, or whose bytes are not as many as its shape says, overlap those
    of another, leave a gap, or go beyond the end of the file.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= size - 8:
            raise ValueError(f"its header should have {length:,} bytes, and the file has {size:,}")
        if length > HEADER:
            raise ValueError(f"its header has {length:,} bytes, {HEADER:,} at most")
        text = file.read(length)

    check_json(text)
    header = json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_int=integer)
    if not isinstance(header, dict):
        raise ValueError("its header is no table of tensors")
    header.pop("__metadata__", None)
    end = 0
    for name, entry in sorted(header.items(), key=_begin):
        end = _check_entry(name[:80], entry, end)
    if end != size - 8 - length:
        raise ValueError(f"its tensors have {end:,} bytes, and it holds {size - 8 - length:,}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"{name[:80]!r} stands twice in its header")
        table[name] = value
    return table


def _begin(item: tuple[str, Any]) -> tuple[int, int]:
    """Return where a tensor begins and ends; -1 where that is not said, which is refused later."""
    entry = item[1]
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2:
        return -1, -1
    begin, end = offsets
    return (begin, end) if type(begin) is int and type(end) is int else (-1, -1)


def _check_entry(name: str, entry: Any, before: int) -> int:
    """Check what a header says of a tensor, which begins where the one `before` has ended."""
    known = isinstance(entry, dict) and entry.keys() == KEYS
    if not known or not isinstance(entry["dtype"], str) or entry["dtype"] not in WIDTHS:
        raise ValueError(f"what its header says of {name!r} is no tensor")
    shape = entry["shape"]
    if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"the shape of {name!r} is none")

    begin, end = _begin((name, entry))
    if begin != before or end < begin:
        raise ValueError(f"{name!r} does not begin where the tensor before it ends")
    count = 1
    for length in shape:
        count *= length
    if count * WIDTHS[entry["dtype"]] != end - begin:
        raise ValueError(f"{name!r} has {end - begin:,} bytes, and its shape asks for another size")
    return end
