"""What every table has: columns, groups, labels, folds, missing cells. A row is a step of a series or
of tokens, or one whole text; with a label or a fold and no group it is a whole sequence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar

import numpy as np
from pydantic import PrivateAttr, field_validator, model_validator

from recurra import Element, Field, FilePath, InputError, Options, Piece, Role, Source
from recurra_sources import cells as read_as
from recurra_sources import files, labels
from recurra_sources.applying import For, refuse_unused
from recurra_sources.cells import Cells, Place, Row
from recurra_sources.encodings import Encoding
from recurra_sources.gaps import Gaps
from recurra_sources.names import nearest, readable
from recurra_sources.patterns import matching
from recurra_sources.unfolding import Unfolding

CHUNK = 1 << 14
SHOWN = 10
"""Faults that are listed before the rest is counted."""


class Step(NamedTuple):
    """A row whose cells are read, where it stands, and of what sequence it is."""

    place: Place
    values: Cells
    label: str | None
    fold: str | None
    group: str | None


class TableOptions(Options):
    """Options of csv and jsonl."""

    path: FilePath = Field(description="the file; .gz is unpacked")
    columns: list[str] = Field(min_length=1, description="the columns to read; several give several features")
    group: str | None = Field(
        None,
        description="column that tells which sequence a row belongs to; the rows of one follow each other",
    )
    label: str | None = Field(
        None,
        description="column that tells the label of each sequence, which all rows of a group share; without a group "
        "each row is a sequence by itself: a text, tokens between white space, numbers of one step, or (jsonl) a list",
    )
    fold: str | None = Field(
        None,
        description="column that tells the split of each sequence, train, validation or test, which all rows of a "
        "group share; without a group each row is a sequence by itself; sequence.split is then left out",
    )
    separator: Annotated[str | None, For("text")] = Field(
        None,
        description="what stands between the rows of a group of text; left out, a newline",
    )
    missing: Annotated[Literal["error", "forward", "drop"], For("numbers", "tokens", value="forward")] = Field(
        "error",
        description="an empty cell: refuse it, take the value of the row before in its sequence, or leave the row out; "
        "of a csv file an empty text is a text, but not where it would be a whole sequence that has a label or a fold",
    )
    encoding: Encoding = Field("utf-8", description="how the file's bytes are read")
    _alike: bool | None = PrivateAttr(default=None)  # of another file than a run's: whether its rows are whole too

    def over(self, path: str) -> Self:
        """Return the same options for another file, whose rows are what they were, without labels."""
        other = self.model_copy(update={"path": path, "label": None, "fold": None})
        other._alike = self.whole_rows
        return other

    @property
    def settled(self) -> bool:
        """Whether a run has settled all but the file: nobody can change an option."""
        return self._alike is not None

    @field_validator("columns")
    @classmethod
    def _columns_differ(cls, columns: list[str]) -> list[str]:
        for name in columns:
            if columns.count(name) > 1:
                raise ValueError(f"{name!r} is named {columns.count(name)} times")
        return columns

    @model_validator(mode="after")
    def _separator_has_a_group(self) -> TableOptions:
        if self.separator is not None and self.group is None:
            raise ValueError("separator: it stands between the rows of a group, and no group is named")
        return self

    @model_validator(mode="after")
    def _label_stands_apart(self) -> TableOptions:
        if self.label is not None and self.label in self.columns:
            raise ValueError(f"label: {self.label!r} is one of the columns that are read, and would give itself away")
        if self.label is not None and self.label == self.group:
            raise ValueError(f"label: {self.label!r} is the group too: each sequence would be a class by itself")
        return self

    @model_validator(mode="after")
    def _fold_stands_apart(self) -> TableOptions:
        others = [(name, "one of the columns that are read") for name in self.columns]
        others += [(name, what) for name, what in ((self.label, "the label"), (self.group, "the group")) if name]
        for name, what in others:
            if name == self.fold:
                raise ValueError(f"fold: {name!r} is {what} too: it must be a column by itself")
        return self

    @property
    def beside(self) -> list[str]:
        """The columns that say something of a sequence: the label, the fold and the group, if named."""
        return [name for name in (self.label, self.fold, self.group) if name is not None]

    @property
    def named(self) -> list[str]:
        """The columns to read, and after them those beside."""
        return [*self.columns, *self.beside]

    @property
    def whole_rows(self) -> bool:
        """Whether each row is a whole sequence."""
        if self._alike is not None:
            return self._alike
        return self.group is None and (self.label is not None or self.fold is not None)


O = TypeVar("O", bound=TableOptions)  # noqa: E741


class Table(Source[O]):
    """A file of rows; how they are written is a subclass's matter."""

    offers: ClassVar[tuple[Element, ...]] = ("text", "tokens", "numbers")

    def __init__(self, options: O) -> None:
        super().__init__(options)
        self._gaps = Gaps()

    @abstractmethod
    def written(self) -> Iterator[tuple[int, Any]]:
        """Give each row as it is written, and the line where it begins; nothing for a blank line."""

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

        if options.settled and (options.whole_rows or (options.group is None and element == "text")):
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
            yield from (piece._replace(columns={"series": str(count)}) if piece.start else piece for piece in pieces)

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
            fact = f"{readable(self.options.path)}:{first.place}: the texts of group {first.group!r} are all empty"
            cure = 'mend the rows, or set source.missing = "drop": then a group without a text is left out'
            raise InputError.of("RC042", fact, key="source.columns", cure=cure)

    def _of_one_label(self, first: Step, steps: Iterator[Step]) -> Iterator[Cells]:
        """Give the cells of one sequence. Raises `InputError` (RC042) where its label or fold changes."""
        for step in steps:
            for role, here, before in (("label", step.label, first.label), ("fold", step.fold, first.fold)):
                if here != before:
                    path = readable(self.options.path)
                    fact = f"{path}:{step.place}: group {step.group!r} has the {role} {here!r} here, and "
                    fact += f"{before!r} at {path}:{first.place}: a sequence has one {role}"
                    cure = f"mend the rows, or name as source.group the column whose values have one {role} each"
                    raise InputError.of("RC042", fact, key=f"source.{role}", cure=cure)
            yield step.values

    def _joined(self, rows: Iterator[Cells]) -> Iterator[Piece]:
        """Give the texts of one group, with what stands between them."""
        separator = "\n" if self.options.separator is None else self.options.separator
        for index, (text,) in enumerate(rows):
            yield Piece(f"{separator}{text}" if index else str(text), not index)

    def _scattered(self, group: Any) -> InputError:
        fact = f"{readable(self.options.path)}: group {group!r} comes again after another group"
        cure = f"sort the file by {self.options.group}, so that the rows of a group follow each other"
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
        faults = _Faults(options, element)
        last: list[Any] = [None] * len(options.named)
        group = None
        kept = dropped = 0
        self._gaps = gaps = Gaps(grouped)

        for place, cells in rows:
            if not cells:
                gaps.leave(place, "blank line")
                continue

            if grouped and cells[-1] != group:
                last, group = [None] * len(cells), cells[-1]  # a sequence takes nothing from the one before
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
            label, fold = (said[name] if name is not None else None for name in (options.label, options.fold))
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
        return [read_as.fold if name == self.options.fold else read_as.named for name in self.options.beside]

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
            fact = f"{readable(self.options.path)} stands for {len(found)} files, and a table is one"
            raise InputError.of("RC040", fact, key="source.path", got=names)
        return found[0]

    def _no_column(self, name: str, known: list[str], where: str = "", cure: str = "") -> InputError:
        fact = f"{readable(self.options.path)}{where} has no column {name!r}"
        shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        close = nearest(name, known)
        return InputError.of("RC040", fact, key=self._key(name), allowed=shown, nearest=close, cure=cure)

    def _twice(self, name: str, where: str) -> InputError:
        fact = f"{readable(self.options.path)}{where} has several columns {name!r}"
        return InputError.of("RC042", fact, key=self._key(name), cure="give each column a name of its own")

    def _key(self, name: str) -> str:
        """Return the option that names a column."""
        if name in self.options.columns:
            return "source.columns"
        options = self.options
        return next(f"source.{key}" for key in ("label", "fold", "group") if name == getattr(options, key))

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
        return labels.roles(self.offers, self.options.label is not None, self.options.fold is not None)

    def features(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.options.columns)

    def gaps(self) -> list[str]:
        """Return the rows, and the blank lines, that the last reading left out before others of their
        sequence.
        """
        return list(self._gaps.rows)


