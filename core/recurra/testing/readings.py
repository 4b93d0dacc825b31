"""What a source gave, compared piece by piece or put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from recurra.contracts.source import FUTURE, OF_STEPS, PAST, TAGS, Piece, Role
from recurra.contracts.vocabulary import Element, Values
from recurra.testing.answers import demand
from recurra.testing.hard_data import joined


def equal(pieces: list[Piece], expected: list[Piece], what: str) -> None:
    """Raise `Broken` unless the pieces are the same."""
    fact = f"{what}: {len(pieces)} pieces, not {len(expected)}"
    demand(len(pieces) == len(expected), fact)
    for index, (one, other) in enumerate(zip(pieces, expected, strict=True)):
        alike = bool(one.start) == bool(other.start)
        alike = alike and same_values(one.values, other.values)
        fact = f"{what}: piece {index} is another one"
        demand(alike and same_said(dict(one.columns), dict(other.columns)), fact)


def same_values(one: Values, other: Values) -> bool:
    """Tell whether values are equal, in type too; nan is equal to itself."""
    if type(one) is not type(other):
        return False
    if not isinstance(one, np.ndarray):
        return bool(one == other or (one != one and other != other))
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)


def same_said(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    """Tell whether what columns say is equal; tables of covariates column by column, in order."""
    if one.keys() != other.keys():
        return False
    for role, said in one.items():
        also = other[role]
        if isinstance(said, Mapping) and isinstance(also, Mapping):
            alike = list(said) == list(also)
            alike = alike and all(same_values(said[name], also[name]) for name in said)
        else:
            alike = same_values(said, also)
        if not alike:
            return False
    return True


class Whole(NamedTuple):
    """All that a source gave of one element, put together.

    `starts` are the positions at which sequences start, and `said` what stands at each of these.
    There is a tag for each value, or none; and so there is in `beside` a row of covariates, `ahead`
    of a sequence those of steps that are still to come, by the position of its start.
    """

    values: Values
    starts: list[int]
    tags: list[str]
    beside: list[tuple[Any, ...]]
    ahead: dict[int, list[tuple[Any, ...]]]
    said: list[dict[Role, Any]]


def whole(pieces: Iterable[Piece], element: Element) -> Whole:
    """Return what pieces hold, however they were cut."""
    parts: list[Values] = []
    made = Whole([], [], [], [], {}, [])
    count = 0
    for values, start, columns in pieces:
        if start:
            made.starts.append(count)
            once = {role: said for role, said in columns.items() if role not in OF_STEPS}
            made.said.append(once)
        parts.append(values)
        made.tags.extend(columns.get(TAGS, []))
        _beside(made, columns, len(values))
        count += len(values)
    return made._replace(values=joined(parts, element))


def _beside(made: Whole, columns: Mapping[Any, Any], count: int) -> None:
    """Put together what stands beside the elements of a piece, and behind them."""
    past = rows(columns[PAST]) if PAST in columns else []
    future = rows(columns[FUTURE]) if FUTURE in columns else []
    if past or future:
        empty: list[tuple[Any, ...]] = [()] * count
        known = (future or empty)[:count]
        both = zip_longest(past or empty, known, fillvalue=())
        made.beside.extend(own + other for own, other in both)
    if len(future) > count:
        made.ahead[made.starts[-1]] = future[count:]


def rows(table: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a table of columns; what a shorter one lacks, or is no number, is none."""
    return [*zip_longest(*map(_column, table.values()))]


def _column(values: Any) -> list[Any]:
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    return [_told(value) for value in listed]


def _told(value: Any) -> Any:
    return None if value != value else value


def beyond(small: Whole, large: Whole) -> tuple[Any, ...] | None:
    """Return what one has beyond the other, to be compared.

    There is nothing if it does not begin with the other.
    """
    count, begun = len(small.values), len(small.starts)
    longer = len(large.values) > count
    begins = longer and same_values(large.values[:count], small.values)
    if not begins or large.starts[:begun] != small.starts:
        return None
    more = large.values[count:]
    places = [place - count for place in large.starts[begun:]]
    values: Any = more
    if isinstance(more, np.ndarray):
        values = [[*map(_told, row)] for row in more.tolist()]
    return values, places, large.tags[len(small.tags) :], large.beside[len(small.beside) :]
