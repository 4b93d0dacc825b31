"""Numbers as tables write them."""

from __future__ import annotations

import math
import re

GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]*)?")
"""A decimal comma, and points between the thousands: 1.234.567,5.

What begins with 0 has no thousands.
"""

CSV_CURE = 'for decimal commas set source.decimal = ","'


def number(text: str, decimal: str = ".", comma: str = CSV_CURE) -> tuple[float | None, str]:
    """Return the number that a text stands for, or none and what is wrong with it.

    `nan` is a missing one. `comma` says what to do where decimals may stand after a comma.

    Numbers are float64: digits beyond its 17 are rounded, and what it cannot hold is refused.
    Python reads more as numbers than a table holds, such as `1_0`, and digits of other scripts.
    """
    text = text.strip()
    if decimal != "." and "." in text:
        # Points may only group the thousands before a decimal comma.
        if decimal != "," or not GROUPED.fullmatch(text):
            return None, _why_no_point(decimal)
        text = text.replace(".", "")

    point = text.replace(decimal, ".")
    try:
        value = float(point) if point.isascii() and "_" not in point else None
    except ValueError:
        value = None

    if value is None:
        hint = f": {comma}" if decimal == "." and "," in text else ""
        return None, "is not a number" + hint
    if math.isnan(value):
        return None, "missing"
    if not math.isfinite(value):
        return None, "is not finite, or too large"
    return value, ""


def _why_no_point(decimal: str) -> str:
    """Return what is wrong with a number that holds a point beside another decimal mark."""
    if decimal == ",":
        return 'is not a number: with decimal = "," points group the thousands, by three digits'
    return f"is not a number: with decimal = {decimal!r} it holds no point"
