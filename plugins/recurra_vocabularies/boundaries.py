"""Words by the boundaries of Unicode."""

from __future__ import annotations

from functools import cache
from typing import Any


def segments(text: str) -> list[str]:
    """Return what lies between the word boundaries of a text; joined, that is the text.

    The boundaries are those of UAX #29, as the package regex has them. A single space stands before
    what follows it, and other white space by itself, each character alone.
    """
    tokens: list[str] = []
    for part in _boundary().split(text):
        if part.isspace():
            tokens += part
        elif part and tokens and tokens[-1] == " ":
            tokens[-1] = f" {part}"
        elif part:
            tokens.append(part)
    return tokens


@cache
def _boundary() -> Any:
    """Return the pattern of a boundary, made once."""
    import regex

    return regex.compile(r"\b", regex.VERSION1 | regex.WORD)
