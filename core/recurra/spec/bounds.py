"""How much a TOML text may hold, told in one walk over it, before any of it is read.

What a task needs is far within; what is beyond is data, or was made to keep the reader busy.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LARGEST = 1 << 22
"""Bytes of a text."""
KEYS = 20_000
"""Keys, and headers of tables, each name of a dotted one: any may make a table."""
VALUES = 150_000
"""Keys, and elements of lists, together."""
DEEPEST = 100
"""How deeply tables and lists may lie in each other."""
PARTS = 32
"""Names of a dotted key, or of a header."""

BEYOND = "name a task file; data stands in files of its own, which [source] names"
"""What to do about a text that is too large."""

_TOKEN = re.compile(
    r'"""[^"\\]*+(?:(?:\\.|"{1,2}(?!"))[^"\\]*+)*+"{3,5}|'
    r"'''[^']*+(?:'{1,2}(?!')[^']*+)*+'{3,5}|"
    r'"(?!"")[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"|'
    r"'(?!'')[^'\n]*+'|"
    r"\n[ \t\r\n]*+|#[^\n]*+|"
    r"[\[\]{},=.]|[\"']",
    re.DOTALL,
)


TOO_DEEP = "the text nests lists or tables too deeply"


class Excess(NamedTuple):
    """What a text has too much of, and the offset from which on."""

    at: int
    fact: str
    allowed: str


def excess(text: str) -> Excess | None:
    """Return what a text has more of than is read, or nothing.

    A text that is no TOML is looked at as far as it might be.
    """
    keys = values = depth = dots = 0
    # Whether what follows on a line is a value: a header has no `=` before it.
    valued = False
    for match in _TOKEN.finditer(text):
        mark = match.group()
        first = mark[0]
        if first == ".":
            dots += 1
            if dots >= PARTS:
                fact = f"a key has more than {PARTS} names"
                return Excess(match.start(), fact, f"{PARTS} names with dots between them, at most")
            continue

        if first in "\"'":
            if len(mark) == 1:
                # No string begins like this: what follows is no TOML either.
                return None
            continue
        if first == "=" or (first == "]" and depth == 1 and not valued):
            keys += dots
        dots = 0
        if first == "\n" and not depth:
            valued = False
        elif first == "=":
            valued = True
        if first in "[{":
            depth += 1
            values += 1
            # A header of tables begins with brackets, too.
            keys += depth == 1
        elif first in "]}":
            depth = max(depth - 1, 0)
        elif first in ",=":
            values += 1
            keys += first == "="

        if depth > DEEPEST:
            return Excess(match.start(), TOO_DEEP, f"{DEEPEST} inside each other, at most")
        if keys > KEYS:
            return Excess(match.start(), f"the text has more than {KEYS:,} keys", f"{KEYS:,} keys")
        if values > VALUES:
            fact = f"the text has more than {VALUES:,} values"
            return Excess(match.start(), fact, f"{VALUES:,} keys and elements of lists")
    return None
