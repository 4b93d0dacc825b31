"""The one reader of csv: the rows of a file, and the line where each begins."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recurra import InputError
from recurra_sources import files
from recurra_sources.names import readable


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
    numbered = _Lines(lines, form.comment)
    reader = _reader(numbered, form)
    width = 0
    # Blank lines mean something only if a row follows: until then they wait.
    blank: list[int] = []
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
            if width:
                blank.append(numbered.first)
            continue

        width = width or len(cells)
        for empty in blank:
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
