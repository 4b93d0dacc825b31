"""Where each key of a TOML text stands.

`tomllib` reads values and keeps no places; this reads places and no values. It runs only when
there is an error to show, on text that `tomllib` has already accepted.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")|' r"'''.*?'{3,5}(?!')|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")
_PLAIN = re.compile(r"[ \t\r\n]*+([^\s,#\[\]{}\"']++)[ \t\r\n]*+,")
"""An element of an array that is a number, true or false, or a date, and its comma."""


@dataclass(frozen=True)
class Span:
    """Offsets of a key (or of an array's element), and where its value ends."""

    start: int
    key_end: int
    end: int


class Part(NamedTuple):
    """One name of a dotted key, and where it stands."""

    name: str
    start: int
    end: int


@dataclass
class Scanner:
    """One walk over a TOML text; `spans` maps a key path to its place."""

    text: str
    at: int = 0
    spans: dict[Path, Span] = field(default_factory=dict)
    _rows: dict[Path, int] = field(default_factory=dict)
    """Of each array of tables the index of its last row."""

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
        """Go on past what a pattern matches here, and return it."""
        match = pattern.match(self.text, self.at)
        assert match is not None, "the scanner reads only text that tomllib accepted"
        self.at = match.end()
        return match.group()

    def _header(self) -> Path:
        """Read `[table]`, or `[[row]]` of an array of tables; return the path of what follows."""
        start = self.at
        is_row = self.text.startswith("[[", self.at)
        brackets = 2 if is_row else 1
        self.at += brackets
        keys = tuple(part.name for part in self._keys())
        self.at += brackets
        span = Span(start, self.at, self.at)

        if is_row:
            *parents, name = keys
            array = (*self._into_rows(tuple(parents)), name)
            self.spans.setdefault(array, span)
            row = self._rows.get(array, -1) + 1
            self._rows[array] = row
            path: Path = (*array, row)
        else:
            path = self._into_rows(keys)
        self.spans[path] = span
        self._note_parents(path, span)
        return path

    def _into_rows(self, keys: Path) -> Path:
        """Return the path of keys, with the current row of each array of tables among them.

        Below the second `[[cell.stack]]`, the header `[cell.stack.block]` is at
        `("cell", "stack", 1, "block")`.
        """
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._rows:
                path = (*path, self._rows[path])
        return path

    def _note_parents(self, path: Path, span: Span) -> None:
        """Give a place to the tables above a path that have none of their own."""
        for depth in range(1, len(path)):
            self.spans.setdefault(path[:depth], span)

    def _keys(self) -> list[Part]:
        """Read a dotted key; return its parts."""
        parts = []
        while True:
            self._skip(_SPACE)
            start = self.at
            if self.text[start] in "\"'":
                quoted = self._skip(_STRING)
                name = str(tomllib.loads(f"k={quoted}")["k"])
            else:
                name = self._skip(_BARE_KEY)
            parts.append(Part(name, start, self.at))

            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def _pair(self, table: Path) -> None:
        """Read `key = value` inside a table."""
        parts = self._keys()
        # Past the equals sign.
        self.at += 1
        self._skip(_SPACE)

        path = (*table, *(part.name for part in parts))
        start, key_end = parts[0].start, parts[-1].end
        self._note_parents(path, Span(start, key_end, key_end))
        self._value(path)
        self.spans[path] = Span(start, key_end, self.at)

    def _value(self, path: Path) -> None:
        """Go on past a value, with a place for each key and element inside it."""
        mark = self.text[self.at]
        if mark in "\"'":
            self._skip(_STRING)
        elif mark == "[":
            self._array(path)
        elif mark == "{":
            self._inline_table(path)
        else:
            # The pattern takes the blanks behind the value too.
            scalar = self._skip(_SCALAR)
            blanks = len(scalar) - len(scalar.rstrip())
            self.at -= blanks

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while True:
            # An array may be numbers by the hundred thousand.
            while plain := _PLAIN.match(self.text, self.at):
                self.at = plain.end()
                self.spans[(*path, index)] = Span(plain.start(1), plain.end(1), plain.end(1))
                index += 1
            self._skip(_BLANK)
            if self.text[self.at] == "]":
                break
            start = self.at
            element = (*path, index)
            self._value(element)
            self.spans[element] = Span(start, self.at, self.at)
            index += 1
            self._skip_comma()
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == "}":
                break
            self._pair(path)
            self._skip_comma()
        self.at += 1

    def _skip_comma(self) -> None:
        self._skip(_BLANK)
        if self.text[self.at] == ",":
            self.at += 1


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return line and column, from 1, of an offset."""
    lines_before = text.count("\n", 0, offset)
    # In the first line there is no newline before it, and `rfind` gives -1.
    newline = text.rfind("\n", 0, offset)
    return lines_before + 1, offset - newline


def locate(text: str, path: Path) -> tuple[Path, Span | None]:
    """Return the longest part of a key path that the text holds, and its span."""
    spans = _spans(text)
    for depth in range(len(path), 0, -1):
        head = path[:depth]
        if head in spans:
            return head, spans[head]
    return (), None


@lru_cache(maxsize=2)
def _spans(text: str) -> dict[Path, Span]:
    """Return the places of a text: the problems of a task are looked up one after the other."""
    return Scanner(text).scan()