def _chunks(rows: Iterator[Cells]) -> Iterator[Piece]:
    """Give the rows of one sequence, many at a time: tokens of one column, or numbers of several."""
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


class _Faults:
    """Cells that cannot be read: the first are shown, the others counted."""

    def __init__(self, options: TableOptions, element: Element) -> None:
        self.path, self.settled = options.path, options.settled
        self.count = 0
        self.missing = False
        self.beside = {"label": options.label, "fold": options.fold}
        self.names: set[str] = set()
        self.forward = element != "text" and options.missing != "forward"  # whether it mends them all
        self.shown: list[str] = []

    def add(self, place: Place, name: str, cell: Any, fault: str) -> None:
        """Take note of one cell."""
        self.count += 1
        self.names.add(name)
        if len(self.shown) < SHOWN:
            said = "nothing" if cell is None or cell == "" else _shortened(cell)
            self.shown.append(f"line {place}, column {name}: {said}{'' if fault == 'missing' else f' {fault}'}")

    def note_missing(self, before: bool) -> None:
        """Take note that a cell is missing which has a value `before` it in its sequence, or none."""
        self.missing = True
        self.forward = self.forward and before

    def raise_any(self, kept: int) -> None:
        """Raise `InputError` (RC042) if there was one, beside so many rows that are whole."""
        if not self.count:
            return
        what = "1 cell" if self.count == 1 else f"{self.count} cells"
        more = [f"and {self.count - len(self.shown)} more"] if self.count > len(self.shown) else []
        heading = f"{readable(self.path)}: {what} cannot be read"
        fact = "\n    ".join([heading, *self.shown, *more])
        key = next((role for role, name in self.beside.items() if self.names == {name}), "columns")
        raise InputError.of("RC042", fact, key=f"source.{key}", cure=self._cure(kept))

    def _cure(self, kept: int) -> str:
        """Return what to do: of the policies for empty cells those alone that mend these."""
        if not self.missing or not kept or self.settled:
            return "mend the rows"
        policies = '"forward" or "drop"' if self.forward else '"drop"'
        return f"mend the rows; for empty cells set source.missing = {policies}"


def _shortened(cell: Any) -> str:
    text = ascii(cell) if isinstance(cell, str) and not cell.isprintable() else repr(cell)
    return text if len(text) <= 60 else text[:57] + "..."
