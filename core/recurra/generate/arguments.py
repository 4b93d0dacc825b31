"""Arguments of the verbs in Python, as strict as a task file.

`True` is not 1, and no text is a number.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from recurra.contracts.vocabulary import broken_text
from recurra.errors import InputError, Problem
from recurra.spec import checking
from recurra.spec.tables import IDLE, MOST, Generation


def whole(name: str, value: Any, least: int = 0, most: int = MOST) -> int:
    """Return a whole number from `least` to `most`. Raises `InputError` (RC080)."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        fact = f"{name} cannot be {shown(value)}"
        allowed = f"a whole number from {least} to {most}"
        raise InputError.of("RC080", fact, got=shown(value), allowed=allowed)
    return number


def flag(name: str, value: Any) -> bool:
    """Return True or False. Raises `InputError` (RC080) for what only counts as one of them."""
    if not isinstance(value, bool):
        fact = f"{name} cannot be {shown(value)}"
        raise InputError.of("RC080", fact, got=shown(value), allowed="True, False")
    return value


def share(name: str, value: Any) -> float:
    """Return a number from 0 to 1. Raises `InputError` (RC080)."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        fact = f"{name} cannot be {shown(value)}"
        raise InputError.of("RC080", fact, got=shown(value), allowed="a number from 0 to 1")
    return float(value)


def named(name: str, value: Any) -> dict[str, Any] | None:
    """Return what stands under names, in a dict or the columns of a table; None where nothing is.

    Raises `InputError` (RC080) for anything else.
    """
    if value is None:
        return None
    if isinstance(value, Mapping) or (hasattr(value, "columns") and hasattr(value, "__getitem__")):
        keys = list(value) if isinstance(value, Mapping) else list(value.columns)
        return {str(key): value[key] for key in keys}
    fact = f"{name} must be a dict of names and what stands under each"
    raise InputError.of("RC080", fact, got=shown(value), cure='write {"price": [9.5, 9.0]}')


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return one of some names. Raises `InputError` (RC080)."""
    names = list(choices)
    if not isinstance(value, str) or value not in names:
        fact = f"there is no {name} {shown(value)}"
        raise InputError.of("RC080", fact, allowed=", ".join(names))
    return value


def name(name: str, value: Any) -> str:
    """Return a name, which may be a whole number. Raises `InputError` (RC080)."""
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, bool):
        with suppress(TypeError):
            return str(operator.index(value))
    fact = f"{name} cannot be {shown(value)}"
    raise InputError.of("RC080", fact, got=shown(value), allowed="a name, or a whole number")


def path(name: str, value: Any) -> Path:
    """Return a path that every system can hold and every file can name.

    Raises `InputError` (RC080).
    """
    try:
        place = Path(value)
    except TypeError as error:
        fact = f"{name} must be a path, not {type(value).__name__}"
        raise InputError.of("RC080", fact, got=shown(value)) from error
    if "\0" in str(place):
        fact = f"{name} holds a NUL, which no path can"
        raise InputError.of("RC080", fact, got=shown(str(place)))
    return place


def task(value: Any) -> Path | Mapping[str, Any]:
    """Return a task: the path of its file, or its tables. Raises `InputError` (RC080)."""
    return value if isinstance(value, Mapping) else path("task", value)


def writable(name: str, value: Any, inside: str = "") -> Path:
    """Return a path that a run can name in its own files, and in which it can make `inside`.

    These files are UTF-8, and the system may know fewer characters. Raises `InputError` (RC080).
    """
    place = path(name, value)
    if broken_text(str(place)) >= 0:
        fact = f"{name} is no UTF-8 text, and could not be written into the files of a run"
        cure = "give the folder another name"
        raise InputError.of("RC080", fact, got=shown(str(place)), cure=cure)

    # What a file cannot be named is told before there is any.
    inner = place / inside
    try:
        os.fsencode(inner)
    except UnicodeEncodeError as error:
        fact = f"the names of files are {error.encoding} here, and {shown(str(inner))} is not"
        cure = "set PYTHONUTF8=1, or give the task another name"
        raise InputError.of("RC080", fact, cure=cure) from error
    return place


def overrides(value: Any) -> Iterable[str] | Mapping[str, Any]:
    """Return overrides: a mapping of keys, or texts `key=value`. Raises `InputError` (RC080)."""
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return value

    # A text can be iterated over too, letter by letter, which nobody means.
    allowed = "a dict of keys and values, or a list of texts key=value"
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        fact = "overrides must be a dict or a list"
        raise InputError.of("RC080", fact, got=shown(value), allowed=allowed)
    listed = list(value)
    for item in listed:
        if not isinstance(item, str):
            fact = "an override must be a text"
            raise InputError.of("RC080", fact, got=shown(item), allowed=allowed)
    return listed


def sequences(name: str, value: Any) -> Iterable[Any]:
    """Return what holds sequences, one after the other.

    Raises `InputError` (RC080) for what gives something else, as a text its characters, and a table
    the names of its columns.
    """
    table = isinstance(value, Mapping) or hasattr(value, "columns")
    ordered = isinstance(value, Iterable) and not isinstance(value, str | bytes | Set)
    if table or not ordered:
        fact = f"{name} must be a list of sequences"
        cure = "of a table give a list with the values of each sequence" if table else ""
        raise InputError.of("RC080", fact, got=shown(value), cure=cure)
    return value  # type: ignore[no-any-return]


def generation(changed: Mapping[str, Any], table: Generation) -> Generation:
    """Return a `[generation]` table with what a caller changes.

    Raises `InputError` (RC080) for a setting that is wrong, and for one that nothing reads at
    temperature 0: it may stand in the table, where it waits for another temperature; the caller
    means it now.
    """
    # What an array gives of its numbers is a number.
    changed = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in changed.items()
    }
    try:
        settings = Generation.model_validate({**table.model_dump(), **changed})
    except ValidationError as error:
        problems = checking.unplaced(error, dict(changed), Generation)
        raise InputError(_of_argument(problem, changed) for problem in problems) from error
    idle = [name for name in settings.idle if name in changed]
    if idle:
        raise InputError.of("RC080", f"{idle[0]} {IDLE}", cure="give a temperature above 0")
    return settings


def _of_argument(problem: Problem, changed: Mapping[str, Any]) -> Problem:
    """Return the problem of an argument, with what came.

    The key of a problem inside a list goes on behind the argument's name: `stop[1]`.
    """
    name = re.split(r"\W", problem.key, maxsplit=1)[0]
    got = shown(changed[name]) if name in changed else ""
    return replace(problem, code="RC080", got=got)


def observer(value: Any, methods: Iterable[str]) -> None:
    """Refuse what cannot watch a run. Raises `InputError` (RC080)."""
    lacking = [name for name in methods if not callable(getattr(value, name, None))]
    if lacking:
        fact = (
            "an observer must have the methods of recurra.train.events.Observer; it lacks"
            f" {', '.join(lacking)}"
        )
        raise InputError.of("RC080", fact, got=shown(value), cure="leave it out to watch nothing")


def shown(value: Any) -> str:
    """Return a value as an error shows it: its beginning, in ASCII."""
    try:
        text = ascii(value)
    except Exception:
        # Its own `repr` fails.
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
