"""What every table has: columns, groups, missing cells. A row is a step of a series or of tokens,
or one whole text.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar

import numpy as np
from pydantic import field_validator, model_validator

from recurra import Element, Field, FilePath, InputError, Options, Piece, Source
from recurra_sources import files
from recurra_sources.applying import For, refuse_unused
from recurra_sources.encodings import Encoding
from recurra_sources.gaps import Gaps
from recurra_sources.names import nearest, readable
from recurra_sources.patterns import matching

Row: TypeAlias = tuple[int, list[Any]]
"""The line at which a row begins, and its cells: text, none where there is nothing, else what is
neither. A blank line, which is no row but stands between rows, has no cells.
"""
Cells: TypeAlias = list[Any]
"""A row whose cells are read: numbers, or texts."""

CHUNK = 1 << 14
SHOWN = 10
"""Faults that are listed before the rest is counted."""


class TableOptions(Options):
    """Options of csv and jsonl."""

    path: FilePath = Field(description="the file; .gz is unpacked")
    columns: list[str] = Field(min_length=1, description="the columns to read; several give several features")
    group: str | None = Field(
        None,
        description="column that tells which sequence a row belongs to; the rows of one follow each other",
    )
    separator: Annotated[str | None, For("text")] = Field(
        None,
        description="what stands between the rows of a group of text; left out, a newline",
    )
    missing: Annotated[Literal["error", "forward", "drop"], For("numbers", "tokens", value="forward")] = Field(
        "error",
        description="an empty cell: refuse it, take the value of the row before in its sequence, or leave the row out; "
        "of a csv file an empty text is a text",
    )
    encoding: Encoding = Field("utf-8", description="how the file's bytes are read")

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

    @property
    def named(self) -> list[str]:
        """The columns to read, the group last where there is one."""
        return [*self.columns, *([self.group] if self.group is not None else [])]


O = TypeVar("O", bound=TableOptions)  # noqa: E741


class Table(Source[O]):
    """A file of rows; how they are written is a subclass's matter."""

    offers: ClassVar[tuple[Element, ...]] = ("text", "tokens", "numbers")

    def __init__(self, options: O) -> None:
        super().__init__(options)
        self._gaps = Gaps()

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Give the cells of the named columns, the group last where there is one."""

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

        rows = self._complete(element)
        if options.group is None:
            # without a group all rows are one series, but each text stands by itself
            yield from (Piece(cells[0]) for cells in rows) if element == "text" else _chunks(rows)
            return

        seen: set[str] = set()
        for group, inside in groupby(rows, key=lambda cells: cells[-1]):
            if group in seen:
                raise self._scattered(group)
            seen.add(group)
            values = (cells[:-1] for cells in inside)
            yield from self._joined(values) if element == "text" else _chunks(values)

    def _joined(self, rows: Iterator[Cells]) -> Iterator[Piece]:
        """Give the texts of one group, with what stands between them."""
        separator = "\n" if self.options.separator is None else self.options.separator
        for index, (text,) in enumerate(rows):
            yield Piece(f"{separator}{text}" if index else str(text), not index)

    def _scattered(self, group: Any) -> InputError:
        fact = f"{readable(self.options.path)}: group {group!r} comes again after another group"
        cure = f"sort the file by {self.options.group}, so that the rows of a group follow each other"
        return InputError.of("RC042", fact, key="source.group", cure=cure)

    def _complete(self, element: Element) -> Iterator[Cells]:
        """Give rows with every cell read, and missing ones mended as the task says; report all that
        are wrong.
        """
        options = self.options
        width = len(options.columns)
        read_cell = self._reader(element)
        faults = _Faults(options, element)
        last: list[Any] = [None] * width
        group = None
        kept = dropped = 0
        self._gaps = gaps = Gaps(grouped=options.group is not None)

        for line, cells in self.rows():
            if not cells:
                gaps.leave(line, "blank line")
                continue

            if options.group is not None and cells[-1] != group:
                last, group = [None] * width, cells[-1]  # a sequence takes nothing from the one before
                gaps.begin()

            values: Cells = []
            for index, (name, cell) in enumerate(zip(options.named, cells, strict=True)):
                value, fault = read_cell(cell) if index < width else _named(cell)
                if fault == "missing" and options.missing == "forward" and index < width:
                    value, fault = (last[index], "") if last[index] is not None else (value, fault)
                if fault and not (fault == "missing" and options.missing == "drop"):
                    faults.add(line, name, cell, fault)
                    if fault == "missing":
                        faults.note_missing(before=index < width and last[index] is not None)
                values.append(value)

            if None in values:
                gaps.leave(line)
                dropped += 1
                continue
            gaps.keep()
            kept += 1
            last = values[:width]
            yield values
        faults.raise_any(kept)
        if dropped and not kept:
            raise self._all_dropped(dropped)

    def _all_dropped(self, count: int) -> InputError:
        names = ", ".join(self.options.named)
        where = f"all {count} rows of {readable(self.options.path)}"
        fact = f'missing = "drop" leaves out {where}: each lacks a cell of {names}'
        cure = "name columns that are filled, or another source.missing"
        return InputError.of("RC041", fact, key="source.missing", cure=cure)

    def _reader(self, element: Element) -> Callable[[Any], tuple[Any, str]]:
        """Return what reads a cell as an element: it gives its value or none, and what is wrong
        with it.
        """
        if element == "numbers":
            return lambda cell: _number(cell, self.number)
        return _text if element == "text" else _named

    def _file(self) -> Path:
        found = matching([self.options.path]).files
        if len(found) > 1:
            names = ", ".join(readable(path.name) for path in found[:5])
            fact = f"{readable(self.options.path)} stands for {len(found)} files, and a table is one"
            raise InputError.of("RC040", fact, key="source.path", got=names)
        return found[0]

    def _no_column(self, name: str, known: list[str], where: str = "", cure: str = "") -> InputError:
        fact = f"{readable(self.options.path)}{where} has no column {name!r}"
        key = "source.columns" if name in self.options.columns else "source.group"
        shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        return InputError.of("RC040", fact, key=key, allowed=shown, nearest=nearest(name, known), cure=cure)

    def _twice(self, name: str, where: str) -> InputError:
        fact = f"{readable(self.options.path)}{where} has several columns {name!r}"
        key = "source.columns" if name in self.options.columns else "source.group"
        return InputError.of("RC042", fact, key=key, cure="give each column a name of its own")

    def fingerprint(self) -> str:
        """Return a hash of name, size and time of the file."""
        return files.fingerprint([self._file()])

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


def _missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _text(cell: Any) -> tuple[Any, str]:
    """Return a cell that is a text; an empty one is one too."""
    if cell is None:
        return None, "missing"
    return (str(cell), "") if isinstance(cell, str) else (None, "is not text")


def _named(cell: Any) -> tuple[Any, str]:
    """Return a cell that is the name of a token or of a group."""
    return (None, "missing") if _missing(cell) else _text(cell)


def _number(cell: Any, number: Callable[[str], tuple[float | None, str]]) -> tuple[Any, str]:
    """Return a cell that is a number."""
    if _missing(cell):
        return None, "missing"
    return number(cell) if isinstance(cell, str) else (None, "is not a number")


class _Faults:
    """Cells that cannot be read: the first are shown, the others counted."""

    def __init__(self, options: TableOptions, element: Element) -> None:
        self.path = options.path
        self.count = 0
        self.missing = False
        self.forward = element != "text" and options.missing != "forward"  # whether it mends them all
        self.shown: list[str] = []

    def add(self, line: int, name: str, cell: Any, fault: str) -> None:
        """Take note of one cell."""
        self.count += 1
        if len(self.shown) < SHOWN:
            said = "nothing" if cell is None or cell == "" else _shortened(cell)
            self.shown.append(f"line {line}, column {name}: {said}{'' if fault == 'missing' else f' {fault}'}")

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
        raise InputError.of("RC042", fact, key="source.columns", cure=self._cure(kept))

    def _cure(self, kept: int) -> str:
        """Return what to do: of the policies for empty cells those alone that mend these."""
        if not self.missing or not kept:
            return "mend the rows"
        policies = '"forward" or "drop"' if self.forward else '"drop"'
        return f"mend the rows; for empty cells set source.missing = {policies}"


def _shortened(cell: Any) -> str:
    text = ascii(cell) if isinstance(cell, str) and not cell.isprintable() else repr(cell)
    return text if len(text) <= 60 else text[:57] + "..."
