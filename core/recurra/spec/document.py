"""One document of many layers: the merged tables of a task, and the layer that each value comes
from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
"""Tables in which a key of a later layer takes the place of another of the layers below, or of all
of them.
"""


@dataclass(frozen=True)
class Layer:
    """One origin of values: a file with its text, or an override with what stands after its equals
    sign.
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

    def remove(self, key: Key) -> bool:
        """Take a key away, with all that it holds; return whether it was there."""
        table = self.table(key[:-1])
        if table is None or key[-1] not in table:
            return False
        del table[key[-1]]
        self._forget(key)
        return True

    def table(self, key: Key) -> dict[Any, Any] | None:
        """Return the table at a key, if there is one."""
        node: Any = self.data
        for part in key:
            node = node.get(part) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else None

    def _give_way(self, data: dict[str, Any]) -> None:
        """Drop what this layer says in another way: epochs for steps, one cell for a stack of them,
        and the reverse.

        One override drops nothing of another: both stand, and contradict each other.
        """
        for table, name, others in GIVE_WAY:
            old, new = self.data.get(table), data.get(table)
            if not (isinstance(old, dict) and isinstance(new, dict) and name in new) or name in old:
                continue
            gone = []
            for other in sorted(
                set(old) - set(new) if others == "all" else {others} & set(old) - set(new)
            ):
                if not self._beside((table, other), len(self.layers) - 1):
                    del old[other]
                    self._forget((table, other))
                    gone.append(f"{table}.{other}")
            if gone and table == "cell":  # whose options are lost with it
                said = (
                    f"{table}.{name} ({self.layers[-1].label}) takes the place of {', '.join(gone)}"
                )
                self.given_way.setdefault(table, []).append(said)

    def _beside(self, key: Key, layer: int) -> bool:
        """Tell whether a key comes from the same place as a layer, as all overrides do."""
        origin = self.origins.get(key, layer)
        return origin == layer or (self.layers[origin].override and self.layers[layer].override)

    def _merge(self, into: dict[str, Any], new: dict[str, Any], path: Key) -> None:
        for key, value in new.items():
            here = (*path, key)
            table = isinstance(value, dict)
            if key == "kind" and key in into and not same(into[key], value):
                self.changes.setdefault(path, []).append(
                    Change(len(self.layers) - 1, into[key], value)
                )
            if not (table and isinstance(into.get(key), dict)):
                if table and here in TABLES and into.get(key) is not None:
                    self.faults.append(self._not_a_table(here))
                self._forget_below(here)
                into[key] = {} if table else value
                self.origins[here] = len(self.layers) - 1
            if table:
                self._merge(into[key], value, here)

    def _not_a_table(self, key: Key) -> Problem:
        """Return the problem of a value that a layer below gives to what must be a table."""
        name = ".".join(map(str, key))
        fact = f"{name} is a table, and {self.layers[-1].label} gives a key in it"
        return Problem(
            "RC012",
            fact,
            name,
            self.place(key),
            cure=f"write the key that is meant: {name}.kind = ...",
        )

    def _forget(self, key: Key) -> None:
        """Drop the origin of what is no more there, and of all that it held."""
        self._forget_below(key)
        self.origins.pop(key, None)

    def _forget_below(self, key: Key) -> None:
        """Drop the origins inside a table that is about to be replaced."""
        for inner in [
            path for path in self.origins if len(path) > len(key) and path[: len(key)] == key
        ]:
            del self.origins[inner]
        for table in [path for path in self.changes if path[: len(key)] == key]:
            del self.changes[table]

    def inherited(self, key: Key, change: Change) -> bool:
        """Tell whether a key comes from below the layer that changed the kind of its table."""
        return self.origins.get(key, change.layer) < change.layer and not self._beside(
            key, change.layer
        )

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
            return Place(layer.label, 1, 1, line_of(layer.text, 1))
        line, column = positions.line_and_column(layer.text, span.start)
        width = (span.key_end if len(found) < len(key) else span.end) - span.start
        return Place(layer.label, line, column, line_of(layer.text, line), width)

    def anchor(self, key: Key, value: str) -> str:
        """Return a path that a key names as an absolute one, from the folder of the file that says
        so.
        """
        return str(self.layer(key).folder / expanded(value))


def same(one: Any, other: Any) -> bool:
    """Tell whether two values of TOML are one: of one type, and nan is nan, wherever it stands in
    them.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(value, other[key]) for key, value in one.items()
        )
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
    """Return a line of a text; TOML ends lines at newlines alone, `str.splitlines` at U+2028 and
    others too.
    """
    lines = text.split("\n")
    return lines[number - 1] if number <= len(lines) else ""
