"""What a source and a vocabulary give, checked where it enters.

Nothing after it has to doubt a value. Text must be such that UTF-8 can hold it, numbers finite rows
of one width, ids whole numbers below the size of the vocabulary. Wrong values are the data's fault
(`InputError`); wrong types and shapes are the plugin's (`PluginError`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.contracts.source import (
    COVARIATES,
    FOLDS,
    FUTURE,
    OF_STEPS,
    STATIC,
    TAGS,
    Piece,
    Role,
    Source,
)
from recurra.contracts.vocabulary import Element, Values, Vocabulary, broken_text
from recurra.data.store import Array
from recurra.errors import InputError, PluginError

LARGEST = 1e140
"""The largest magnitude of a number: the squares of billions must add up to less than infinity."""
FEW = 4
"""Places that an error names beside the first."""
AROUND = 12
"""Characters that an error shows on each side of a fault in a text."""


def pieces(
    source: Source[Any],
    element: Element,
    owner: str,
    roles: tuple[Role, ...] = (),
    *,
    given: bool = False,
) -> Iterator[Piece]:
    """Give what a source gives, checked, with the columns that have `roles`.

    Of a file that is `given` they are those that are there, and a sequence may be an error in place
    of its elements: that they cannot be read, and why. Raises `InputError` (RC042) or, of wrong
    types, `PluginError` (RC071).
    """
    check = CHECKS[element]
    if source.keeps_missing and element in MAY_LACK:
        check = MAY_LACK[element]
    own = tuple(role for role in roles if role in COVARIATES)
    tables = _Tables(own, owner, source.keeps_missing)
    begun, seen, sequences, width = False, 0, 0, 0
    for piece in source.read(element):
        if not isinstance(piece, Piece):
            raise broken(owner, f"read gives {type(piece).__name__}, not a Piece")

        first = bool(piece.start) or not begun
        columns: dict[Role, Any] = {}
        if first:
            sequences += 1
            # An error of a given file names the sequence: places are told as they lie in it.
            seen = 0 if given else seen
            own_roles = tuple(piece.columns) if given else roles
            for role in own_roles:
                if role not in OF_STEPS and role not in COVARIATES:
                    columns[role] = _column(piece, role, sequences, owner, element)

        try:
            if given and isinstance(piece.values, InputError):
                raise piece.values
            values = check(piece.values, seen, sequences, owner)
            columns |= tables.checked(piece, first, seen, sequences, len(values))
        except InputError as error:
            if not given:
                raise
            yield Piece(error, first, columns)
            continue

        if isinstance(values, np.ndarray) and len(values):
            numbers = values.shape[1]
            # Each sequence of a given file is judged by itself.
            if not width or (given and first):
                width = numbers
            if numbers != width:
                fact = f"a row holds {width} numbers, and one at position {seen} {numbers}"
                raise broken(owner, fact)
        if TAGS in roles:
            columns[TAGS] = _tags(piece, values, element, sequences, owner)
        yield Piece(values, first, columns)
        begun = begun or len(values) > 0
        seen += len(values)


class _Tables:
    """Checks the covariates of pieces, which have the same columns of the same kinds in each.

    Some of these may be `missing`.
    """

    def __init__(self, roles: tuple[Role, ...], owner: str, missing: bool = False) -> None:
        self.roles, self.owner, self.missing = roles, owner, missing
        self.kinds: dict[Role, dict[str, bool]] = {}  # by name, whether a column is of names

    def checked(
        self, piece: Piece, first: bool, seen: int, sequence: int, count: int
    ) -> dict[Role, dict[str, Any]]:
        """Return the covariates of a piece of `count` elements, which comes after `seen` ones.

        Raises `InputError` (RC042) for what is no number that can be scaled, and `PluginError`
        (RC071) for what is no table.
        """
        return {
            role: self._table(role, piece.columns.get(role), seen, sequence, count)
            for role in self.roles
            if first or role != STATIC
        }

    def _table(
        self, role: Role, table: Any, seen: int, sequence: int, count: int
    ) -> dict[str, Any]:
        """Return one table, its numbers as arrays."""
        if not isinstance(table, Mapping) or not table:
            kind = "nothing" if table is None else type(table).__name__
            fact = f"the {role} of sequence {sequence} are {kind}, not a table of columns"
            raise broken(self.owner, fact)
        kinds = self.kinds.setdefault(role, dict.fromkeys(table))  # type: ignore[arg-type]
        if list(kinds) != list(table):
            fact = f"the {role} of sequence {sequence} are {list(table)}, and before {list(kinds)}"
            raise broken(self.owner, fact)
        return {
            name: self._column(role, name, values, seen, sequence, count)
            for name, values in table.items()
        }

    def _column(
        self, role: Role, name: str, values: Any, seen: int, sequence: int, count: int
    ) -> Any:
        """Return the values of a column; the static one of a sequence is one value."""
        listed = [values] if role == STATIC else values
        where = f"{role} {name!r} of sequence {sequence}"
        if self._are_names(listed):
            checked: Any = list(listed)
            for value in checked:
                if value is not None and (not value.strip() or broken_text(value) >= 0):
                    fact = f"{where} holds {ascii(value)}, which is no name of a category"
                    raise InputError.of("RC042", fact, key="source", cure="give it a name")
        else:
            checked = np.asarray(listed)
            if self.missing and checked.dtype == object and all(each is None for each in checked):
                checked = checked.astype(np.float64)
            if checked.dtype.kind not in "fiu" or checked.ndim != 1:
                raise broken(self.owner, f"{where} holds {_described(values)}, not numbers [n]")
            checked = checked.astype(np.float64)
            unread = ~(np.abs(checked) <= LARGEST)
            wrong = np.flatnonzero(unread & ~np.isnan(checked) if self.missing else unread)
            if len(wrong):
                at = int(wrong[0])
                place = "" if role == STATIC else f" at position {seen + at}"
                raise _unusable(float(checked[at]), f"as {where}{place}")

        expected = 1 if role == STATIC else count
        if len(checked) < expected or (role != FUTURE and len(checked) > expected):
            raise broken(self.owner, f"{where} has {len(checked)} values for {expected} elements")
        # A column of which nothing came yet is of neither kind.
        is_names = isinstance(checked, list)
        if len(checked) and (is_names or not np.isnan(checked).all()):
            known = self.kinds[role][name]
            if known is not None and known != is_names:
                raise broken(self.owner, f"{where} holds names and numbers")
            self.kinds[role][name] = is_names
        return checked[0] if role == STATIC else checked

    def _are_names(self, listed: Any) -> bool:
        """Tell whether a column is of names, of which some may be missing, but not all."""
        if not isinstance(listed, list | tuple):
            return False
        names = [value for value in listed if not self.missing or value is not None]
        return all(isinstance(name, str) for name in names) and (bool(names) or not listed)


def ids(values: Any, size: int, owner: str) -> Array:
    """Return the ids `[n]` that a vocabulary gives, each below its size.

    Raises `PluginError` (RC071).
    """
    array = np.asarray(values)
    whole = array.dtype.kind in "iu" or not array.size
    if array.ndim != 1 or not whole:
        raise broken(owner, f"encode gives {_described(values)}, not integers [n]")
    if not len(array):
        return array

    least, greatest = int(array.min()), int(array.max())
    if least < 0 or greatest >= size:
        outside = least if least < 0 else greatest
        raise broken(owner, f"encode gives the id {outside}, and there are {size} symbols")
    return array


def rows(values: Any, count: int, size: int, owner: str) -> Array:
    """Return the scaled numbers `[n, F]` that a vocabulary gives for `count` rows.

    Raises `PluginError` (RC071).
    """
    array = np.asarray(values)
    if array.shape != (count, size) or array.dtype.kind not in "fiu":
        raise broken(owner, f"encode gives {_described(values)} for {count} rows of {size} numbers")
    return array


def broken(owner: str, fact: str) -> PluginError:
    """Return the error of a component that does not give what its contract says."""
    return PluginError.of("RC071", f"{owner}: {fact}")


def _column(piece: Piece, role: Role, sequence: int, owner: str, element: Element) -> Any:
    """Return what a column says of the sequence that a piece begins, whose elements are of a kind.

    It is a text that is not empty, or an answer of the same elements.
    """
    value = piece.columns.get(role)
    if role == "answer":
        return _answer(value, sequence, owner, element)
    if not isinstance(value, str):
        kind = "nothing" if value is None else type(value).__name__
        raise broken(owner, f"the {role} of sequence {sequence} is {kind}, not str")

    at = broken_text(value)
    if at >= 0:
        raise _half(value, at, f"the {role}", sequence)
    if not value.strip():
        fact = f"the {role} of sequence {sequence} is empty"
        raise InputError.of("RC042", fact, key="source", cure="give it one")
    if role == "fold" and value not in FOLDS:
        fact = f"the fold of sequence {sequence} is no split"
        raise InputError.of("RC042", fact, key="source", got=repr(value), allowed=", ".join(FOLDS))
    return value


def _answer(value: Any, sequence: int, owner: str, element: Element) -> str | list[str]:
    """Return what is to follow a sequence of text or of tokens; it may be empty, but not absent."""
    whole = isinstance(value, str) if element == "text" else isinstance(value, list | tuple)
    if not whole:
        kind = "nothing" if value is None else type(value).__name__
        expected = "str" if element == "text" else "a list of str"
        raise broken(owner, f"the answer to sequence {sequence} is {kind}, not {expected}")

    for token in [value] if isinstance(value, str) else value:
        if not isinstance(token, str):
            kind = type(token).__name__
            raise broken(owner, f"the answer to sequence {sequence} holds {kind}, not str")
        at = broken_text(token)
        if at >= 0:
            raise _half(token, at, "the answer", sequence)
    return value if isinstance(value, str) else list(value)


def _tags(piece: Piece, values: Any, element: Element, sequence: int, owner: str) -> list[str]:
    """Return what a piece says of each of its elements: as many texts, of which none is empty."""
    tags = piece.columns.get(TAGS)
    if not isinstance(tags, list | tuple):
        kind = "nothing" if tags is None else type(tags).__name__
        raise broken(owner, f"the tags of sequence {sequence} are {kind}, not a list of str")
    if len(tags) != len(values):
        fact = f"sequence {sequence} has {len(tags)} tags for {len(values)} {UNITS[element]}"
        raise InputError.of("RC042", fact, key="source", cure="give each of them one tag")

    for place, tag in enumerate(tags):
        where = f"tag {place + 1} of sequence {sequence}"
        if not isinstance(tag, str):
            raise broken(owner, f"{where} is {type(tag).__name__}, not str")
        if not tag.strip():
            raise InputError.of("RC042", f"{where} is empty", key="source", cure="give it one")
        if not tag.isascii() and (at := broken_text(tag)) >= 0:
            raise _half(tag, at, where, sequence)
    return list(tags)


def _text(values: Any, seen: int, sequence: int, owner: str) -> str:
    if not isinstance(values, str):
        raise broken(owner, f"a piece of text holds {type(values).__name__}, not str")
    at = broken_text(values)
    if at >= 0:
        raise _half(values, at, f"position {seen + at}", sequence)
    return values


def _tokens(values: Any, seen: int, sequence: int, owner: str) -> list[str]:
    if not isinstance(values, list | tuple):
        raise broken(owner, f"a piece of tokens holds {type(values).__name__}, not a list of str")
    for index, token in enumerate(values):
        if not isinstance(token, str):
            kind = type(token).__name__
            raise broken(owner, f"the token at position {seen + index} is {kind}, not str")
        if not token.isascii() and (at := broken_text(token)) >= 0:
            raise _half(token, at, f"the token at position {seen + index}", sequence)
    return values if isinstance(values, list) else list(values)


def _half(text: str, at: int, where: str, sequence: int) -> InputError:
    """Return the error of a text that holds half of a surrogate pair."""
    point = f"U+{ord(text[at]):04X}"
    fact = f"the source holds half of a surrogate pair ({point}) at {where}, in sequence {sequence}"
    excerpt = text[max(0, at - AROUND) : at + AROUND]
    cure = "no file can hold it: mend the data, or replace it by U+FFFD"
    return InputError.of("RC042", fact, key="source", got=ascii(excerpt), cure=cure)


def _numbers(
    values: Values, seen: int, sequence: int, owner: str, missing: bool = False
) -> NDArray[np.float64]:
    """Return rows of numbers as float64 `[n, F]`, all finite but for those that are `missing`."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise broken(owner, f"a piece of numbers is no array [n, F]: {error}") from error
    if not array.size:
        return np.zeros((0, 1))
    if array.dtype.kind not in "fiu" or array.ndim != 2:
        raise broken(owner, f"a piece of numbers holds {_described(values)}, not float64 [n, F]")

    numbers = array.astype(np.float64, copy=False)
    wrong = ~(np.abs(numbers) <= LARGEST)  # nan too
    if missing:
        wrong &= ~np.isnan(numbers)
    if wrong.any():
        row, feature = np.argwhere(wrong)[0].tolist()
        where = f"at position {seen + row}, feature {feature}, in sequence {sequence}"
        raise _unusable(float(numbers[row, feature]), where)
    return numbers


