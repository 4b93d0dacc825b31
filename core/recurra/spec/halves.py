"""Texts that no file can hold: halves of what stands for one character."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recurra.contracts.vocabulary import broken_text
from recurra.errors import InputError, Problem
from recurra.spec import checking
from recurra.spec.document import Document, Key


def refuse_halves(document: Document, tables: dict[str, Any]) -> None:
    """Raise `InputError` (RC002) if a text in plain tables is one that no file can hold.

    None comes from a TOML file, but from Python, or from a folder whose name is not UTF-8.
    """
    problems = []
    for key, text in _texts(tables):
        if broken_text(text) >= 0:
            problems.append(_half(document, key, text))
    if problems:
        raise InputError(problems)


def _texts(value: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    """Give each text in plain tables with its key; the name of a key is at its table's key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(name, key)
            yield from _texts(inner, (*key, str(name)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*key, index))


def _half(document: Document, key: Key, text: str) -> Problem:
    """Return the problem of a text that no file can hold."""
    at = broken_text(text)
    fact = (
        "a text cannot be read or written: it holds half of a surrogate pair,"
        f" U+{ord(text[at]):04X}, at {at}"
    )
    excerpt = ascii(text[max(0, at - 20) : at + 20])
    cure = "give text that UTF-8 can hold; a task and its data lie in folders whose names are UTF-8"
    name, place = checking.dotted(key), document.place(key)
    return Problem("RC002", fact, name, place, got=excerpt, cure=cure)
