"""Names that a user may have meant."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

MARKS = " \t\r\n\ufeff\u200b\u00ef\u00bb\u00bf\"'"
"""What surrounds a name unseen: spaces, quotes, a byte-order mark, and that mark read as Latin-1."""
MOST = 2000
"""Names that are compared letter by letter, at most."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that differs least: by case or its surroundings alone, else by few letters, else none."""
    folded = {_folded(other): other for other in reversed(list(known)[:MOST])}
    if _folded(name) in folded:
        return folded[_folded(name)]

    close = get_close_matches(_folded(name), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def _folded(name: str) -> str:
    return name.strip(MARKS).casefold()


def readable(path: str | Path) -> str:
    """Return a path as it can be printed: bytes of a name that are no UTF-8 are shown by their value."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, of which no file can be called
        return ascii(str(path))[1:-1]
