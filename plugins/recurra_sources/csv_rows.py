"""The one reader of csv: the rows of a file, and the line where each begins."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from recurra import InputError
from recurra_sources import files
from recurra_sources.blocks import MANY, together
from recurra_sources.names import readable

FEW = 64
LONG = 1 << 18
"""Lines that are taken at a time at least, and characters of those that are, about."""


class Form(NamedTuple):
    """How rows are written: what stands between cells and around them, how a comment begins.

    Without a `quote` none is read, and without a `comment` no line is one.
    """

    delimiter: str = ","
    quote: str = '"'
    comment: str = ""


def rows(lines: Iterator[str], path: Path, form: Form) -> Iterator[tuple[int, list[str]]]:
    """Give each row of a file, and the line where it begins. Raises `InputError` (RC042).

    A blank line is an empty cell where the first row has one column, and else without cells; before
    the first row and after the last it is nothing. An empty cell in quotes is a first row too.
    """
    for places, some in stretches(lines, path, form):
        yield from zip(places, some, strict=True)


def stretches(
    lines: Iterator[str], path: Path, form: Form
) -> Iterator[tuple[Sequence[int], list[list[str]]]]:
    """Give the same rows, many at a time, each with the line where it begins.

    As long as each line is a row, and none of them blank, they are read at once.
    """
    numbered = _Lines(lines, form.comment)
    each = _one_by_one(numbered, path, form)
    for first in each:
        yield [first[0]], [first[1]]
        break
    else:
        return

    if not form.comment:
        rest = _taken(lines)
        for taken in rest:
            some = _at_once(taken, form, len(first[1]))
            if some is None:
                numbered.lines = chain(taken, chain.from_iterable(rest))
                break
            start = numbered.number + 1
            numbered.number += len(taken)
            yield range(start, start + len(taken)), some
    for listed in together(each, 4 * FEW):
        yield [place for place, _ in listed], [cells for _, cells in listed]


def _taken(lines: Iterator[str]) -> Iterator[list[str]]:
    """Give many lines at a time, or a few where they are long.

    What goes wrong is raised after what came before it.
    """
    taken: list[str] = []
    size = 0
    try:
        for some in together(lines, FEW):
            taken += some
            size += sum(map(len, some))
            if len(taken) >= MANY or size >= LONG:
                yield taken
                taken, size = [], 0
    except InputError:
        if taken:
            yield taken
        raise
    if taken:
        yield taken


def _at_once(lines: list[str], form: Form, width: int) -> list[list[str]] | None:
    """Return lines as rows, if each of them is one."""
    limit = csv.field_size_limit(files.LONGEST)
    try:
        some = [*_reader(iter(lines), form)]
    except csv.Error:
        return None
    finally:
        csv.field_size_limit(limit)
    # A row that goes on in the next line takes both.
    whole = len(some) == len(lines) and min(map(len, some)) >= min(width, 2)
    return some if whole else None


def _one_by_one(numbered: _Lines, path: Path, form: Form) -> Iterator[tuple[int, list[str]]]:
    """Give the rows, one after the other."""
    reader = _reader(numbered, form)
    width = 0
    # Blank lines mean something only if a row follows: until then they wait.
    blank: list[list[int]] = []
    """Stretches of them, each by its first and its last: there may be millions."""
    while True:
        numbered.between = True
        try:
            cells = _next(reader)
        except csv.Error as error:
            raise _torn(path, numbered, form.quote, str(error)) from error
        if cells is None:
            return

        quoted = cells == [""]  # where nothing stands at all there is no cell
        spaces_alone = len(cells) == 1 and width != 1 and not cells[0].strip()
        if not cells or (spaces_alone and (width or not quoted)):
            if width and blank and blank[-1][1] == numbered.first - 1:
                blank[-1][1] += 1
            elif width:
                blank.append([numbered.first, numbered.first])
            continue

        width = width or len(cells)
        for begin, end in blank:
            for empty in range(begin, end + 1):
                yield empty, [""] if width == 1 else []
        blank.clear()
        yield numbered.first, cells


class _Lines:
    """The lines of a file but for comments; a line inside a quoted cell is never one.

    `number` is that of the last line, and `first` that of the line where its row begins. Whoever
    reads sets `between` before each row.
    """

    def __init__(self, lines: Iterator[str], comment: str) -> None:
        self.lines, self.comment = lines, comment
        self.number = self.first = 0
        self.between = True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._following()
        if self.between:
            while self.comment and line.startswith(self.comment):
                line = self._following()
            self.first, self.between = self.number, False
        return line

    def _following(self) -> str:
        line = next(self.lines)
        self.number += 1
        return line


def _reader(lines: Iterator[str], form: Form) -> Iterator[list[str]]:
    """Return Python's reader of rows."""
    if not form.quote:
        return csv.reader(lines, delimiter=form.delimiter, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(lines, delimiter=form.delimiter, quotechar=form.quote, strict=True)


def _next(reader: Iterator[list[str]]) -> list[str] | None:
    """Return the next row, or nothing after the last; a cell may be as long as need be.

    The limit of its length, which all of a process shares, stays what it is.
    """
    limit = csv.field_size_limit(files.LONGEST)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _torn(path: Path, lines: _Lines, quote: str, reason: str) -> InputError:
    """Return the error of a row whose quotes are wrong, or that never ends."""
    place = f"{readable(path)}:{lines.first}"
    cure = "a quoted cell ends with a quote, and a quote inside it is written twice"
    if "end of data" in reason:
        fact = f"{place}: the row that begins here has a quote that is never closed"
    elif "field limit" in reason:
        fact = f"{place}: a cell of the row that begins here is longer than"
        fact += f" {files.LONGEST:,} characters"
        cure = f"is a quote never closed? {cure}" if quote else "is this the right file?"
    elif "expected after" in reason:
        until = f" and goes on to line {lines.number}" if lines.number > lines.first else ""
        fact = f"{place}: in the row that begins here{until} something stands after a closing quote"
    else:
        fact = f"{place}: {reason}"
    return InputError.of("RC042", fact, key="source.path", cure=cure)
