"""From a file, its bases and the overrides to one document that knows each value's layer."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from recurra.errors import InputError, Place, nearest
from recurra.spec import positions
from recurra.spec.bounds import BEYOND, LARGEST, excess
from recurra.spec.document import Document, Key, Layer, expanded, line_of
from recurra.spec.overrides import (
    key_of,
    leaves,
    overriding,
    parse_override,
    plain,
    unset_keys,
)

__all__ = ["Document", "Key", "Layer", "parse_override", "read", "read_toml"]

EXCERPT = 1000
"""Characters of a line that are shown of a text that is too large."""
TASK = "the task"
"""What a task without a file is called."""


def read(
    task: str | Path | Mapping[str, Any],
    overrides: Iterable[str] | Mapping[str, Any] | None = (),
) -> Document:
    """Read a task file, or a task as tables in Python, with its bases and overrides.

    Overrides are `key=value` texts, or a mapping of dotted keys. Raises `InputError` (RC001 to
    RC005, and RC011 to RC014 for what `extends`, `unset` and overrides say).
    """
    if isinstance(task, Mapping):
        document = Document(Path())
        layers = _of_python(task)
    else:
        document = Document(Path(task))
        layers = _with_bases(document.path, ())
    for layer, tables in layers:
        if "unset" in tables:
            _unset(document, tables.pop("unset"), _place(layer, "unset"))
        document.add(layer, tables)

    changes = overriding(overrides)
    # First what overrides unset, so that it does not matter where among them it stands.
    for change in changes:
        if "unset" in change.tables:
            _unset(document, change.tables.pop("unset"), Place(change.label))
    for change in changes:
        if "extends" in change.tables:
            fact = "a base is named in the task file, not by an override"
            raise InputError.of("RC005", fact, place=Place(change.label))
        layer = Layer(change.label, _here(), override=True, value=change.value)
        document.add(layer, change.tables)
        for key, _ in leaves(change.tables) if change.parts else ():
            document.part(key, (replace(layer, label=label) for label in change.parts))

    if document.faults:
        raise InputError(document.faults)
    return document


def _unset(document: Document, value: Any, place: Place) -> None:
    """Take away keys of the layers so far. Raises `InputError` (RC011 to RC013)."""
    for name in unset_keys(value, place):
        key = key_of(name)
        if document.remove(key):
            continue
        parent = key[:-1]
        siblings = [(*parent, part) for part in document.table(parent) or ()]
        names = [".".join(map(str, sibling)) for sibling in siblings]
        fact = f"unset names {name!r}, which no layer below has"
        close = nearest(name, names)
        raise InputError.of("RC011", fact, key="unset", place=place, nearest=close)


def _place(layer: Layer, name: str) -> Place:
    """Return where a key stands in a layer that is in no document yet."""
    key = (name,)
    alone = Document(Path(layer.label), layers=[layer], origins={key: 0})
    return alone.place(key)


def _here() -> Path:
    """Return the folder of the command, from which paths in overrides are taken."""
    try:
        return Path.cwd()
    except OSError:
        # A folder that is gone has no name.
        return Path()


def _with_bases(path: Path, seen: tuple[Path, ...]) -> list[tuple[Layer, dict[str, Any]]]:
    """Return the layers of a file with their tables, its bases first.

    `seen` are the files that have led to this one.
    """
    text, tables = read_toml(path)
    own = Path(os.path.realpath(path))
    layer = Layer(str(path), own.parent, text)
    return _over_base(layer, tables, path.parent, (*seen, own))


def _of_python(task: Mapping[str, Any]) -> list[tuple[Layer, dict[str, Any]]]:
    """Return the layers of a task that is given as tables.

    Raises `InputError` (RC012) for what TOML cannot say.
    """
    tables: dict[str, Any] = plain(task, TASK, Place(TASK))
    return _over_base(Layer(TASK, _here()), tables, _here(), ())


def _over_base(
    layer: Layer, tables: dict[str, Any], folder: Path, seen: tuple[Path, ...]
) -> list[tuple[Layer, dict[str, Any]]]:
    """Return a layer, and before it those of its base, which lies in a folder."""
    base = tables.pop("extends", None)
    if base is None:
        return [(layer, tables)]

    error = partial(InputError.of, key="extends", place=_place(layer, "extends"))
    if not isinstance(base, str):
        got = json.dumps(base, default=str)
        raise error("RC012", "extends must be the name of a task file", got=got)
    if fault := _unusable(layer.folder, base):
        raise error("RC004", fault, cure="paths are taken from this file's folder")

    # Links are followed to see a circle; messages name a base as it is written.
    target = Path(os.path.realpath(layer.folder / expanded(base)))
    if target in seen:
        chain = " -> ".join(file.name for file in (*seen, target))
        raise error("RC004", f"the bases run in a circle: {chain}")
    below = _with_bases(folder / expanded(base), seen)
    return [*below, (layer, tables)]


def _unusable(folder: Path, base: str) -> str:
    """Return why a base cannot be read, or nothing."""
    if not base or "\0" in base:
        return f"extends must name a file, and {base!r} cannot be one"
    target = folder / expanded(base)
    if os.path.isfile(target):
        return ""
    if os.path.isdir(target):
        return f"the base is a folder: {target}"
    if os.path.exists(target):
        return f"the base is no regular file: {target}"
    return f"the base file does not exist: {target}"


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a file's text and its tables. Raises `InputError` (RC001, RC002, RC003)."""
    raw = _bytes_of(path)
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _encoding_error(path, raw, error) from error

    if beyond := excess(text):
        line, column = positions.line_and_column(text, beyond.at)
        excerpt = line_of(text, line)[:EXCERPT]
        place = Place(str(path), line, column, excerpt if column <= EXCERPT else "")
        raise InputError.of("RC003", beyond.fact, place=place, allowed=beyond.allowed, cure=BEYOND)
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    except ValueError as error:
        # An integer with thousands of digits.
        fact = f"a value cannot be read: {_without_advice(error)}"
        raise InputError.of("RC003", fact, place=Place(str(path))) from error


