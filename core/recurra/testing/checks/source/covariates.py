"""Checks of what a source gives to be read beside numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recurra.contracts.source import COVARIATES, FUTURE, STATIC, Piece, Role
from recurra.contracts.vocabulary import Element
from recurra.errors import InputError
from recurra.testing.answers import demand
from recurra.testing.check import Broken, NotApplicable, check
from recurra.testing.readings import equal
from recurra.testing.subjects.source import SourceSubject


@check("S14", "covariates stand beside their steps", "source", firm=True, since="1.1")
def covariates(subject: SourceSubject) -> None:
    """Where `columns` names `past_covariates` or `future_covariates`, each piece has a table of
    them that is as long as it has elements; `static_covariates` stand in the piece that starts a
    sequence, and in no other.

    Those of the future may go on behind the last element of a sequence, in its last piece. Tables
    have the same names, in the same order, in every piece, and a column is of one kind: an array of
    finite float64, or a list of names that are not blank; a static one is a number or a name. Where
    it `keeps_missing`, nan is a number that is missing, None a name, and nan any static one.
    `categories` are the columns that are names to whoever reads: those that it gives as such leave
    all as it is, and another one of them comes as names, or is refused. A row too few puts each
    covariate beside the step after its own, which a network reads as the future. Whoever names none
    gives none. To mend it: cut tables where values are cut, and refuse what is missing by
    `InputError` (RC042) with the row.
    """
    source = subject.source()
    keeps = source.keeps_missing
    named: list[Role] = [role for role in COVARIATES if role in subject.columns(source)]
    for element, pieces in subject.given():
        kinds: dict[tuple[Role, str], bool | None] = {}
        for index, piece in enumerate(pieces):
            last = index + 1 == len(pieces) or pieces[index + 1].start
            for role in COVARIATES:
                where = f"{element}, piece {index}: {role}"
                table = piece.columns.get(role)
                if role not in named or (role == STATIC and not piece.start):
                    expected = "in the midst of a sequence" if role in named else "not named"
                    demand(table is None, f"{where} are given, and are {expected}")
                    continue
                columns = _columns(table, role, piece, where, last, keeps)
                _is_alike(columns, role, kinds, where)
        if named:
            _knows_categories(subject, element, pieces, kinds)
    if not named:
        raise NotApplicable("it gives no covariates")


def _columns(
    table: Any, role: Role, piece: Piece, where: str, last: bool, keeps: bool
) -> Mapping[str, Any]:
    """Return a table. Raises `Broken` unless it has columns that are as long as a piece."""
    if not isinstance(table, Mapping) or not table:
        raise Broken(f"{where} are {type(table).__name__}, not a table of columns")
    lengths = set()
    for name, values in table.items():
        demand(isinstance(name, str), f"{where} has the name {name!r:.40}")
        listed = [values] if role == STATIC else values
        if role == STATIC and not isinstance(values, str):
            number = isinstance(values, float | int) and not isinstance(values, bool)
            demand(number, f"{where}: {name} is {type(values).__name__}, no number and no name")
            listed = np.array([values], np.float64)
        fault = _fault(listed, keeps)
        demand(not fault, f"{where}: {name} {fault}")
        lengths.add(len(listed))

    count = 1 if role == STATIC else len(piece.values)
    fact = f"{where} are {sorted(lengths)} long for {count} elements"
    demand(len(lengths) == 1, fact)
    (length,) = lengths
    goes_on = role == FUTURE and last and length > count
    demand(length == count or goes_on, fact)
    return table


def _fault(values: Any, keeps: bool) -> str:
    """Return what is wrong with a column, of which the source `keeps` what is missing."""
    if isinstance(values, list):
        named = [name for name in values if not keeps or name is not None]
        wrong = [name for name in named if not isinstance(name, str) or not name.strip()]
        return f"holds {wrong[0]!r:.40}, which is no name" if wrong else ""
    if not isinstance(values, np.ndarray):
        return f"is {type(values).__name__}, not float64 [n] or a list of names"
    if values.dtype != np.float64 or values.ndim != 1:
        return f"is {values.dtype} {list(values.shape)}, not float64 [n]"
    sound = np.isfinite(values) | (keeps & np.isnan(values))
    return "" if sound.all() else "holds a number that is not finite"


def _is_alike(
    table: Mapping[str, Any], role: Role, kinds: dict[tuple[Role, str], bool | None], where: str
) -> None:
    """Raise `Broken` unless a table has the columns of those before it, and of the same kinds."""
    before = [name for of, name in kinds if of == role]
    fact = f"{where} are {[*table]}, and before they were {before}"
    demand(not before or [*table] == before, fact)
    for name, values in table.items():
        is_names = None if _is_nothing(values) else isinstance(values, list | str)
        known = kinds.setdefault((role, name), is_names)
        alike = None in (known, is_names) or known == is_names
        demand(alike, f"{where}: {name} holds names and numbers")
        if known is None:
            kinds[role, name] = is_names


def _is_nothing(values: Any) -> bool:
    """Tell whether all of a column is missing: it is of neither kind."""
    if isinstance(values, list | str):
        return False
    return bool(np.isnan(values).all())


def _knows_categories(
    subject: SourceSubject,
    element: Element,
    pieces: list[Piece],
    kinds: Mapping[tuple[Role, str], bool | None],
) -> None:
    """Raise `Broken` unless it is as whoever reads says which columns are names."""
    names = {name for (_, name), is_names in kinds.items() if is_names}
    source = subject.source()
    source.categories = frozenset(names)
    equal(subject.pieces(source, element), pieces, f"{element}, where its categories are known")

    source = subject.source()
    source.categories = frozenset(name for _, name in kinds)
    try:
        told = subject.pieces(source, element)
    except InputError:
        return
    for index, piece in enumerate(told):
        for role, table in piece.columns.items():
            if role in COVARIATES:
                for name, values in table.items():
                    fact = f"{role} {name} is one of the categories, and comes as numbers"
                    is_names = isinstance(values, list | str) or _is_nothing(values)
                    demand(is_names, f"{element}, piece {index}: {fact}")
