"""Sequences as a source gives them, put together of their pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from recurra.contracts.source import COVARIATES, OF_STEPS, TAGS, Piece, Role
from recurra.errors import InputError


class Row(NamedTuple):
    """A sequence: what it is called, its elements, and the stamp of the first, where it has one.

    `tags` are what is said of each element, where that is read.
    """

    name: str
    elements: Any
    time: Any = ""
    tags: Sequence[str] = ()


class Accompanied(NamedTuple):
    """The numbers of a series, and the covariates beside them by their role and their name."""

    values: Any
    tables: Mapping[Role, Mapping[str, Any]]


def gathered(pieces: Iterable[Piece]) -> Iterator[Row]:
    """Give whole sequences, each with its name, or its number from 1; one that is empty too."""
    parts: list[Piece] = []
    name, time, count = "", "", 0
    for piece in pieces:
        # The first piece begins a sequence whether it says so or not.
        if piece.start or not count:
            if parts:
                yield Row(name, _whole(parts), time, _tags(parts))
            parts, count = [], count + 1
            name = str(piece.columns.get("series", count))
            time = str(piece.columns.get("time", ""))
        parts.append(piece)
    if parts:
        yield Row(name, _whole(parts), time, _tags(parts))


def _whole(pieces: list[Piece]) -> Any:
    """Return the elements of a sequence, and its covariates beside them, if it has any."""
    values = _joined([piece.values for piece in pieces])
    roles = [role for role in COVARIATES if role in pieces[0].columns]
    if isinstance(values, InputError) or not roles:
        return values

    tables: dict[Role, Mapping[str, Any]] = {}
    for role in roles:
        first = pieces[0].columns[role]
        tables[role] = first
        if role in OF_STEPS:
            columns = {name: [piece.columns[role][name] for piece in pieces] for name in first}
            tables[role] = {name: _joined(parts) for name, parts in columns.items()}
    return Accompanied(values, tables)


def _tags(pieces: list[Piece]) -> list[str]:
    """Return the tags of the elements of a sequence, if they have such."""
    return [tag for piece in pieces for tag in piece.columns.get(TAGS, ())]


def _joined(parts: list[Any]) -> Any:
    """Return the elements of a sequence that came in parts, or the error that one of them is."""
    for part in parts:
        if isinstance(part, InputError):
            return part

    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, str):
        return "".join(parts)
    if any(isinstance(part, list) for part in parts):
        # Of a column of names parts may hold none.
        return list(chain.from_iterable(parts))
    return np.concatenate(parts)
