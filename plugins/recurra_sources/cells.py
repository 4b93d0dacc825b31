"""Cells of a table: what each may be read as, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, TypeAlias

from recurra import NO_LABEL, Element
from recurra_sources.labels import FOLDS

Place: TypeAlias = int | str
"""The line at which a row begins; where a line holds several steps, `3, step 2`."""
Row: TypeAlias = tuple[Place, list[Any]]
"""Where a row stands, and its cells: text, none where there is nothing, else what is neither.

A blank line, which is no row but stands between rows, has no cells.
"""
Cells: TypeAlias = list[Any]
"""A row whose cells are read: numbers, or texts."""
Reading: TypeAlias = tuple[Any, str]
"""The value of a cell and no fault; or none, and what is wrong with the cell."""
Reader: TypeAlias = Callable[[Any], Reading]
"""What reads a cell."""
Number: TypeAlias = Callable[[str], tuple[float | None, str]]
"""What reads a number that is written, and says what is wrong with it."""


class Literal(str):
    """A number of JSON as it is written."""

    __repr__ = str.__str__


class Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object in their order, a key that stands twice with both."""

    def __repr__(self) -> str:
        return repr(dict(self))


class Markers:
    """Texts of cells that hold nothing, as `N/A`; where numbers are read, `-999.0` is `-999`."""

    def __init__(self, texts: Iterable[str], number: Number) -> None:
        self.texts = frozenset(texts)
        values = {number(text)[0] for text in self.texts}
        self.values = values - {None}

    def __contains__(self, cell: Any) -> bool:
        return isinstance(cell, str) and cell.strip() in self.texts

    def before(self, read: Reader) -> Reader:
        """Return a reader that looks for markers first, and of numbers at their value then."""
        if not self.texts:
            return read

        def marked(cell: Any) -> Reading:
            if cell in self:
                return None, "missing"
            value, fault = read(cell)
            # A token that looks like a number is none.
            is_marker = isinstance(value, float) and value in self.values
            return (None, "missing") if is_marker else (value, fault)

        return marked


def is_missing(cell: Any) -> bool:
    """Return whether a cell that must hold a number or a name holds nothing."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def text(cell: Any) -> Reading:
    """Return a cell that is a text; an empty one is one too."""
    if cell is None:
        return None, "missing"
    if not isinstance(cell, str):
        return None, "is not text"
    return str(cell), ""


def whole_text(cell: Any) -> Reading:
    """Return a cell that is the text of a whole sequence, which has one character or more."""
    if cell == "":
        return None, "missing"
    return text(cell)


def named(cell: Any) -> Reading:
    """Return a cell that is the name of a token, of a group or of a class."""
    if is_missing(cell):
        return None, "missing"
    return text(cell)


def label(cell: Any) -> Reading:
    """Return a cell that is the label of a class."""
    if type(cell) is list:
        return None, "is a list, and a class is named by one text"
    return named(cell)


def tokens(cell: Any) -> Reading:
    """Return a cell that holds the tokens of an answer, of which there may be none.

    They stand between white space, or in a list.
    """
    if isinstance(cell, str):
        return cell.split(), ""
    if type(cell) is not list:
        return text(cell)
    for token in cell:
        if named(token)[1]:
            return None, "is no list of tokens"
    return [str(token) for token in cell], ""


def tags(cell: Any) -> Reading:
    """Return a cell that holds the tags of the characters of a text, a list."""
    if not cell:
        return None, "missing"
    return tokens(cell)


def label_of_step(cell: Any) -> Reading:
    """Return a cell that says of a step what it is, as text; it may hold nothing."""
    told = "" if is_missing(cell) or cell != cell else str(cell).strip()
    return (NO_LABEL if told in ("", "nan") else told), ""


def of_steps(element: Element, labelled: bool) -> Reader:
    """Return what reads the tags of steps, or labels of them."""
    if labelled:
        return label_of_step
    return tags if element == "text" else named


def stamp(cell: Any) -> Reading:
    """Return a cell that is a time stamp, as it is written: `Timeline.read` tells what it is."""
    if is_missing(cell) or cell != cell:
        return None, "missing"
    if isinstance(cell, str):
        return str(cell).strip(), ""
    return (cell.isoformat() if isinstance(cell, date) else str(cell)), ""


def fold(cell: Any) -> Reading:
    """Return a cell that tells in which split a sequence is."""
    name, fault = named(cell)
    if fault:
        return None, fault
    if name not in FOLDS:
        return None, f"is none of {', '.join(FOLDS)}"
    return name, ""


def number(cell: Any, read: Number) -> Reading:
    """Return a cell that is a number, as `read` reads what is written."""
    if is_missing(cell):
        return None, "missing"
    if not isinstance(cell, str):
        return None, "is not a number"
    return read(cell)
