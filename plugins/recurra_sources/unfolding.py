"""Rows that are whole sequences, each with what is said of it: their steps, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recurra import Element, InputError
from recurra_sources.cells import Cells, Markers, Place, Reader, Row, is_missing


class Unfolding:
    """Makes of each row that is a sequence the rows of its steps, as a table with groups has them.

    Text stays one row. Tokens are split at white space, or come as a list. Numbers are one step, or
    lists of as many steps in every column; one column alone may hold several numbers a step, as a
    list of lists, and `width` is how many, once a row tells.
    """

    def __init__(self, where: str, columns: list[str], element: Element, markers: Markers) -> None:
        self.where = where
        self.markers = markers
        self.columns = columns
        self.element = element
        self.width = 0

    def rows(self, rows: Iterator[Row], beside: list[Reader]) -> Iterator[Row]:
        """Give the steps of rows: they end as these do, and with their number as a group.

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
            steps = self.steps(f"{self.where}:{line}", columns)
            faults = (read(cell)[1] for read, cell in zip(beside, ends, strict=True))
            if any(faults):
                # The cells at the end are those of each step: what is wrong is reported once.
                steps = steps[:1]

            for number, step in enumerate(steps, 1):
                place: Place = f"{line}, step {number}" if len(steps) > 1 else line
                yield place, [*step, *ends, str(count)]

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
