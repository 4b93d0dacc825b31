"""From a file, its bases and the overrides to one document that remembers where each value comes from."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recurra.errors import InputError, Place
from recurra.spec import positions

Key = positions.Path

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_DOTTED = re.compile(rf"[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART})*[ \t]*")


GIVE_WAY = (
    ("training", "steps", "epochs"),
    ("training", "epochs", "steps"),
    ("cell", "stack", "all"),
    ("cell", "kind", "stack"),
)
"""Tables in which a key of a later layer takes the place of another of the layers below, or of all of them."""


@dataclass(frozen=True)
class Layer:
    """One origin of values: a file with its text, or an override."""

    label: str
    folder: Path
    text: str = ""


@dataclass
class Document:
    """The merged tables of a task, and the layer that each value comes from."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    origins: dict[Key, int] = field(default_factory=dict)

    def add(self, layer: Layer, data: dict[str, Any]) -> None:
        """Merge a layer over what is there: tables deeply, lists and values whole."""
        self.layers.append(layer)
        self._give_way(data)
        self._merge(self.data, data, ())

    def _give_way(self, data: dict[str, Any]) -> None:
        """Drop what this layer says in another way: epochs for steps, one cell for a stack of them, and the reverse."""
        for table, name, others in GIVE_WAY:
            old, new = self.data.get(table), data.get(table)
            if not (isinstance(old, dict) and isinstance(new, dict) and name in new) or name in old:
                continue
            for other in set(old) - set(new) if others == "all" else {others} - set(new):
                old.pop(other, None)
                self._forget_below((table, other))
                self.origins.pop((table, other), None)

    def _merge(self, into: dict[str, Any], new: dict[str, Any], path: Key) -> None:
        for key, value in new.items():
            here = (*path, key)
            table = isinstance(value, dict)
            if not (table and isinstance(into.get(key), dict)):
                self._forget_below(here)
                into[key] = {} if table else value
                self.origins[here] = len(self.layers) - 1
            if table:
                self._merge(into[key], value, here)

    def _forget_below(self, key: Key) -> None:
        """Drop the origins inside a table that is about to be replaced."""
        for inner in [path for path in self.origins if len(path) > len(key) and path[: len(key)] == key]:
            del self.origins[inner]

    def layer(self, key: Key) -> Layer:
        """Return the layer that a key, or the nearest table above it, comes from."""
        for depth in range(len(key), 0, -1):
            if key[:depth] in self.origins:
                return self.layers[self.origins[key[:depth]]]
        return next((layer for layer in reversed(self.layers) if layer.text), self.layers[0])

    def place(self, key: Key) -> Place:
        """Return where a key stands; a missing key stands at its table's header."""
        layer = self.layer(key)
        if not layer.text:
            return Place(layer.label, 1, 1) if layer.label == str(self.path) else Place(layer.label)
        found, span = positions.locate(layer.text, key)
        if span is None:
            return Place(layer.label, 1, 1, _line(layer.text, 1))
        line, column = positions.line_and_column(layer.text, span.start)
        width = (span.key_end if len(found) < len(key) else span.end) - span.start
        return Place(layer.label, line, column, _line(layer.text, line), width)

    def anchor(self, key: Key, value: str) -> str:
        """Return a path that a key names as an absolute one, from the folder of the file that says so."""
        return str(self.layer(key).folder / _expanded(value))


def _expanded(name: str) -> Path:
    """Return a path with `~` as a folder; the name as it is where nobody has that home."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def _line(text: str, number: int) -> str:
    lines = text.split("\n")  # TOML ends lines here alone, str.splitlines at U+2028 and others too
    return lines[number - 1] if number <= len(lines) else ""


def read(path: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Document:
    """Read a task file with its bases and overrides.

    Overrides are `key=value` texts, or a mapping of dotted keys. Raises `InputError` (RC001 to RC005).
    """
    path = Path(path)
    document = Document(path)
    for layer, data in _with_bases(path, ()):
        document.add(layer, data)
    pairs = overrides.items() if isinstance(overrides, Mapping) else enumerate(overrides, 1)
    for number, (name, value) in enumerate(pairs, 1):
        if isinstance(overrides, Mapping):
            label = f"override {name}"
            data = _nest(str(name), value, Place(label))
        else:
            label, data = f"-o #{number}: {value}", parse_override(str(value), number)
        if "extends" in data:
            raise InputError.of("RC005", "a base is named in the task file, not by an override", place=Place(label))
        document.add(Layer(label, Path.cwd()), data)
    return document


def _with_bases(path: Path, seen: tuple[Path, ...]) -> list[tuple[Layer, dict[str, Any]]]:
    """Return the layers of a file, its bases first."""
    text, data = read_toml(path)
    layer = Layer(str(path), path.resolve().parent, text)
    base = data.pop("extends", None)
    if base is None:
        return [(layer, data)]
    document = Document(path, layers=[layer], origins={("extends",): 0})
    place = document.place(("extends",))
    if not isinstance(base, str):
        got = json.dumps(base, default=str)
        raise InputError.of("RC012", "extends must be the name of a task file", key="extends", place=place, got=got)
    target = (layer.folder / _expanded(base)).resolve()
    if target in (*seen, path.resolve()):
        chain = " -> ".join(str(p.name) for p in (*seen, path.resolve(), target))
        raise InputError.of("RC004", f"the bases run in a circle: {chain}", key="extends", place=place)
    if not target.is_file():
        fact = f"the base file does not exist: {target}"
        raise InputError.of("RC004", fact, key="extends", place=place, cure="paths are taken from this file's folder")
    shown = path.parent / _expanded(base)
    return [*_with_bases(shown, (*seen, path.resolve())), (layer, data)]


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a file's text and its tables. Raises `InputError` (RC001, RC002, RC003)."""
    place = Place(str(path))
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError.of("RC001", _why_unreadable(path, error), place=place, cure=_cure_unreadable(path)) from error
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _encoding_error(path, raw, error) from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    except RecursionError as error:
        raise InputError.of("RC003", "the file nests lists or tables too deeply", place=place) from error
    except ValueError as error:  # an integer with thousands of digits
        raise InputError.of("RC003", f"a value cannot be read: {error}", place=place) from error


