"""Names that a user may have meant, and texts that can be printed and written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

MARKS = " \t\r\n\ufeff\u200b\u00ef\u00bb\u00bf\"'"
"""What surrounds a name unseen: spaces, quotes, a byte-order mark, also read as Latin-1."""
MOST = 2000
"""Names that are compared letter by letter, at most."""
HALF_CURE = "mend the text where it was cut: such a half is no character"
"""What to do about half a surrogate pair."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return which of some names differs least, or nothing.

    It differs by its case or its surroundings alone, else by few letters.
    """
    # Backwards, so that of several names that are folded to one the first stays.
    others = reversed(list(names)[:MOST])
    by_folded = {_folded(other): other for other in others}
    folded = _folded(name)
    if folded in by_folded:
        return by_folded[folded]

    close = get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else ""


def _folded(name: str) -> str:
    """Return a name without its case and its surroundings."""
    return name.strip(MARKS).casefold()


def readable(path: str | Path) -> str:
    """Return a path as it can be printed on one line.

    Bytes that are no UTF-8, and what nobody sees, are shown by their value.
    """
    try:
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        # It holds half a surrogate pair, of which no file can be called.
        name = str(path)
    marks = [mark if mark.isprintable() else ascii(mark)[1:-1] for mark in name]
    return "".join(marks)


def half_pair(text: str) -> int | None:
    """Return where a text holds half a surrogate pair, which no file can hold, or none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None
