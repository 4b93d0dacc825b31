"""The covariates that training shows: which are numbers, which names, and which lack some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from recurra.contracts.transform import Floats
from recurra.data.covariates import Column
from recurra.data.store import Ints
from recurra.errors import InputError

MOST = 1 << 10
"""Categories of a column: each is an input, and one that comes once can teach nothing."""


class Known(NamedTuple):
    """A covariate that is known: its name, and its categories, nothing where it is of numbers.

    Whether a number came is read beside it where it is `flagged`.
    """

    name: str
    categories: list[str] | None
    flagged: bool = False

    @property
    def width(self) -> int:
        """How many numbers a network reads of it."""
        return 1 + self.flagged if self.categories is None else len(self.categories) + 1

    def inputs(self) -> list[str]:
        """Return what these are called."""
        if self.categories is None:
            return [self.name, f"{self.name} observed"][: self.width]
        return [f"{self.name}={name}" for name in (*self.categories, "?")]

    def ids(self, names: Sequence[str | None]) -> Ints:
        """Return the ids of names, that of unknown ones and of none behind the categories."""
        assert self.categories is not None, "a column of numbers has no names"
        places: dict[str | None, int]
        places = {name: index for index, name in enumerate(self.categories)}
        return np.array([places.get(name, len(places)) for name in names], np.int64)


def shown(columns: list[Column], blocks: Iterable[tuple[int, Floats]]) -> list[Known]:
    """Return the columns of a role as training shows them, in blocks of its rows.

    Raises `InputError` (RC041) for one of which nothing came, and for too many categories.
    """
    codes: list[set[int]] = [set() for _ in columns]
    lacking, came = np.zeros(len(columns), bool), np.zeros(len(columns), bool)
    for _, rows in blocks:
        nothing = np.isnan(rows)
        lacking |= nothing.any(axis=0)
        came |= ~nothing.all(axis=0)
        for index, column in enumerate(columns):
            if column.names is not None:
                codes[index] |= {*np.unique(rows[~nothing[:, index], index]).astype(int).tolist()}

    known = []
    for index, column in enumerate(columns):
        if column.names is not None:
            categories = sorted(column.names[code] for code in codes[index])
            _check_categories(column, categories)
            known.append(Known(column.name, categories))
            continue
        if lacking[index] and not came[index]:
            fact = f"training holds no number of the covariate {column.name!r}: there is nothing to"
            fact += " learn of it"
            cure = "leave it out, or give some"
            raise InputError.of("RC041", fact, key=f"source.{column.role}", cure=cure)
        known.append(Known(column.name, None, bool(lacking[index])))
    return known


def _check_categories(column: Column, categories: list[str]) -> None:
    """Refuse a column of too many categories. Raises `InputError` (RC041)."""
    if len(categories) > MOST:
        fact = f"the covariate {column.name!r} has {len(categories):,} categories in training, and"
        fact += f" each is an input; the first are {', '.join(categories[:5])}"
        cure = "is it a number? then its first cell must be one; else join what is rare"
        raise InputError.of("RC041", fact, key=f"source.{column.role}", cure=cure)
