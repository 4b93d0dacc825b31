"""The cells of rows, read one row after the other, and what becomes of those that are missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from recurra_sources.cells import Cells, Place, Reader, Reading
from recurra_sources.covariates import CovariateReader
from recurra_sources.faults import Faults
from recurra_sources.table_options import RowOptions

NOTHING: tuple[Any, Reading] = (object(), (None, ""))
"""A cell that is no other, and what was read of it."""


class Mending:
    """Reads the cells of rows, and does about missing ones what the task says.

    `read_cell` reads an element, `covariates` what is read behind the elements of each row, and
    `beside` what stands behind both; `name` gives the name of a cell by its place in a row and the
    number of cells before those beside. The last cell of a row is its group, where it is `grouped`.
    """

    def __init__(
        self,
        options: RowOptions,
        read_cell: Reader,
        beside: list[Reader],
        faults: Faults,
        name: Callable[[int, int], str],
        grouped: bool,
        covariates: Sequence[CovariateReader] = (),
    ) -> None:
        self.missing, self.longest_gap = options.missing, options.longest_gap
        self.read_cell, self.beside = read_cell, beside
        self.faults, self.name, self.grouped = faults, name, grouped
        self.covariates = covariates
        self.static = {options.beside.index(name) for name in options.static_covariates}
        self.whole = self.dropped = 0
        self.said: dict[int, tuple[Any, Reading]] = {}
        self.begin()

    def begin(self) -> None:
        """Begin a new sequence, which takes nothing from the one before."""
        self.last: Cells = []
        self.filled: dict[int, int] = {}  # cells of a column one after the other

    def values(self, place: Place, cells: Cells, unread: int = 0) -> Cells:
        """Return the value of each cell of a row; none where it lacks, and of those `unread`."""
        width = len(cells) - len(self.beside)
        own = width - len(self.covariates)
        values = [
            self._value(place, index, cells, width, self.read_cell(cells[index]))
            for index in range(unread, own)
        ]
        values = [*[None] * unread, *values][: max(own, unread)]
        for index, covariate in enumerate(self.covariates, own):
            if index < unread:
                continue
            values.append(self._value(place, index, cells, width, covariate(cells[index])))
        for index, read in enumerate(self.beside, width):
            # The steps of one sequence share these cells: each is read once.
            cell, reading = self.said.get(index, NOTHING)
            if cells[index] is not cell:
                reading = read(cells[index])
                self.said[index] = (cells[index], reading)
            values.append(self._value(place, index, cells, width, reading))
        return values

    def _value(self, place: Place, index: int, cells: Cells, width: int, reading: Reading) -> Any:
        """Return the value of a cell that was read; none where it lacks."""
        value, fault = reading
        if fault == "missing":
            return self._missing(place, index, cells, width)
        if fault:
            self.faults.add(place, self.name(index, width), cells[index], fault)
        elif self.filled:
            self.filled.pop(index, None)
        return value

    def _missing(self, place: Place, index: int, cells: Cells, width: int) -> Any:
        """Return what a missing cell becomes: the value before it, or none."""
        is_group = self.grouped and index == len(cells) - 1
        before = None if is_group or not self.last else self.last[index]
        covariate = width - len(self.covariates) <= index < width
        # Between names there is no line: the one before goes on.
        names = covariate and bool(self.covariates[index - width].is_names)
        interpolated = self.missing == "interpolate" and index < width
        if (interpolated and not names) or self.missing == "drop":
            return None
        if self.missing == "keep" and (index < width or index - width in self.static):
            return math.nan

        cell, fault = cells[index], "missing"
        if (self.missing == "forward" or interpolated) and before is not None:
            count = self.filled[index] = self.filled.get(index, 0) + 1
            if not self.longest_gap or count <= self.longest_gap:
                return before
            cell, fault = None, too_long(self.longest_gap)
        self.faults.add(place, self.name(index, width), cell, fault)
        self.faults.note_missing(before is not None)
        return None

    def keep(self, values: Cells) -> None:
        """Keep a row, of which later ones may take values."""
        self.whole += 1
        self.last = values


def too_long(longest_gap: int) -> str:
    """Return what is wrong with nothing, where too much of it stands one after the other."""
    return f"stands here, in a gap of more than longest_gap = {longest_gap}"
