"""Text in pictures: escaped, measured before it is drawn, and numbers as people write them."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from typing import Any

FONT = 12.0
"""The height of letters, in the units of a picture."""
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML does not take, and what commands a terminal: controls, and halves of a pair."""


def escaped(text: Any) -> str:
    """Return a text as it stands in markup, also within quotes.

    What XML does not take stands as a mark of replacement.
    """
    return html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text)), quote=True)


def width(text: str, font: float = FONT) -> float:
    """Return how wide a line of text is at most, in any of the fonts that a browser may take."""
    return font * sum(1.05 if unicodedata.east_asian_width(c) in "WF" else 0.62 for c in text)


def shortened(text: Any, most: int) -> str:
    """Return a text in one line, and in no more than so many letters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def lines(text: str, most: float, font: float = FONT) -> list[str]:
    """Return a text in lines that are no wider than `most`; a longer word has a line for itself."""
    made: list[str] = []
    for word in text.split():
        longer = f"{made[-1]} {word}" if made else word
        if made and width(longer, font) <= most:
            made[-1] = longer
        else:
            made.append(word)
    return made


def number(value: Any, digits: int = 4) -> str:
    """Return a value for people: a number with so many digits, and nothing for nothing."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"{value:.{digits}g}"
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "no number"
    if 10**digits <= abs(value) < 10**9:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
