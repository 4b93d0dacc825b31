"""Overrides of a task: `key=value` texts, or a mapping of dotted keys from Python."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from recurra.contracts.vocabulary import broken_text
from recurra.errors import InputError, Place, Problem
from recurra.spec.bounds import DEEPEST, LARGEST, PARTS, excess
from recurra.spec.document import Key, same
from recurra.spec.tables import TABLES

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_DOTTED = re.compile(rf"[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART})*[ \t]*")
_SINGLE = re.compile(_PART)

_DATES = (datetime.date, datetime.time)


class Said(str):
    """What was said by an option of its own, and not by `-o`: `label` is how.

    It is `key=value`, or the key alone where the value is one of Python's.

    Of an override whose value is a list, `parts` are how each element was said; where one is empty,
    its key is all that there is to name.
    """

    label: str
    parts: tuple[str, ...]

    def __new__(cls, text: str, label: str, parts: Iterable[str] = ()) -> Said:
        """Return a text with its label."""
        said = super().__new__(cls, text)
        said.label, said.parts = label, tuple(parts)
        return said


@dataclass(frozen=True)
class Override:
    """What one override says: its label, and its tables."""

    label: str
    tables: dict[str, Any]
    value: str = ""
    """The text of its value, where it was written as text."""
    parts: tuple[str, ...] = ()
    """Of a list, how each element was said, where one by one they were."""


def overriding(overrides: Iterable[str] | Mapping[str, Any] | None) -> list[Override]:
    """Return what overrides say, in their order.

    Raises `InputError`: RC005, RC012, and RC014 where two clash.
    """
    parsed: list[Override] = []
    if isinstance(overrides, Mapping):
        for name, value in overrides.items():
            parsed.append(_of_python(name, value))
    elif overrides is not None:
        texts = [overrides] if isinstance(overrides, str) else overrides
        for number, text in enumerate(texts, 1):
            parsed.append(_of_text(text, number))

    if clashes := list(_clashes(parsed)):
        raise InputError(clashes)
    return parsed


def _of_python(key: Any, value: Any) -> Override:
    name = str(key)
    label = key.label if isinstance(key, Said) else f"override {name}"
    place = Place(label)
    tables = _nest(name, plain(value, name, place), place)
    return Override(label, tables)


def _of_text(text: str, number: int) -> Override:
    tables = parse_override(text, number)
    if isinstance(text, Said):
        # How its value was written is said by the label.
        return Override(text.label, tables, parts=text.parts)
    _, value = _split(text)
    return Override(_label(text, number), tables, value)


def _label(text: str, number: int) -> str:
    return text.label if isinstance(text, Said) else f"-o #{number}: {text}"


def parse_override(text: str, number: int = 1) -> dict[str, Any]:
    """Return the tables of `key=value`, whose value is TOML if it can be, else a string."""
    name, value = _split(text)
    place = Place(_label(text, number))
    if not name:
        fact = "an override reads key=value"
        raise InputError.of("RC005", fact, place=place, cure="as in -o cell.hidden_size=64")
    # A byte that is not UTF-8 comes from the command line as half a surrogate pair.
    if broken_text(text) >= 0:
        raise InputError.of("RC005", "the override is not UTF-8 text", place=place)
    return _nest(name, toml_or_text(value), place)


def _split(text: str) -> tuple[str, str]:
    """Return the key and the text of the value, which begins after an equals sign outside quotes.

    Where there is no equals sign there is no key.
    """
    key = _DOTTED.match(text)
    if key and text.startswith("=", key.end()):
        cut = key.end()
    else:
        cut = text.find("=")
    name = text[: max(cut, 0)]
    value = text[cut + 1 :]
    return name.strip(), value.lstrip()


def toml_or_text(value: str) -> Any:
    """Return what a text means as a TOML value, or the text itself.

    It is the text where it means nothing, where it means a date, which no key holds, and where it
    holds more than a task may.
    """
    if len(value) > LARGEST or excess(value):
        return value
    try:
        tables = tomllib.loads(f"v = {value}")
    except ValueError:
        return value

    # A text of several lines could set other keys too.
    is_value = list(tables) == ["v"] and not isinstance(tables["v"], _DATES)
    return tables["v"] if is_value else value


def key_of(name: str) -> Key:
    """Return the key path of a dotted key, or nothing if it is none."""
    if not _DOTTED.fullmatch(name) or len(_SINGLE.findall(name)) > PARTS:
        return ()
    try:
        node: Any = tomllib.loads(f"{name} = 0")
    except tomllib.TOMLDecodeError:
        return ()

    key: list[str] = []
    while isinstance(node, dict):
        ((part, node),) = node.items()
        key.append(part)
    return tuple(key)


def _nest(name: str, value: Any, place: Place) -> dict[str, Any]:
    """Return nested tables for a dotted key. Raises `InputError` (RC005) if the name is not one."""
    key = key_of(name)
    if not key:
        fact = f"{name!r} is not a key"
        raise InputError.of("RC005", fact, place=place, cure="keys read table.key")
    for part in reversed(key):
        value = {part: value}
    return dict(value)


def plain(value: Any, name: str, place: Place, depth: int = 0) -> Any:
    """Return a value of Python as TOML has it.

    Numbers of NumPy and torch, arrays, tuples and paths are taken. None is a key that is left out.
    Raises `InputError` (RC012) for what TOML cannot say.
    """
    value = _simplified(value)
    # A subclass, as one of str is, becomes the type itself.
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is None or isinstance(value, _DATES):
        return value

    fact = f"{name} cannot be a {type(value).__name__}"
    if depth >= DEEPEST:
        fact = f"{name} nests lists or tables too deeply"
    elif isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): plain(inner, name, place, depth + 1) for key, inner in value.items()}
    elif isinstance(value, (list, tuple)):
        return [plain(inner, name, place, depth + 1) for inner in value]

    got = _excerpt(value)
    allowed = (
        "what TOML can say: text, numbers, true, false, dates, lists, tables with text for keys"
    )
    raise InputError.of("RC012", fact, key=name, place=place, got=got, allowed=allowed)


def _simplified(value: Any) -> Any:
    """Return what an enum's member, an array or a path stands for; any other value as it is."""
    if isinstance(value, Enum):
        value = value.value
    # It may be an object of anybody's class: one that fails here is refused as it is.
    with contextlib.suppress(Exception):
        # NumPy's scalars and arrays, and torch's tensors.
        if hasattr(value, "tolist"):
            return value.tolist()
        if isinstance(value, os.PathLike):
            return os.fspath(value)
    return value


