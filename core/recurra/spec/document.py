"""One document of many layers: a task's merged tables, and the layer of each value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from recurra.errors import Place, Problem
from recurra.spec import positions
from recurra.spec.tables import TABLES

Key = positions.Path

GIVE_WAY = (
    ("training", "steps", "epochs"),
    ("training", "epochs", "steps"),
    ("cell", "stack", "all"),
    ("cell", "kind", "stack"),
)
"""By table: a key of a later layer, and which one of the layers below it takes the place of.

Where that is `all`, it takes the place of every other key.
"""


@dataclass(frozen=True)
class Layer:
    """One origin of values: a file with its text, or an override.

    The `value` of an override is what stands after its equals sign.
    """

    label: str
    folder: Path
    text: str = ""
    override: bool = False
    value: str = ""


@dataclass(frozen=True)
class Change:
    """A layer, by its number, that gives a table another `kind` than the layers below."""

    layer: int
    before: Any
    after: Any


@dataclass
class Document:
    """The merged tables of a task, and the layer that each value comes from."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    origins: dict[Key, int] = field(default_factory=dict)
    changes: dict[Key, list[Change]] = field(default_factory=dict)
    faults: list[Problem] = field(default_factory=list)
    given_way: dict[str, list[str]] = field(default_factory=dict)
    """By table, what one layer has put aside of those below, in words."""

    def add(self, layer: Layer, data: dict[str, Any]) -> None:
        """Merge a layer over what is there: tables deeply, lists and values whole."""
        self.layers.append(layer)
        self._give_way(data)
        self._merge(self.data, data, ())

    def part(self, key: Key, layers: Iterable[Layer]) -> None:
        """Give each element of the list at a key a layer of its own, which says where it stands."""
        for index, layer in enumerate(layers):
            self.layers.append(layer)
            self.origins[*key, index] = self._newest

    def remove(self, key: Key) -> bool:
        """Take a key away, with all that it holds; return whether it was there."""
        table = self.table(key[:-1])
        if table is None or key[-1] not in table:
            return False
        self._forget_below(key, table.pop(key[-1]))
        self.origins.pop(key, None)
        return True

    def table(self, key: Key) -> dict[Any, Any] | None:
        """Return the table at a key, if there is one."""
        node: Any = self.data
        for part in key:
            node = node.get(part) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else None

    def _give_way(self, data: dict[str, Any]) -> None:
        """Drop what the newest layer says in another way.

        So epochs take the place of steps, one cell that of a stack of them, and the reverse. One
        override drops nothing of another: both stand, and contradict each other.
        """
        for table, name, other in GIVE_WAY:
            old = self.data.get(table)
            new = data.get(table)
            if not isinstance(old, dict) or not isinstance(new, dict):
                continue
            if name in old or name not in new:
                continue

            rivals = set(old) - set(new)
            if other != "all":
                rivals &= {other}
            gone = [rival for rival in sorted(rivals) if self._drop_below((table, rival))]
            if gone and table == "cell":
                # Its options are lost with it, which the user is told.
                names = ", ".join(f"{table}.{rival}" for rival in gone)
                note = f"{table}.{name} ({self.layers[-1].label}) takes the place of {names}"
                self.given_way.setdefault(table, []).append(note)

    def _drop_below(self, key: Key) -> bool:
        """Take a key away if it comes from below the newest layer; return whether it did."""
        if self._beside(key, self._newest):
            return False
        return self.remove(key)

    @property
    def _newest(self) -> int:
        """The number of the newest layer."""
        return len(self.layers) - 1

    def _beside(self, key: Key, layer: int) -> bool:
        """Tell whether a key comes from the same place as a layer, as all overrides do."""
        origin = self.origins.get(key, layer)
        both_overrides = self.layers[origin].override and self.layers[layer].override
        return origin == layer or both_overrides

    def _merge(self, into: dict[str, Any], new: dict[str, Any], path: Key) -> None:
        """Merge the tables of the newest layer, `new`, into those at a path."""
        for name, value in new.items():
            key = (*path, name)
            old = into.get(name)
            if name == "kind" and name in into and not same(old, value):
                change = Change(self._newest, old, value)
                self.changes.setdefault(path, []).append(change)

            # A table is merged with a table; anything else is replaced whole.
            is_table = isinstance(value, dict)
            if not is_table or not isinstance(old, dict):
                if is_table and key in TABLES and old is not None:
                    self.faults.append(self._not_a_table(key))
                self._forget_below(key, old)
                into[name] = {} if is_table else value
                self.origins[key] = self._newest
            if is_table:
                self._merge(into[name], value, key)

    def _not_a_table(self, key: Key) -> Problem:
        """Return the problem of a value that a layer below gives to what must be a table."""
        name = ".".join(map(str, key))
        fact = f"{name} is a table, and {self.layers[-1].label} gives a key in it"
        cure = f"write the key that is meant: {name}.kind = ..."
        return Problem("RC012", fact, name, self.place(key), cure=cure)

    def _forget_below(self, key: Key, value: Any) -> None:
        """Drop the origins inside a table that is gone, or about to be replaced."""
        self.changes.pop(key, None)
        for name, inner in value.items() if isinstance(value, dict) else ():
            self.origins.pop((*key, name), None)
            self._forget_below((*key, name), inner)

    def inherited(self, key: Key, change: Change) -> bool:
        """Tell whether a key comes from below the layer that changed the kind of its table."""
        origin = self.origins.get(key, change.layer)
        return origin < change.layer and not self._beside(key, change.layer)

    def layer(self, key: Key) -> Layer:
        """Return the layer that a key, or the nearest table above it, comes from."""
        for depth in range(len(key), 0, -1):
            origin = self.origins.get(key[:depth])
            if origin is not None:
                return self.layers[origin]

        # What stands nowhere belongs to the task file, which is the last of the files.
        files = [layer for layer in self.layers if layer.text]
        return files[-1] if files else self.layers[0]

    def place(self, key: Key) -> Place:
        """Return where a key stands; a missing key stands at its table's header."""
        layer = self.layer(key)
        if not layer.text and layer.label == str(self.path):
            return Place(layer.label, 1, 1)
        if not layer.text:
            return Place(layer.label)

        nearest, span = positions.locate(layer.text, key)
        if span is None:
            return Place(layer.label, 1, 1, line_of(layer.text, 1))
        line, column = positions.line_and_column(layer.text, span.start)
        # Of a table in which the key is missing the header is marked, not all that it holds.
        end = span.end if nearest == key else span.key_end
        width = end - span.start
        return Place(layer.label, line, column, line_of(layer.text, line), width)

    def anchor(self, key: Key, value: str) -> str:
        """Return a key's path as an absolute one, from the folder of the file that names it."""
        folder = self.layer(key).folder
        return str(folder / expanded(value))


def same(one: Any, other: Any) -> bool:
    """Tell whether two values of TOML are one, and of one type; nan is nan, wherever it stands."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return False
        return all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    both_nan = one != one and other != other
    return both_nan or bool(one == other)


def expanded(name: str) -> Path:
    """Return a path with `~` as a folder; the name as it is where nobody has that home."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def line_of(text: str, number: int) -> str:
    """Return a line of a text, by its number from 1."""
    lines = _lines(text)
    return lines[number - 1] if number <= len(lines) else ""


@lru_cache(maxsize=2)
def _lines(text: str) -> list[str]:
    """Return the lines of a text, which all of its problems share: a line may be the whole text."""
    # TOML ends lines at newlines alone, `str.splitlines` at U+2028 and others too.
    return text.split("\n")
