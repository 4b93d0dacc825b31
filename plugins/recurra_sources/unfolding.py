"""Rows that are whole sequences, each with what is said of it: their steps, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recurra import Element, InputError
from recurra_sources.cells import Cells, Markers, Place, Reader, Row, is_missing
from recurra_sources.faults import shortened

UNITS: dict[Element, str] = {"text": "characters", "tokens": "tokens", "numbers": "steps"}
"""What the elements of a sequence are called."""


class Unfolding:
    """Makes of each row that is a sequence the rows of its steps, as a table with groups has them.

    Text stays one row. Tokens are split at white space, or come as a list. Numbers are one step, or
    lists of as many steps in every column; one column alone may hold several numbers a step, as a
    list of lists, and `width` is how many, once a row tells. `tags` is the place of the cell behind
    the columns that holds a tag for each element.
    """

    def __init__(
        self,
        where: str,
        columns: list[str],
        element: Element,
        markers: Markers,
        tags: int | None = None,
    ) -> None:
        self.where = where
        self.markers = markers
        self.columns = columns
        self.element = element
        self.tags = tags
        self.width = 0

    def rows(self, rows: Iterator[Row], beside: list[Reader]) -> Iterator[Row]:
        """Give the steps of rows: they end as these do, and with their number as a group.

        Each has its own tag, if it has any.

        `beside` is what reads the cells at the end of a row, which say something of the sequence.
        """
        count = 0
        for line, cells in rows:
            if not cells:
                yield line, cells
                continue
            count += 1

            width = len(self.columns)
            columns, ends = cells[:width], cells[width:]
            where = f"{self.where}:{line}"
            steps = self.steps(where, columns)
            said = self._said(where, steps, ends)
            faults = (read(cell)[1] for read, cell in zip(beside, said[0], strict=True))
            shared = self.tags is None or _holds_nothing(ends[self.tags])
            if shared and any(faults):
                # The cells at the end are those of each step: what is wrong is reported once.
                steps = steps[:1]

            for number, (step, own) in enumerate(zip(steps, said, strict=False), 1):
                place: Place = f"{line}, step {number}" if len(steps) > 1 else line
                yield place, [*step, *own, str(count)]

    def _said(self, where: str, steps: list[Cells], ends: Cells) -> list[Cells]:
        """Return what stands at the end of each step: the cells of its row, and its own tag.

        Raises `InputError` (RC042) for more or fewer tags than a sequence has elements.
        """
        if self.tags is None or _holds_nothing(ends[self.tags]):
            return [ends] * len(steps)
        cell = ends[self.tags]
        if isinstance(cell, str):
            cell = cell.split()
        tags = cell if _is_list(cell) else [cell]

        # A text is one step, whatever its length; where a cell is missing, that is what is told.
        text = steps[0][0] if self.element == "text" else None
        count = len(text) if isinstance(text, str) else len(steps)
        missing = None in steps[0] or text == ""
        if len(tags) != count and not missing:
            fact = f"{where}: {len(tags)} tags for {count} {UNITS[self.element]}"
            cure = "give each of them one tag, between white space or in a list"
            got = shortened(ends[self.tags])
            raise InputError.of("RC042", fact, key="source.tags", got=got, cure=cure)

        each = [tags] if self.element == "text" else tags
        before, after = ends[: self.tags], ends[self.tags + 1 :]
        return [[*before, tag, *after] for tag in each]

    def steps(self, place: str, columns: Cells) -> list[Cells]:
        """Return the steps of a sequence, at least one: where it holds none, one that is missing.

        Raises `InputError` (RC042) for steps of different widths, and columns of different lengths.
        """
        if self.element == "text":
            return [columns]
        if len(columns) > 1:
            return self._side_by_side(place, columns)

        cell = columns[0]
        if _holds_nothing(cell):
            return [[None]]
        if cell in self.markers:
            return [[cell]]
        if self.element == "tokens" and isinstance(cell, str):
            cell = cell.split()
        listed = cell if _is_list(cell) else [cell]
        if self.element == "tokens":
            return [[token] for token in listed]
        return self._series(place, listed)

    def _series(self, place: str, steps: list[Any]) -> list[Cells]:
        """Return the steps of one column: a number each, or a list of numbers each."""
        # A missing step is as wide as all others.
        widths = {len(step) if _is_list(step) else 1 for step in steps if step is not None}
        if widths and self.width:
            widths.add(self.width)
        if 0 in widths or len(widths) > 1:
            fact = f"{place}: every step of {self.columns[0]} must hold the same number of features"
            fact += ", and one at least"
            got = str(sorted(widths))
            cure = "give each step a list of as many numbers as in the first row"
            raise InputError.of("RC042", fact, key="source.columns", got=got, cure=cure)

        self.width = max(widths, default=self.width)
        missing = [None] * (self.width or 1)
        rows: list[Cells] = []
        for step in steps:
            if step is None:
                rows.append(missing)
            else:
                rows.append(step if _is_list(step) else [step])
        return rows

    def _side_by_side(self, place: str, columns: Cells) -> list[Cells]:
        """Return the steps of several columns: a number of each."""
        lists = [cell for cell in columns if _is_list(cell)]
        if any(_holds_nothing(cell) or cell in self.markers for cell in columns):
            # Without one column no step is whole: the first one stands for all.
            firsts = [next(iter(cell), None) if _is_list(cell) else cell for cell in columns]
            return [firsts]
        if not lists:
            return [columns]

        lengths = [len(cell) if _is_list(cell) else "no list" for cell in columns]
        if len(set(lengths)) > 1:
            named_lengths = zip(self.columns, lengths, strict=True)
            described = ", ".join(f"{name}: {length}" for name, length in named_lengths)
            fact = f"{place}: the columns hold different numbers of steps"
            cure = "give every column a list of as many steps"
            raise InputError.of("RC042", fact, key="source.columns", got=described, cure=cure)
        return [list(step) for step in zip(*columns, strict=True)]


def _is_list(cell: Any) -> bool:
    """Return whether a cell is a list of JSON; its objects are lists too, of another type."""
    return type(cell) is list


def _holds_nothing(cell: Any) -> bool:
    """Return whether a cell is missing, or a list of nothing."""
    empty_list = _is_list(cell) and not cell
    return empty_list or is_missing(cell)
