"""What every table has: columns, groups, labels, folds, missing cells. A row is a step of a series
or of tokens, or one whole text; with a label or a fold and no group it is a whole sequence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np

from recurra import Element, InputError, Piece, Role, Source
from recurra_sources import cells as read_as
from recurra_sources import files, labels
from recurra_sources.applying import refuse_unused
from recurra_sources.cells import Cells, Place, Row
from recurra_sources.faults import Faults
from recurra_sources.gaps import Gaps
from recurra_sources.names import nearest, readable
from recurra_sources.patterns import matching
from recurra_sources.table_options import TableOptions
from recurra_sources.unfolding import Unfolding

CHUNK = 1 << 14


class Step(NamedTuple):
    """A row whose cells are read, where it stands, and of what sequence it is."""

    place: Place
    values: Cells
    label: str | None
    fold: str | None
    group: str | None


O = TypeVar("O", bound=TableOptions)  # noqa: E741


class Table(Source[O]):
    """A file of rows; how they are written is a subclass's matter."""

    offers: ClassVar[tuple[Element, ...]] = ("text", "tokens", "numbers")

    def __init__(self, options: O) -> None:
        super().__init__(options)
        self._gaps = Gaps()

    @abstractmethod
    def written(self) -> Iterator[tuple[int, Any]]:
        """Give each row as it is written, and the line where it begins; nothing for a blank
        line.
        """

    @abstractmethod
    def cells(self, line: int, row: Any) -> list[Any]:
        """Return the cells of the columns that `named` lists, in its order; none for a blank line.

        Raises `InputError` (RC040, RC042) for a row that is not of the form.
        """

    def rows(self) -> Iterator[Row]:
        """Give the cells of each row."""
        return ((line, self.cells(line, row)) for line, row in self.written())

    @abstractmethod
    def number(self, cell: str) -> tuple[float | None, str]:
        """Return the number that a cell holds, or none and what is wrong with it."""

    def read(self, element: Element) -> Iterator[Piece]:
        """Give a series or token sequence a group, or a text a row or a group."""
        options = self.options
        refuse_unused(options, element)
        if element != "numbers" and len(options.columns) > 1:
            fact = f"{len(options.columns)} columns are named, but {element} are read from one"
            raise InputError.of("RC030", fact, key="source.columns")

        if options.settled and (
            options.whole_rows or (options.group is None and element == "text")
        ):
            yield from self._one_by_one(element)
        else:
            yield from self._sequences(self.rows(), element)

    def _one_by_one(self, element: Element) -> Iterator[Piece]:
        """Give the sequence of each row, or why it cannot be read: no row hangs on another."""
        count = 0
        for line, row in self.written():
            if not row:
                continue
            count += 1
            try:
                pieces = [*self._sequences(iter([(line, self.cells(line, row))]), element)]
            except InputError as error:
                pieces = [Piece(error)]
            yield from (
                piece._replace(columns={"series": str(count)}) if piece.start else piece
                for piece in pieces
            )

    def _sequences(self, lines: Iterator[Row], element: Element) -> Iterator[Piece]:
        """Give the pieces of all sequences that rows hold."""
        options = self.options
        steps = self._complete(lines, element)
        if options.group is None and not options.whole_rows:
            # all rows are one series, but each text stands by itself
            rows = (step.values for step in steps)
            yield from (Piece(cells[0]) for cells in rows) if element == "text" else _chunks(rows)
            return

        seen: set[str] = set()
        for group, inside in groupby(steps, key=attrgetter("group")):
            if group in seen:
                raise self._scattered(group)
            if options.group is not None:
                seen.add(group)
            yield from self._sequence(inside, element)

    def _sequence(self, steps: Iterator[Step], element: Element) -> Iterator[Piece]:
        """Give the pieces of one sequence; where it has a label or a fold, none of them is empty.

        Raises `InputError` (RC042) where there is nothing that these could be of.
        """
        first = next(steps)
        rows = self._of_one_label(first, chain([first], steps))
        pieces = self._joined(rows) if element == "text" else _chunks(rows)
        if first.label is None and first.fold is None:
            named: Mapping[Role, Any] = {"series": first.group} if first.group is not None else {}
            yield from (piece._replace(columns=named) if piece.start else piece for piece in pieces)
            return

        start = True
        for piece in pieces:
            if len(piece.values):
                yield labels.piece(piece.values, start, first.label, first.fold)
                start = False
        if start and self.options.missing != "drop":
            fact = (
                f"{readable(self.options.path)}:{first.place}: the texts of group {first.group!r}"
                " are all empty"
            )
            cure = (
                'mend the rows, or set source.missing = "drop": then a group without a text is'
                " left out"
            )
            raise InputError.of("RC042", fact, key="source.columns", cure=cure)

    def _of_one_label(self, first: Step, steps: Iterator[Step]) -> Iterator[Cells]:
        """Give the cells of one sequence. Raises `InputError` (RC042) where its label or fold
        changes.
        """
        for step in steps:
            for role, here, before in (
                ("label", step.label, first.label),
                ("fold", step.fold, first.fold),
            ):
                if here != before:
                    path = readable(self.options.path)
                    fact = (
                        f"{path}:{step.place}: group {step.group!r} has the {role} {here!r} here,"
                        " and "
                    )
                    fact += f"{before!r} at {path}:{first.place}: a sequence has one {role}"
                    cure = (
                        "mend the rows, or name as source.group the column whose values have one"
                        f" {role} each"
                    )
                    raise InputError.of("RC042", fact, key=f"source.{role}", cure=cure)
            yield step.values

    def _joined(self, rows: Iterator[Cells]) -> Iterator[Piece]:
        """Give the texts of one group, with what stands between them."""
        separator = "\n" if self.options.separator is None else self.options.separator
        for index, (text,) in enumerate(rows):
            yield Piece(f"{separator}{text}" if index else str(text), not index)

    def _scattered(self, group: Any) -> InputError:
        fact = f"{readable(self.options.path)}: group {group!r} comes again after another group"
        cure = (
            f"sort the file by {self.options.group}, so that the rows of a group follow each other"
        )
        return InputError.of("RC042", fact, key="source.group", cure=cure)

    def _complete(self, rows: Iterator[Row], element: Element) -> Iterator[Step]:
        """Give rows with every cell read, and missing ones mended as the task says; report all that
        are wrong.
        """
        options = self.options
        beside = self.readers()
        if options.whole_rows:  # the number of a row is its group
            rows = Unfolding(options.path, options.columns, element).rows(rows, beside)
            beside = [*beside, read_as.named]
        grouped = options.group is not None or options.whole_rows
        read_cell = self._reader(element)
        faults = Faults(options, element)
        last: list[Any] = [None] * len(options.named)
        group = None
        kept = dropped = 0
        self._gaps = gaps = Gaps(grouped)

        for place, cells in rows:
            if not cells:
                gaps.leave(place, "blank line")
                continue

            if grouped and cells[-1] != group:
                # A sequence takes nothing from the one before.
                last, group = (
                    [None] * len(cells),
                    cells[-1],
                )
                gaps.begin()

            width = len(cells) - len(beside)
            values: Cells = []
            for index, cell in enumerate(cells):
                value, fault = (read_cell if index < width else beside[index - width])(cell)
                if fault:
                    before = None if grouped and index == len(cells) - 1 else last[index]
                    if fault == "missing" and options.missing == "forward" and before is not None:
                        value, fault = before, ""
                    elif fault != "missing" or options.missing != "drop":
                        faults.add(place, self._name(index, width), cell, fault)
                        if fault == "missing":
                            faults.note_missing(before is not None)
                values.append(value)

            if options.settled:
                faults.raise_any(kept)  # at once, or a sequence would be answered without this step
            if None in values:
                gaps.leave(place)
                dropped += 1
                continue
            gaps.keep()
            kept += 1
            last = values
            said = dict(zip(options.beside, values[width:], strict=False))
            label, fold = (
                said[name] if name is not None else None for name in (options.label, options.fold)
            )
            yield Step(place, values[:width], label, fold, values[-1] if grouped else None)
        faults.raise_any(kept)
        if dropped and not kept and not options.settled:
            raise self._all_dropped(dropped)

    def _name(self, index: int, width: int) -> str:
        """Return the name of a cell in a row of `width` elements: `high`, `high[1]`, the label."""
        columns = self.options.columns
        if width != len(columns):
            columns = indexed(columns[0], width)
        return [*columns, *self.options.beside][index]

    def _all_dropped(self, count: int) -> InputError:
        names = ", ".join(self.options.named)
        where = f"all {count} rows of {readable(self.options.path)}"
        fact = f'missing = "drop" leaves out {where}: each lacks a cell of {names}'
        cure = "name columns that are filled, or another source.missing"
        return InputError.of("RC041", fact, key="source.missing", cure=cure)

    def readers(self) -> list[Callable[[Any], tuple[Any, str]]]:
        """Return what reads the cells beside those that are read, in their order."""
        return [
            read_as.fold if name == self.options.fold else read_as.named
            for name in self.options.beside
        ]

    def _reader(self, element: Element) -> Callable[[Any], tuple[Any, str]]:
        """Return what reads a cell as an element: it gives its value or none, and what is wrong
        with it.
        """
        if element == "numbers":
            return lambda cell: read_as.number(cell, self.number)
        if element == "tokens":
            return read_as.named
        return read_as.whole_text if self.options.whole_rows else read_as.text

    def _file(self) -> Path:
        found = matching([self.options.path]).files
        if len(found) > 1:
            names = ", ".join(readable(path.name) for path in found[:5])
            fact = (
                f"{readable(self.options.path)} stands for {len(found)} files, and a table is one"
            )
            raise InputError.of("RC040", fact, key="source.path", got=names)
        return found[0]

    def _no_column(
        self, name: str, known: list[str], where: str = "", cure: str = ""
    ) -> InputError:
        fact = f"{readable(self.options.path)}{where} has no column {name!r}"
        shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        close = nearest(name, known)
        return InputError.of(
            "RC040", fact, key=self._key(name), allowed=shown, nearest=close, cure=cure
        )

    def _twice(self, name: str, where: str) -> InputError:
        fact = f"{readable(self.options.path)}{where} has several columns {name!r}"
        return InputError.of(
            "RC042", fact, key=self._key(name), cure="give each column a name of its own"
        )

    def _key(self, name: str) -> str:
        """Return the option that names a column."""
        if name in self.options.columns:
            return "source.columns"
        options = self.options
        return next(
            f"source.{key}" for key in ("label", "fold", "group") if name == getattr(options, key)
        )

    def fingerprint(self) -> str:
        """Return a hash of name, size and time of the file."""
        return files.fingerprint([self._file()])

    @property
    def named(self) -> str:
        """The column that names a sequence."""
        return self.options.group or "row"

    def over(self, path: str) -> Self:
        """Return a source that reads another file in the same form, without labels."""
        return type(self)(self.options.over(path))

    def columns(self) -> Mapping[Role, tuple[Element, ...]]:
        """Return what is read, and the label and the fold where columns of them are named."""
        return labels.roles(
            self.offers, self.options.label is not None, self.options.fold is not None
        )

    def features(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.options.columns)

    def gaps(self) -> list[str]:
        """Return the rows, and the blank lines, that the last reading left out before others of
        their sequence.
        """
        return list(self._gaps.rows)


def _chunks(rows: Iterator[Cells]) -> Iterator[Piece]:
    """Give the rows of one sequence, many at a time: tokens of one column, or numbers of
    several.
    """
    start, held = True, []
    for cells in rows:
        held.append(cells)
        if len(held) == CHUNK:
            yield Piece(_together(held), start)
            start, held = False, []
    if held:
        yield Piece(_together(held), start)


def _together(rows: list[Cells]) -> Any:
    if isinstance(rows[0][0], str):
        return [cells[0] for cells in rows]
    return np.array(rows, np.float64)


def indexed(column: str, width: int) -> list[str]:
    """Return what the numbers of a step are called where one column holds them all."""
    return [f"{column}[{index}]" for index in range(width)]
