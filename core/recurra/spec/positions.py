"""Where each key of a TOML text stands. `tomllib` reads values and keeps no places; this reads
places and no values.

It runs only when there is an error to show, on text that `tomllib` has already accepted.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")|' r"'''.*?'{3,5}(?!')|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


@dataclass(frozen=True)
class Span:
    """Offsets of a key (or of an array's element), and where its value ends."""

    start: int
    key_end: int
    end: int


@dataclass
class Scanner:
    """One walk over a TOML text; `spans` maps a key path to its place."""

    text: str
    at: int = 0
    spans: dict[Path, Span] = field(default_factory=dict)
    _rows: dict[Path, int] = field(default_factory=dict)  # arrays of tables: how many so far

    def scan(self) -> dict[Path, Span]:
        """Walk the whole text."""
        table: Path = ()
        while True:
            self._skip(_BLANK)
            if self.at >= len(self.text):
                return self.spans
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match is not None, "the scanner reads only text that tomllib accepted"
        self.at = match.end()
        return match.group()

    def _header(self) -> Path:
        start = self.at
        double = self.text.startswith("[[", self.at)
        self.at += 2 if double else 1
        keys = tuple(key for key, _, _ in self._keys())
        self.at += 2 if double else 1
        span = Span(start, self.at, self.at)
        if double:
            path = (*self._into_rows(keys[:-1]), keys[-1])
            self.spans.setdefault(path, span)
            row = self._rows[path] = self._rows.get(path, -1) + 1
            path = (*path, row)
        else:
            path = self._into_rows(keys)
        self.spans[path] = span
        self._note_parents(path, span)
        return path

    def _into_rows(self, keys: Path) -> Path:
        """Return the path of keys with the current row wherever one of them is an array of
        tables.
        """
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._rows:
                path = (*path, self._rows[path])
        return path

    def _note_parents(self, path: Path, span: Span) -> None:
        for depth in range(1, len(path)):
            self.spans.setdefault(path[:depth], span)

    def _keys(self) -> list[tuple[str, int, int]]:
        """Read a dotted key; return each part with its start and end."""
        parts = []
        while True:
            self._skip(_SPACE)
            start = self.at
            if self.text[self.at] in "\"'":
                part = str(tomllib.loads("k=" + self._skip(_STRING))["k"])
            else:
                part = self._skip(_BARE_KEY)
            parts.append((part, start, self.at))
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def _pair(self, table: Path) -> None:
        keys = self._keys()
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        path = (*table, *(key for key, _, _ in keys))
        start, key_end = keys[0][1], keys[-1][2]
        self._note_parents(path, Span(start, key_end, key_end))
        self._value(path)
        self.spans[path] = Span(start, key_end, self.at)

    def _value(self, path: Path) -> None:
        mark = self.text[self.at]
        if mark in "\"'":
            self._skip(_STRING)
        elif mark == "[":
            self._array(path)
        elif mark == "{":
            self._inline_table(path)
        else:
            scalar = self._skip(_SCALAR)
            self.at -= len(scalar) - len(scalar.rstrip())

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == "]":
                break
            start = self.at
            self._value((*path, index))
            self.spans[(*path, index)] = Span(start, self.at, self.at)
            index += 1
            self._skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == "}":
                break
            self._pair(path)
            self._skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return line and column, from 1, of an offset."""
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def locate(text: str, path: Path) -> tuple[Path, Span | None]:
    """Return the longest part of a key path that the text holds, and its span."""
    spans = Scanner(text).scan()
    for depth in range(len(path), 0, -1):
        if path[:depth] in spans:
            return path[:depth], spans[path[:depth]]
    return (), None
