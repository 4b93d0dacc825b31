"""Numbers from the command line: `--values 1,2,3`, and `--values "1,2;3,4"` for several columns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from recurra.errors import InputError

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""A number as data has it: Python reads 1_0 and the digits of all scripts, too."""


def parse(text: str, columns: int) -> list[Any]:
    """Return the numbers of a prompt, a row of them for each step where there are several columns.

    Raises `InputError` (RC080) that names the row, what stands there and what is allowed.
    """
    if columns == 1:
        if ";" in text:
            fact = "--values: rows with ; between are for several columns, and this run has one"
            raise InputError.of("RC080", fact, got=text, allowed=_allowed(1))
        return _row(text, 1, 1)
    rows = [_row(part, number, columns) for number, part in enumerate(text.split(";"), 1)]
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            fact = f"--values: row {number} holds {len(row)} number{'s' if len(row) > 1 else ''}, "
            fact += f"and this run has {columns} columns"
            raise InputError.of(
                "RC080", fact, got=text.split(";")[number - 1].strip(), allowed=_allowed(columns)
            )
    return rows


def _no_numbers(text: str, columns: int) -> list[Any]:
    fact = "--values is for numbers, and this run reads symbols"
    raise InputError.of("RC080", fact, got=text, cure="give --text")


READ: dict[str, Callable[[str, int], list[Any]]] = {"numbers": parse, "symbols": _no_numbers}
"""What --values means, by what a run reads."""


def _row(text: str, number: int, columns: int) -> list[float]:
    return [
        _number(part, f"row {number}, " if columns > 1 else "", place, columns)
        for place, part in enumerate(text.split(","), 1)
    ]


def _number(text: str, row: str, place: int, columns: int) -> float:
    value = float(text) if NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(value):
        what = f"{text.strip()!r} is not a finite number" if text.strip() else "there is no number"
        fact = f"--values: {row}place {place}: {what}"
        raise InputError.of("RC080", fact, got=text.strip(), allowed=_allowed(columns))
    return value


def _allowed(columns: int) -> str:
    if columns == 1:
        return "numbers with commas between: 1,2,3"
    rows = [
        ",".join(str(step * columns + column + 1) for column in range(columns)) for step in range(2)
    ]
    return f'rows of {columns} numbers, with ; between, the oldest first: "{";".join(rows)}"'
