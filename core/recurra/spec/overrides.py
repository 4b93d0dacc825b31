"""Overrides of a task: `key=value` as on the command line, or a mapping of dotted keys from
Python.
"""

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
from typing import Any

from recurra.errors import InputError, Place, Problem
from recurra.spec.document import Key, same
from recurra.spec.tables import TABLES

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_DOTTED = re.compile(rf"[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART})*[ \t]*")
DEEPEST = 100
"""How deeply tables and lists may lie in each other."""

_DATES = (datetime.date, datetime.time)


@dataclass(frozen=True)
class Override:
    """What one override says: its label, its tables, and the text of its value where it was written
    as text.
    """

    label: str
    tables: dict[str, Any]
    value: str = ""


def overriding(overrides: Iterable[str] | Mapping[str, Any] | None) -> list[Override]:
    """Return what overrides say, in their order. Raises `InputError`: RC005, RC012, and RC014 where
    two clash.
    """
    if overrides is None:
        return []
    if isinstance(overrides, Mapping):
        made = [_of_python(str(name), value) for name, value in overrides.items()]
    else:
        texts = [overrides] if isinstance(overrides, str) else overrides
        made = [_of_text(str(text), number) for number, text in enumerate(texts, 1)]
    if clashes := list(_clashes(made)):
        raise InputError(clashes)
    return made


def _of_python(name: str, value: Any) -> Override:
    label = f"override {name}"
    place = Place(label)
    return Override(label, _nest(name, plain(value, name, place), place))


def _of_text(text: str, number: int) -> Override:
    tables = parse_override(text, number)
    return Override(f"-o #{number}: {text}", tables, text[_cut(text) + 1 :].lstrip())


def parse_override(text: str, number: int = 1) -> dict[str, Any]:
    """Return the tables that `key=value` stands for: the value is TOML if it can be, else a
    string.
    """
    cut = _cut(text)
    name, value = text[: max(cut, 0)], text[cut + 1 :]
    place = Place(f"-o #{number}: {text}")
    if not name.strip():
        raise InputError.of(
            "RC005", "an override reads key=value", place=place, cure="as in -o cell.hidden_size=64"
        )
    if not text.isprintable() and any("\ud800" <= mark <= "\udfff" for mark in text):
        raise InputError.of("RC005", "the override is not UTF-8 text", place=place)
    return _nest(name.strip(), toml_or_text(value.lstrip()), place)


def _cut(text: str) -> int:
    """Return where the key ends: at the first equals sign outside quotes."""
    key = _DOTTED.match(text)
    return key.end() if key and text.startswith("=", key.end()) else text.find("=")


def toml_or_text(value: str) -> Any:
    """Return what a text means as a TOML value, or the text itself where it means nothing, or a
    date.
    """
    try:
        parsed = tomllib.loads(f"v = {value}")
    except (ValueError, RecursionError):
        return value
    meant = list(parsed) == ["v"] and not isinstance(parsed["v"], _DATES) and not too_deep(parsed)
    return parsed["v"] if meant else value


def key_of(name: str) -> Key:
    """Return the key path of a dotted key, or nothing if it is none."""
    try:
        node: Any = tomllib.loads(f"{name} = 0" if _DOTTED.fullmatch(name) else "")
    except tomllib.TOMLDecodeError:
        return ()
    key: list[str] = []
    while isinstance(node, dict) and node and len(key) < DEEPEST:
        ((part, node),) = node.items()
        key.append(part)
    return () if isinstance(node, dict) else tuple(key)


def _nest(name: str, value: Any, place: Place) -> dict[str, Any]:
    """Return nested tables for a dotted key. Raises `InputError` (RC005) if the name is not one."""
    key = key_of(name)
    if not key:
        raise InputError.of(
            "RC005", f"{name!r} is not a key", place=place, cure="keys read table.key"
        )
    for part in reversed(key):
        value = {part: value}
    return dict(value)


