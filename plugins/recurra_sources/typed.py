"""Cells that have a type of their own: what they are as numbers, as names and as text."""

from __future__ import annotations

import math
from datetime import date, time
from decimal import Decimal
from numbers import Real
from typing import Any

from recurra_sources import numbers
from recurra_sources.cells import Reader, Reading


def number(cell: Any) -> Reading:
    """Return the number that a cell is: true is 1, and a text is read as in JSON lines."""
    if cell is None or cell != cell:
        return None, "missing"
    if isinstance(cell, str):
        return numbers.number(cell, numbers.JSON) if cell.strip() else (None, "missing")
    if not isinstance(cell, Real | Decimal):
        return None, "is not a number"
    try:
        value = float(cell)
    except OverflowError:
        value = math.inf
    return (None, fault) if (fault := numbers.unusable(value)) else (value, "")


def written(read: Reader) -> Reader:
    """Return what reads a cell as it would be written: 1, 0.5, true, 2024-01-31."""
    return lambda cell: read(as_text(cell))


def as_text(cell: Any) -> Any:
    """Return a cell as text, or a list of such; none where there is nothing."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, Real | Decimal):
        return None if cell != cell else str(cell)
    if isinstance(cell, date | time):
        return cell.isoformat()
    if type(cell) is list:
        return [as_text(inner) for inner in cell]
    return cell
