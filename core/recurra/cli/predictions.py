"""Predictions as they are written: to a file, or to the terminal as a table or as JSON lines."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

from recurra.cli.common import speaks_unicode
from recurra.errors import InputError
from recurra.job.answer_table import AnswerTable
from recurra.runs import written

WHAT = "predictions are"


def write(table: AnswerTable, output: Path | None, as_json: bool) -> int:
    """Write predictions one after the other, to a file or to stdout; return how many there are.

    The file takes its name once all are written. Raises `InputError`
    (RC041) where there is none, (RC080) for a file whose name tells no form, and
    `RunError` (RC053).
    """
    if output is not None:
        written.form_of(output, WHAT)

    # What is wrong with all of them is told by the first, before anything is written.
    first = next(table.rows, None)
    if first is None:
        fact = "there is no sequence to answer: the file holds no row"
        raise InputError.of("RC041", fact, cure="is it the right file?")
    rows, kinds = chain([first], table.rows), table.kinds

    if output is not None:
        return written.write(output, rows, kinds, WHAT, table.moments)
    if as_json:
        return written.write_lines(rows, sys.stdout, escaped=not speaks_unicode())
    return written.write_csv(rows, list(kinds), sys.stdout)
