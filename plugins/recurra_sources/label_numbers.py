"""Labels that are numbers, which answer a whole sequence, as a table or a task writes them."""

from __future__ import annotations

import re
import warnings
from decimal import Decimal
from numbers import Real
from typing import Any

from recurra import Unsuited
from recurra_sources import numbers
from recurra_sources.cells import Markers, Reading, is_missing
from recurra_sources.numbers import SPACED, Writing

BEFORE_PERCENT = re.compile(r"[ \t]+%")
WORD = re.compile(r"[^ \t\r\n\f\v]+")
"""What stands between blanks: a space that no line is broken at groups thousands."""


class LabelNumbers:
    """Reads the numbers of a column: one a cell, or several with blanks between them or in a list.

    It gives them as Python writes them, their digits as they are, with blanks between. A cell that
    is a marker, or that holds one among its numbers, is missing. Every cell holds as many as the
    first.
    """

    def __init__(self, writing: Writing, markers: Markers) -> None:
        self.writing, self.markers = writing, markers
        self.width = 0
        self.cells = self.like_one = 0

    def __call__(self, cell: Any) -> Reading:
        """Return the numbers of a cell as text, or none and what is wrong with it."""
        if is_missing(cell) or cell in self.markers:
            return None, "missing"
        words = self._words(cell)
        if not words:
            return None, "missing"
        found: list[str] = []
        for word in words:
            text, fault = self._one(word)
            if fault:
                return None, fault
            found.append(text)

        if self.width and len(found) != self.width:
            counted = "1 number" if len(found) == 1 else f"{len(found)} numbers"
            fault = f"holds {counted}, and the first label {self.width}"
            if self.writing.cured and _like_one(cell):
                fault += ': for thousands set source.thousands = " "'
            return None, fault
        self.width = len(found)
        self.cells += 1
        self.like_one += len(found) > 1 and _like_one(cell)
        # What is written so already stays as it is.
        return cell if isinstance(cell, str) and found == words else " ".join(found), ""

    def warn(self, where: str, name: str) -> None:
        """Warn (`Unsuited`) where each cell is several numbers that look like one."""
        if self.cells < 2 or self.like_one < self.cells:
            return
        text = (
            f"{where}: each cell of {name} holds {self.width} numbers, and looks like one whose"
            " thousands are grouped by a blank; if it is one, write it without the blank, or in csv"
            ' set source.thousands = " "'
        )
        warnings.warn(text, Unsuited, stacklevel=2)

    def _words(self, cell: Any) -> list[Any]:
        """Return what is to be one number each."""
        if hasattr(cell, "tolist"):
            cell = cell.tolist()  # an array, or a number of one
        if type(cell) in (list, tuple):
            return [*cell]
        if not isinstance(cell, str):
            return [cell]
        whole = not numbers.plain(cell, self.writing)[1]
        if whole or " " in self.writing.between:
            return [cell.strip()]
        return WORD.findall(BEFORE_PERCENT.sub("%", cell))

    def _one(self, word: Any) -> tuple[str, str]:
        """Return one number as Python writes it, or what is wrong with it."""
        if isinstance(word, Real | Decimal) and not isinstance(word, bool):
            word = str(word)
        if is_missing(word) or word in self.markers:
            return "", "missing"
        if not isinstance(word, str):
            return "", "is not a number"
        value, fault = numbers.number(word, self.writing)
        if fault or value in self.markers.values:
            return "", fault or "missing"
        return numbers.plain(word, self.writing)[0], ""


def _like_one(cell: Any) -> bool:
    """Tell whether a cell is written as one number whose thousands are grouped by a space."""
    return isinstance(cell, str) and SPACED.fullmatch(cell.strip()) is not None
