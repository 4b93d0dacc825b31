"""The data of a picture: columns with names and units, as a table and as csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True)
class Column:
    """Values with a name and a unit; None, and a number that is not finite, is a blank."""

    name: str
    values: Sequence[Any]
    unit: str = ""

    @property
    def heading(self) -> str:
        """The name, with the unit behind it where there is one."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


def plain(value: Any, digits: int = 6) -> Any:
    """Return a value as csv holds it: a number of no more digits than say something."""
    if hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.{digits}g}")


def csv_text(columns: Sequence[Column], digits: int = 6) -> str:
    """Return columns as csv, with a line of headings first; lines end as RFC 4180 says.

    What a spreadsheet would take for a formula has a quote before it.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([_cell(column.heading, digits) for column in columns])
    for row in zip_longest(*(column.values for column in columns)):
        writer.writerow([_cell(value, digits) for value in row])
    return out.getvalue()


def _cell(value: Any, digits: int) -> Any:
    value = plain(value, digits)
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def csv_link(text: str) -> str:
    """Return csv as the address of a link that holds it all, safe within quotes."""
    # A row ends with two bytes, which take six in a link: one does as well.
    kept = ",;:/?@!$()*.~ +=|[]{}^`"
    return "data:text/csv;charset=utf-8," + quote(
        text.replace("\r\n", "\n"), kept, errors="replace"
    )