def _unusable(value: float, where: str) -> InputError:
    """Return the error of a number that is not finite, or too large."""
    fact = f"the source holds {value:g} {where}"
    cure = "a missing value must be filled in, or its row left out, before it comes here"
    if np.isfinite(value):
        fact += f": above {LARGEST:g} the squares of errors cannot be added up"
        cure = "divide the column by a power of ten"
    return InputError.of("RC042", fact, key="source", cure=cure)


def beyond(value: float, dtype: torch.dtype, where: str) -> InputError:
    """Return the error of a number that a network cannot read once it is scaled."""
    fact = f"{value:g} is beyond all numbers of {dtype} once it is scaled: {where}"
    cure = 'another vocabulary.scale, or device.precision = "float64"'
    return InputError.of("RC042", fact, key="vocabulary.scale", cure=cure)


def _described(values: Any) -> str:
    if isinstance(values, np.ndarray):
        return f"{values.dtype} {list(values.shape)}"
    kind = type(values).__name__
    if not isinstance(values, list | tuple):
        return kind
    array = np.asarray(values)
    return f"a {kind} of {array.dtype} {list(array.shape)}"


CHECKS: Mapping[Element, Callable[[Any, int, int, str], Any]] = {
    "text": _text,
    "tokens": _tokens,
    "numbers": _numbers,
}
"""How the values of a piece are checked, by what they are."""

