"""Makes tasks/reverse.csv.gz: strings of letters, each with itself read backwards."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "tasks" / "reverse.csv.gz"

COUNT = 8000
"""Strings, each another,"""
LETTERS = "abcdefghij"
"""of these letters,"""
LONGEST = 10
"""and of 1 letter to so many."""


def lines() -> list[str]:
    """Return the lines of the file."""
    draw = random.Random(0)
    strings: dict[str, None] = {}
    while len(strings) < COUNT:
        letters = draw.choices(LETTERS, k=draw.randint(1, LONGEST))
        strings["".join(letters)] = None
    return ["text,reversed\n", *(f"{string},{string[::-1]}\n" for string in strings)]


if __name__ == "__main__":
    TARGET.write_bytes(gzip.compress("".join(lines()).encode(), mtime=0))
    print(f"{TARGET}: {COUNT} strings, {TARGET.stat().st_size:,} bytes")
