"""Predictions as they are written: a table of commas, or a JSON object a line."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeAlias

from recurra.cli.common import speaks_unicode
from recurra.errors import InputError
from recurra.runs import files

Row: TypeAlias = dict[str, Any]
"""What is predicted of a sequence, by the names of the columns."""

FORMS = (".csv", ".jsonl")


def write(rows: Iterable[Row], names: list[str], output: Path | None, as_json: bool) -> int:
    """Write predictions one after the other, to a file or to stdout; return how many there are.

    The file takes its name once all are written. `names` are those of the columns. Raises
    `InputError` (RC041) where there is none, (RC080) for a file whose name tells no form, and
    `RunError` (RC053).
    """
    form = ".jsonl" if as_json else ".csv"
    if output is not None:
        form = output.suffix.lower()
        if form not in FORMS:
            fact = f"the name of {output} does not tell how predictions are to be written"
            raise InputError.of("RC080", fact, allowed="a name that ends with .csv or .jsonl")

    # What is wrong with all of them is told by the first, before anything is written.
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        fact = "there is no sequence to answer: the file holds no row"
        raise InputError.of("RC041", fact, cure="is it the right file?")
    rows = chain([first], rows)

    with _opened(output) as file:
        if form == ".csv":
            return _table(rows, names, file)
        escaped = output is None and not speaks_unicode()
        return _lines(rows, file, escaped)


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    """Give the file that takes the predictions, or stdout."""
    if output is None:
        yield sys.stdout
        return
    with files.streamed(output) as file:
        yield file


def _lines(rows: Iterable[Row], file: IO[str], escaped: bool) -> int:
    """Write a JSON object a line; return how many there are."""
    count = 0
    for row in rows:
        line = json.dumps(files.finite(row), ensure_ascii=escaped, allow_nan=False)
        file.write(f"{line}\n")
        count += 1
    return count


def _table(rows: Iterable[Row], names: list[str], file: IO[str]) -> int:
    """Write a table; return how many rows there are. A list stands in its cell as JSON."""
    writer = csv.DictWriter(_Rows(file), names, lineterminator=_Rows.END, restval="")
    writer.writeheader()

    count = 0
    for row in rows:
        cells = {}
        for name, value in row.items():
            cells[name] = json.dumps(value) if isinstance(value, list) else value
        writer.writerow(cells)
        count += 1
    return count


class _Rows:
    """Takes rows of a table that end with CR LF, and writes them with LF alone.

    Python before 3.13 quotes a CR in a cell only where rows end with one.
    """

    END = "\r\n"

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, row: str) -> int:
        """Write a row."""
        line = row.removesuffix(self.END)
        return self.file.write(f"{line}\n")