MAY_LACK: Mapping[Element, Callable[[Any, int, int, str], Any]] = {
    "numbers": partial(_numbers, missing=True)
}
"""How they are where some may be missing."""

UNITS: Mapping[Element, str] = {"text": "characters", "tokens": "tokens", "numbers": "rows"}
"""What the elements of a piece are called."""


def learned(vocabulary: Vocabulary[Any], owner: str) -> dict[str, Any]:
    """Return what a vocabulary saves, which must be plain JSON. Raises `PluginError` (RC071)."""
    saved = vocabulary.save()
    try:
        text = json.dumps(saved, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise broken(owner, f"save gives what JSON cannot hold: {error}") from error
    if not isinstance(saved, dict) or broken_text(text) >= 0:
        raise broken(owner, "save must give a table of plain JSON, in text that UTF-8 can hold")
    return saved


def size(vocabulary: Vocabulary[Any], owner: str) -> int:
    """Return the size of a vocabulary, a whole number from 0. Raises `PluginError` (RC071)."""
    number = vocabulary.size
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or number < 0:
        raise broken(owner, f"size is {number!r}, not a whole number from 0")
    return int(number)


def fit(
    vocabulary: Vocabulary[Any],
    blocks: Iterable[tuple[int, Array]],
    alone: Callable[[], Vocabulary[Any]],
    place: Callable[[int], str],
) -> None:
    """Fit a vocabulary of numbers on blocks of rows, each with where it begins.

    `alone` gives one that is to be fitted on a single row, and `place` says in words where a row
    lies. Raises the `InputError` of the vocabulary, which names the rows that it refuses.
    """
    # Where the block begins that the vocabulary is looking at, and the block.
    last: list[tuple[int, Array]] = [(0, np.zeros((0, 1)))]

    def rows() -> Iterator[Array]:
        for last[0] in blocks:
            yield last[0][1]

    try:
        vocabulary.fit(rows())
    except InputError as error:
        begin, block = last[0]

        def fit_one(row: Array) -> None:
            alone().fit([row])

        raise refused(fit_one, block, lambda at: place(begin + at)) or error from error


def refused(
    call: Callable[[Array], object], values: Array, place: Callable[[int], str]
) -> InputError | None:
    """Return the error of the rows of a block that `call` refuses, with their places.

    It is given each row alone; nothing is returned where it refuses none of them.
    """
    errors: dict[int, InputError] = {}
    for index in range(len(values)):
        try:
            call(values[index : index + 1])
        except InputError as error:
            errors[index] = error
    if not errors:
        return None

    first, *others = errors
    problem = errors[first].problems[0]
    fact = f"{problem.fact}: {place(first)}"
    if others:
        named = "; ".join(place(index) for index in others[:FEW])
        rest = f" and {len(others) - FEW} more near by" if len(others) > FEW else ""
        fact += f"; so it is at {named}{rest}"
    return InputError(replace(problem, fact=fact))
