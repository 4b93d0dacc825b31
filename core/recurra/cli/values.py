"""What the command line gives to go on from.

Numbers are `--values 1,2,3`, and `--values "1,2;3,4"` for several columns. Tokens that hold spaces
are a JSON list, `--prompt '["New York", "Paris"]'`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from recurra.cli.common import counted
from recurra.errors import InputError

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""A number as data has it: Python reads 1_0 and the digits of all scripts, too."""

NOTHING = ("", "nan")
"""What stands for a number that is missing."""


def parse(text: str, columns: int, missing: bool = False) -> list[Any]:
    """Return the numbers of a prompt, a row of them for each step where there are several columns.

    Some may be `missing`: `nan`, or nothing between commas. Raises `InputError` (RC080) that names
    the row, what stands there and what is allowed.
    """
    if columns == 1:
        if ";" in text:
            fact = "--values: rows with ; between are for several columns, and this run has one"
            raise InputError.of("RC080", fact, got=text, allowed=_allowed(1))
        return _row(text, 1, 1, missing)

    # What is no number is told of any row before a row that is too short or too long.
    parts = text.split(";")
    rows = [_row(part, number, columns, missing) for number, part in enumerate(parts, 1)]

    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            numbers = counted(len(row), "number")
            fact = f"--values: row {number} holds {numbers}, and this run has {columns} columns"
            part = parts[number - 1].strip()
            raise InputError.of("RC080", fact, got=part, allowed=_allowed(columns))
    return rows


def text_or_tokens(text: str, reads: str, option: str) -> str | list[str]:
    """Return a text as it is, or the tokens of a JSON list, where a run reads tokens.

    Raises `InputError` (RC080) for a list that holds anything else.
    """
    if reads != "tokens" or not text.lstrip().startswith("["):
        return text
    try:
        tokens = json.loads(text)
    except (ValueError, RecursionError):
        # Not a list, but tokens of which the first begins with a bracket.
        return text

    if not (isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)):
        fact = f"{option}: a list of tokens holds names in double quotes alone"
        cure = f"""{option} '["New York", "Paris"]'"""
        raise InputError.of("RC080", fact, got=text[:80], cure=cure)
    return tokens


@contextmanager
def prompted(option: str) -> Iterator[None]:
    """Let errors about the prompt speak of the option that gave it."""
    try:
        yield
    except InputError as error:
        problems = []
        for problem in error.problems:
            if problem.key.startswith("generation.prompt"):
                problem = replace(problem, key=option)
            problems.append(problem)
        raise InputError(problems) from error.__cause__


def _no_numbers(text: str, columns: int, missing: bool = False) -> list[Any]:
    fact = "--values is for numbers, and this run reads symbols"
    raise InputError.of("RC080", fact, got=text, cure="give --text")


Reader: TypeAlias = Callable[[str, int, bool], list[Any]]
READERS: dict[str, Reader] = {"numbers": parse, "symbols": _no_numbers}
"""What --values means, by what a run reads."""


def _row(text: str, number: int, columns: int, missing: bool) -> list[float]:
    """Return the numbers of a row. Raises `InputError` (RC080) that names the place."""
    values = []
    for place, part in enumerate(text.split(","), 1):
        part = part.strip()
        if missing and part.lower() in NOTHING and text.strip():
            values.append(math.nan)
            continue
        value = float(part) if NUMBER.fullmatch(part) else math.nan
        if not math.isfinite(value):
            row = f"row {number}, " if columns > 1 else ""
            fault = f"{part!r} is not a finite number" if part else "there is no number"
            fact = f"--values: {row}place {place}: {fault}"
            if part.lower() in NOTHING:
                fact += "; in what this run was trained on nothing may be missing"
            raise InputError.of("RC080", fact, got=part, allowed=_allowed(columns))
        values.append(value)
    return values


def _allowed(columns: int) -> str:
    """Return how the numbers are written, with an example: `1,2,3;4,5,6` of three columns."""
    if columns == 1:
        return "numbers with commas between: 1,2,3"

    numbers = [str(number) for number in range(1, 2 * columns + 1)]
    first, second = ",".join(numbers[:columns]), ",".join(numbers[columns:])
    return f'rows of {columns} numbers, with ; between, the oldest first: "{first};{second}"'