def _excerpt(value: Any) -> str:
    """Return a value in at most 80 characters, on one line."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        # Somebody else's class.
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _clashes(overrides: list[Override]) -> Iterator[Problem]:
    """Give a problem for each override that would replace what one before it says."""
    before = _Settings()
    for number, override in enumerate(overrides):
        said = dict(leaves(override.tables))
        for key, value in said.items():
            earlier = before.contradicted(key, value)
            if earlier is not None and key != ("unset",):
                yield _clash(overrides[earlier], override, key)
                break
        for key, value in said.items():
            before.add(key, value, number)


class _Settings:
    """What overrides set, by their numbers: each key has its last value."""

    def __init__(self) -> None:
        self.values: dict[Key, tuple[Any, int]] = {}
        self.inside: dict[Key, int] = {}
        """Of each table that holds a key, the first override that sets one."""

    def add(self, key: Key, value: Any, number: int) -> None:
        """Take note of a value."""
        self.values[key] = value, number
        for depth in range(len(key)):
            self.inside.setdefault(key[:depth], number)

    def contradicted(self, key: Key, value: Any) -> int | None:
        """Return the first override that sets a key, a table above, or a key inside, otherwise."""
        found = [self.inside[key]] if key in self.inside else []
        for depth in range(1, len(key) + 1):
            other, number = self.values.get(key[:depth], (value, -1))
            if number >= 0 and (depth < len(key) or not same(other, value)):
                found.append(number)
        return min(found, default=None)


def leaves(tables: dict[str, Any], path: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Give each key that is no table, with its value."""
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _clash(earlier: Override, later: Override, key: Key) -> Problem:
    name = ".".join(map(str, key))
    fact = f"two overrides contradict each other: {earlier.label}, and {later.label}"
    cure = "leave one of them out"
    heads = [key[:depth] for depth in range(1, len(key) + 1)]
    tables = [head for head in heads if head in TABLES]
    if tables:
        table = ".".join(map(str, tables[0]))
        cure += f"; {table} is a table, whose keys are set one by one"
    return Problem("RC014", fact, name, Place(later.label), cure=cure)


def unset_keys(value: Any, place: Place) -> list[str]:
    """Return the dotted keys that `unset` takes away. Raises `InputError` (RC012, RC013)."""
    names = [value] if isinstance(value, str) else value
    allowed = 'a key, or a list of keys: unset = ["encoder.periods"]'
    error = partial(InputError.of, key="unset", place=place, allowed=allowed)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        got = json.dumps(value, default=str)
        raise error("RC012", "unset has the wrong type", got=got)
    for name in names:
        if not key_of(name):
            raise error("RC013", f"{name!r} is not a key")
    return names