def too_deep(value: Any) -> bool:
    """Tell whether lists and tables lie in each other more deeply than any task needs."""
    level = [value]
    for _ in range(DEEPEST):
        inside = (node.values() if isinstance(node, dict) else node for node in level)
        level = [inner for nodes in inside for inner in nodes if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True


def plain(value: Any, name: str, place: Place, depth: int = 0) -> Any:
    """Return a value of Python as TOML has it: numbers of NumPy and torch, arrays, tuples and paths
    are taken.

    None is a key that is left out. Raises `InputError` (RC012) for what TOML cannot say.
    """
    if isinstance(value, Enum):
        value = value.value
    with contextlib.suppress(Exception):  # what is refused below may be anybody's class
        if hasattr(value, "tolist"):  # NumPy's scalars and arrays, torch's tensors
            value = value.tolist()
        elif isinstance(value, os.PathLike):
            value = os.fspath(value)

    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is None or isinstance(value, _DATES):
        return value
    if (
        depth < DEEPEST
        and isinstance(value, Mapping)
        and all(isinstance(key, str) for key in value)
    ):
        return {str(key): plain(inner, name, place, depth + 1) for key, inner in value.items()}
    if depth < DEEPEST and isinstance(value, (list, tuple)):
        return [plain(inner, name, place, depth + 1) for inner in value]

    kind_name = type(value).__name__
    fact = (
        f"{name} cannot be a {kind_name}"
        if depth < DEEPEST
        else f"{name} nests lists or tables too deeply"
    )
    allowed = (
        "what TOML can say: text, numbers, true, false, dates, lists, tables with text for keys"
    )
    raise InputError.of("RC012", fact, key=name, place=place, got=_shown(value), allowed=allowed)


def _shown(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # somebody else's class
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _clashes(overrides: list[Override]) -> Iterator[Problem]:
    """Give a problem for each override that would replace what one before it says."""
    said: dict[Key, tuple[Override, Any]] = {}
    for override in overrides:
        leaves = dict(_leaves(override.tables))
        for key, value in leaves.items():
            if key != ("unset",) and (earlier := _earlier(said, key, value)):
                yield _clash(earlier, override, key)
                break
        said |= {key: (override, value) for key, value in leaves.items()}


def _earlier(said: dict[Key, tuple[Override, Any]], key: Key, value: Any) -> Override | None:
    """Return the override that says another thing of a key, of a table above it, or of a key inside
    it.
    """
    for other, (override, before) in said.items():
        shorter = min(len(key), len(other))
        differ = key != other or not same(before, value)
        if key[:shorter] == other[:shorter] and differ:
            return override
    return None


def _leaves(tables: dict[str, Any], path: Key = ()) -> Iterator[tuple[Key, Any]]:
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _clash(earlier: Override, later: Override, key: Key) -> Problem:
    name = ".".join(map(str, key))
    fact = f"two overrides contradict each other: {earlier.label}, and {later.label}"
    table = next((key[:depth] for depth in range(1, len(key) + 1) if key[:depth] in TABLES), ())
    cure = "leave one of them out"
    if table:
        cure += f"; {'.'.join(map(str, table))} is a table, whose keys are set one by one"
    return Problem("RC014", fact, name, Place(later.label), cure=cure)


def unset_keys(value: Any, place: Place) -> list[str]:
    """Return the dotted keys that `unset` takes away. Raises `InputError` (RC012, RC013)."""
    names = [value] if isinstance(value, str) else value
    allowed = 'a key, or a list of keys: unset = ["encoder.periods"]'
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        got = json.dumps(value, default=str)
        raise InputError.of(
            "RC012", "unset has the wrong type", key="unset", place=place, got=got, allowed=allowed
        )
    for name in names:
        if not key_of(name):
            raise InputError.of(
                "RC013", f"{name!r} is not a key", key="unset", place=place, allowed=allowed
            )
    return names
