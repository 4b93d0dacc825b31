"""Rows that follow each other in a table, made into steps; those still to come among them."""

from __future__ import annotations

from collections.abc import Iterator

from recurra_sources import cells as read_as
from recurra_sources.bulk import Many
from recurra_sources.cells import Cells, Markers, Place, Row
from recurra_sources.gaps import Gaps
from recurra_sources.interpolation import NOTHING_AFTER
from recurra_sources.mending import Mending
from recurra_sources.pieces import Step
from recurra_sources.table_options import RowOptions


class Steps:
    """Makes rows into steps, and takes note of the `gaps` that those leave which are left out.

    `unit` is what the place of a row counts.
    """

    def __init__(
        self, options: RowOptions, mending: Mending, markers: Markers, gaps: Gaps, unit: str
    ) -> None:
        self.options, self.mending, self.markers = options, mending, markers
        self.gaps, self.unit = gaps, unit
        self.beside, self.labels = options.beside, options.labels
        self.reads_ahead = bool(options.future_covariates)

    def read(self, rows: Iterator[Row | Many]) -> Iterator[Step]:
        """Give rows with every cell read, but for numbers that wait for those after them."""
        mending, gaps = self.mending, self.gaps
        group = None
        # Rows that hold no element: they are still to come, unless one follows that does.
        empty: list[Row] = []
        for row in rows:
            if isinstance(row, Many):
                yield from self._many(row)
                continue
            place, cells = row
            if not cells:
                gaps.leave(place, "blank line")
                continue

            # A row that does not say whose it is begins no sequence.
            told = (
                mending.grouped
                and not read_as.is_missing(cells[-1])
                and cells[-1] not in self.markers
            )
            if told and cells[-1] != group:
                yield from self._ahead(empty)
                group = cells[-1]
                empty = []
                mending.begin()
                gaps.begin()

            if self._is_empty(cells):
                empty.append((place, cells))
                continue
            for each in (*empty, (place, cells)):
                yield from self._step(each)
            empty = []
        yield from self._ahead(empty)

    def _many(self, rows: Many) -> Iterator[Step]:
        """Give rows that are whole, as the one that came before them was, of the same sequence."""
        mending, values = self.mending, rows.values
        width = values.shape[1]
        self.gaps.keep()
        mending.whole += len(values)
        mending.last = [*values[-1].tolist(), *mending.last[width:]]
        mending.filled = {}
        step = self.last._replace(place=rows.place, many=values)
        if self.options.missing != "interpolate":
            yield step
            return
        # Between those that lack a number and others a line is drawn from one to the next.
        yield step._replace(values=values[0].tolist(), many=None)
        if len(values) > 2:
            yield step._replace(many=values[1:-1])
        if len(values) > 1:
            yield step._replace(values=values[-1].tolist(), many=None)

    def _is_empty(self, cells: Cells) -> bool:
        """Tell whether a row may be of a step to come: it holds none of the elements."""
        if not self.reads_ahead:
            return False
        own = cells[: len(self.options.columns)]
        return all(self.mending.read_cell(cell)[1] == "missing" for cell in own)

    def _ahead(self, rows: list[Row]) -> Iterator[Step]:
        """Give rows at the end of a sequence, of which no element has come."""
        mending, columns = self.mending, self.options.columns
        known = len(columns) + len(self.options.past_covariates)
        for place, cells in rows:
            # Of what is not known before nothing is asked.
            before = mending.faults.count
            values = mending.values(place, cells, known)
            width = len(cells) - len(mending.beside)
            lacking = [at for at in range(known, width) if values[at] is None]
            if mending.missing == "interpolate" and mending.faults.count == before:
                # Nothing follows to which a line could lead.
                for at in lacking:
                    mending.faults.add(place, mending.name(at, width), None, NOTHING_AFTER)
            if self.options.settled:
                mending.faults.raise_any(mending.whole)
            if None in values[known:] or mending.faults.count > before:
                self.gaps.leave(place, self.unit)
                mending.dropped += 1
            else:
                yield self._made(place, values, width, True)

    def _step(self, row: Row) -> Iterator[Step]:
        """Give a row with every cell read, unless it is left out."""
        mending, options, (place, cells) = self.mending, self.options, row
        faults_before = mending.faults.count
        values = mending.values(place, cells)
        if options.settled:
            # At once, or a sequence would be answered without this step.
            mending.faults.raise_any(mending.whole)
        width = len(cells) - len(mending.beside)
        needed = values[width:] if options.missing == "interpolate" else values
        # What cannot be read is no gap that might be filled.
        if None in needed or mending.faults.count > faults_before:
            self.gaps.leave(place, self.unit)
            mending.dropped += 1
            return

        self.gaps.keep()
        mending.keep(values)
        self.last = self._made(place, values, width)
        yield self.last

    def _made(self, place: Place, values: Cells, width: int, ahead: bool = False) -> Step:
        """Return a step of values that were read, of which so many are its own."""
        options = self.options
        about = dict(zip(self.beside, values[width:], strict=False))
        label = " ".join(about[name] for name in self.labels) if self.labels else None
        grouped = options.group is not None or options.whole_rows
        return Step(
            place,
            values[:width],
            label,
            None if options.fold is None else about[options.fold],
            None if options.answer is None else about[options.answer],
            None if options.tags is None else about[options.tags],
            values[-1] if grouped else None,
            None if options.time is None else about[options.time],
            {name: about[name] for name in options.static_covariates},
            ahead,
        )
