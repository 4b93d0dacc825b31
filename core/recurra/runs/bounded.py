"""How much a file that recurra has written may hold, told before it is taken into memory."""

from __future__ import annotations

import re
from pathlib import Path

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