def _without_advice(error: ValueError) -> str:
    """Return what Python says of a number, without what it tells programmers to do."""
    return str(error).partition(";")[0]


def _bytes_of(path: Path) -> bytes:
    """Return what a task file holds. Raises `InputError` (RC001)."""
    place = Place(str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except ValueError as error:
        # A name with a NUL in it.
        fact = f"no file can have this name: {error}"
        raise InputError.of("RC001", fact, place=Place(repr(str(path)))) from error
    except OSError as error:
        fact, cure = _why_unreadable(path, error), _cure_unreadable(path)
        raise InputError.of("RC001", fact, place=place, cure=cure) from error

    if len(raw) > LARGEST:
        fact = f"the file is larger than {LARGEST >> 20} MB, which no task is"
        allowed = f"{LARGEST:,} bytes"
        raise InputError.of("RC001", fact, place=place, allowed=allowed, cure=BEYOND)
    return raw


def _encoding_error(path: Path, raw: bytes, error: UnicodeDecodeError) -> InputError:
    """Return the error of bytes that are not UTF-8, at the first that is not."""
    # The decoder has taken a byte-order mark away, and counts from behind it.
    mark = len(raw) - len(error.object)
    offset = mark + error.start
    before = raw[:offset].decode("utf-8-sig")
    line, column = positions.line_and_column(before, len(before))

    readable = raw.decode("utf-8-sig", "replace")
    excerpt = line_of(readable, line).rstrip("\r")
    place = Place(str(path), line, column, excerpt)
    fact = f"the file is not UTF-8 text: byte {raw[offset]:#04x} at offset {offset}"
    return InputError.of("RC002", fact, place=place, cure="save it as UTF-8")


def _syntax_error(path: Path, text: str, message: str) -> InputError:
    """Return the error of a text that is not TOML, at its place."""
    numbers = re.search(r"\(at line (\d+), column (\d+)\)", message)
    if numbers:
        line, column = int(numbers[1]), int(numbers[2])
    else:
        # tomllib says "at end of document".
        line, column = positions.line_and_column(text, len(text.rstrip("\n")))
    place = Place(str(path), line, column, line_of(text, line))

    reason = re.sub(r" \(at .*\)$", "", message)
    fact = f"not valid TOML: {reason[:1].lower()}{reason[1:]}"
    return InputError.of("RC003", fact, place=place)


def _why_unreadable(path: Path, error: OSError) -> str:
    if os.path.isdir(path):
        return "this is a directory; a task is one TOML file"
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    return f"the file cannot be read: {error.strerror}"


def _cure_unreadable(path: Path) -> str:
    if not os.path.exists(path):
        return "`recurra new --list` shows the tasks that come with recurra"
    names = sorted(file.name for file in path.glob("*.toml")) if os.path.isdir(path) else []
    if names:
        return f"name one of its files: {', '.join(names[:10])}"
    return ""