def _encoding_error(path: Path, raw: bytes, error: UnicodeDecodeError) -> InputError:
    """Return the error of bytes that are not UTF-8, at the first that is not."""
    offset = error.start + len(raw) - len(error.object)  # the decoder has taken a byte-order mark away
    before = raw[:offset].decode("utf-8-sig")
    line, column = positions.line_and_column(before, len(before))
    shown = _line(raw.decode("utf-8-sig", "replace"), line).rstrip("\r")
    fact = f"the file is not UTF-8 text: byte {raw[offset]:#04x} at offset {offset}"
    return InputError.of("RC002", fact, place=Place(str(path), line, column, shown), cure="save it as UTF-8")


def _syntax_error(path: Path, text: str, message: str) -> InputError:
    """Return the error of a text that is not TOML, at its place."""
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    end = positions.line_and_column(text, len(text.rstrip("\n")))
    line, column = (int(found[1]), int(found[2])) if found else end
    fact = re.sub(r" \(at .*\)$", "", message)
    place = Place(str(path), line, column, _line(text, line))
    return InputError.of("RC003", f"not valid TOML: {fact[:1].lower()}{fact[1:]}", place=place)


def _why_unreadable(path: Path, error: OSError) -> str:
    if path.is_dir():
        return "this is a directory; a task is one TOML file"
    if not path.exists():
        return "the file does not exist"
    return f"the file cannot be read: {error.strerror}"


def _cure_unreadable(path: Path) -> str:
    if path.is_dir():
        inside = sorted(p.name for p in path.glob("*.toml"))
        return f"name one of its files: {', '.join(inside[:10])}" if inside else ""
    return "`recurra new --list` shows the tasks that come with recurra" if not path.exists() else ""


def parse_override(text: str, number: int = 1) -> dict[str, Any]:
    """Return the tables that `key=value` stands for: the value is TOML if it can be, else a string."""
    key = _DOTTED.match(text)
    cut = key.end() if key and text.startswith("=", key.end()) else text.find("=")
    name, value = text[: max(cut, 0)], text[cut + 1 :]
    place = Place(f"-o #{number}: {text}")
    if not name.strip():
        raise InputError.of("RC005", "an override reads key=value", place=place, cure="as in -o cell.hidden_size=64")
    if not text.isprintable() and any("\ud800" <= mark <= "\udfff" for mark in text):
        raise InputError.of("RC005", "the override is not UTF-8 text", place=place)
    return _nest(name.strip(), _toml_or_text(value.lstrip()), place)


def _toml_or_text(value: str) -> Any:
    """Return what a text means as a TOML value, or the text itself where it means nothing."""
    try:
        parsed = tomllib.loads(f"v = {value}")
    except (ValueError, RecursionError):
        return value
    return parsed["v"] if list(parsed) == ["v"] else value


def _nest(name: str, value: Any, place: Place) -> dict[str, Any]:
    """Return nested tables for a dotted key. Raises `InputError` (RC005) if the name is not one."""
    try:
        probe = tomllib.loads(f"{name} = 0" if _DOTTED.fullmatch(name) else "")
    except tomllib.TOMLDecodeError:
        probe = {}
    if not probe:
        raise InputError.of("RC005", f"{name!r} is not a key", place=place, cure="keys read table.key")
    node = probe
    while True:
        key = next(iter(node))
        if not isinstance(node[key], dict):
            node[key] = value
            return probe
        node = node[key]
