"""From a file, its bases and the overrides to one document that remembers where each value comes
from.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recurra.errors import InputError, Place, nearest
from recurra.spec import positions
from recurra.spec.document import Document, Key, Layer, expanded, line_of
from recurra.spec.overrides import key_of, overriding, parse_override, too_deep, unset_keys

__all__ = ["Document", "Key", "Layer", "parse_override", "read", "read_toml"]

LARGEST = 1 << 26
"""Bytes of a task file, at most: beyond that it is data, or a device that never ends."""


def read(path: str | Path, overrides: Iterable[str] | Mapping[str, Any] | None = ()) -> Document:
    """Read a task file with its bases and overrides.

    Overrides are `key=value` texts, or a mapping of dotted keys. Raises `InputError` (RC001 to
    RC005, and RC011 to RC014 for what `extends`, `unset` and overrides say).
    """
    path = Path(path)
    document = Document(path)
    for layer, data in _with_bases(path, ()):
        _unset(document, data.pop("unset", []), _place(layer, "unset"))
        document.add(layer, data)

    changes = overriding(overrides)
    for (
        change
    ) in changes:  # first of all, so that it does not matter where among the overrides it stands
        _unset(document, change.tables.pop("unset", []), Place(change.label))
    for change in changes:
        if "extends" in change.tables:
            fact = "a base is named in the task file, not by an override"
            raise InputError.of("RC005", fact, place=Place(change.label))
        document.add(Layer(change.label, _here(), override=True, value=change.value), change.tables)

    if document.faults:
        raise InputError(document.faults)
    return document


def _unset(document: Document, value: Any, place: Place) -> None:
    """Take away keys of the layers so far. Raises `InputError` (RC011 to RC013)."""
    for name in unset_keys(value, place):
        key = key_of(name)
        if not document.remove(key):
            known = [
                ".".join(map(str, (*key[:-1], part))) for part in document.table(key[:-1]) or ()
            ]
            fact = f"unset names {name!r}, which no layer below has"
            raise InputError.of(
                "RC011", fact, key="unset", place=place, nearest=nearest(name, known)
            )


def _place(layer: Layer, key: str) -> Place:
    return Document(Path(layer.label), layers=[layer], origins={(key,): 0}).place((key,))


def _here() -> Path:
    """Return the folder of the command, from which paths in overrides are taken; one that is gone
    is a name alone.
    """
    try:
        return Path.cwd()
    except OSError:
        return Path()


def _with_bases(path: Path, seen: tuple[Path, ...]) -> list[tuple[Layer, dict[str, Any]]]:
    """Return the layers of a file, its bases first."""
    text, data = read_toml(path)
    own = Path(os.path.realpath(path))
    layer = Layer(str(path), own.parent, text)
    base = data.pop("extends", None)
    if base is None:
        return [(layer, data)]

    place = _place(layer, "extends")
    if not isinstance(base, str):
        got = json.dumps(base, default=str)
        raise InputError.of(
            "RC012", "extends must be the name of a task file", key="extends", place=place, got=got
        )
    if fault := _unusable(layer.folder, base):
        cure = "paths are taken from this file's folder"
        raise InputError.of("RC004", fault, key="extends", place=place, cure=cure)

    target = Path(os.path.realpath(layer.folder / expanded(base)))
    if target in (*seen, own):
        chain = " -> ".join(str(p.name) for p in (*seen, own, target))
        raise InputError.of(
            "RC004", f"the bases run in a circle: {chain}", key="extends", place=place
        )
    shown = path.parent / expanded(base)
    return [*_with_bases(shown, (*seen, own)), (layer, data)]


def _unusable(folder: Path, base: str) -> str:
    """Return why a base cannot be read, or nothing."""
    if not base or "\0" in base:
        return f"extends must name a file, and {base!r} cannot be one"
    target = folder / expanded(base)
    if os.path.isfile(target):
        return ""
    if os.path.isdir(target):
        return f"the base is a folder: {target}"
    return (
        f"the base is no regular file: {target}"
        if os.path.exists(target)
        else f"the base file does not exist: {target}"
    )


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a file's text and its tables. Raises `InputError` (RC001, RC002, RC003)."""
    place = Place(str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except ValueError as error:  # a name with a NUL
        raise InputError.of(
            "RC001", f"no file can have this name: {error}", place=Place(repr(str(path)))
        ) from error
    except OSError as error:
        raise InputError.of(
            "RC001", _why_unreadable(path, error), place=place, cure=_cure_unreadable(path)
        ) from error
    if len(raw) > LARGEST:
        fact = f"the file is larger than {LARGEST >> 20} MB, which no task is"
        raise InputError.of(
            "RC001", fact, place=place, cure="name a task file; data stands in files of its own"
        )

    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _encoding_error(path, raw, error) from error
    deep = InputError.of("RC003", "the file nests lists or tables too deeply", place=place)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    except RecursionError as error:
        raise deep from error
    except ValueError as error:  # an integer with thousands of digits
        raise InputError.of("RC003", f"a value cannot be read: {error}", place=place) from error
    if too_deep(data):
        raise deep
    return text, data


def _encoding_error(path: Path, raw: bytes, error: UnicodeDecodeError) -> InputError:
    """Return the error of bytes that are not UTF-8, at the first that is not."""
    # The decoder has taken a byte-order mark away.
    offset = error.start + len(raw) - len(error.object)
    before = raw[:offset].decode("utf-8-sig")
    line, column = positions.line_and_column(before, len(before))
    shown = line_of(raw.decode("utf-8-sig", "replace"), line).rstrip("\r")
    fact = f"the file is not UTF-8 text: byte {raw[offset]:#04x} at offset {offset}"
    return InputError.of(
        "RC002", fact, place=Place(str(path), line, column, shown), cure="save it as UTF-8"
    )


def _syntax_error(path: Path, text: str, message: str) -> InputError:
    """Return the error of a text that is not TOML, at its place."""
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    end = positions.line_and_column(text, len(text.rstrip("\n")))
    line, column = (int(found[1]), int(found[2])) if found else end
    fact = re.sub(r" \(at .*\)$", "", message)
    place = Place(str(path), line, column, line_of(text, line))
    return InputError.of("RC003", f"not valid TOML: {fact[:1].lower()}{fact[1:]}", place=place)


def _why_unreadable(path: Path, error: OSError) -> str:
    if os.path.isdir(path):
        return "this is a directory; a task is one TOML file"
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    return f"the file cannot be read: {error.strerror}"


def _cure_unreadable(path: Path) -> str:
    if os.path.isdir(path):
        inside = sorted(p.name for p in path.glob("*.toml"))
        return f"name one of its files: {', '.join(inside[:10])}" if inside else ""
    return (
        ""
        if os.path.exists(path)
        else "`recurra new --list` shows the tasks that come with recurra"
    )
