"""Makes tasks/addition.csv.gz: two numbers to be added, each pair with its sum."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "tasks" / "addition.csv.gz"

COUNT = 8_000
"""Pairs, each another,"""
DIGITS = 2
"""of numbers of one digit to so many."""


def lines() -> list[str]:
    """Return the lines of the file."""
    draw = random.Random(0)
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < COUNT:
        one, other = (draw.randrange(10 ** draw.randint(1, DIGITS)) for _ in range(2))
        pairs[one, other] = None
    return ["sum,is\n", *(f"{one}+{other},{one + other}\n" for one, other in pairs)]


if __name__ == "__main__":
    TARGET.write_bytes(gzip.compress("".join(lines()).encode(), mtime=0))
    print(f"{TARGET}: {COUNT} pairs, {TARGET.stat().st_size:,} bytes")
