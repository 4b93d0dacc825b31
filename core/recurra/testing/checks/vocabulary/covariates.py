"""A check of what a vocabulary of numbers reads beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import Vocabulary
from recurra.errors import InputError
from recurra.testing import hard_data
from recurra.testing.answers import demand, through_json
from recurra.testing.check import Broken, Measured, check
from recurra.testing.checks.vocabulary.encoding import same
from recurra.testing.measure import FLOAT64
from recurra.testing.subjects.vocabulary import VocabularySubject

ROUNDED = 1e-5
"""By how much rounding alone moves what is scaled, of numbers far from 0."""


@check("V17", "covariates are scaled by themselves", "vocabulary", firm=True, since="1.1")
def of_covariates(subject: VocabularySubject) -> Measured:
    """`of_covariates` gives a new vocabulary of numbers, not fitted, that scales each column by
    itself: any finite numbers, row by row, and nothing of it reaches the one that gave it.

    A covariate may be below 0, or always the same, where the series is neither: what takes
    logarithms of the series takes none of these. How a row is scaled hangs on no other row, and how
    a column is on no other column, so that a run reads a new file, a step at a time or at once, as
    it read training; it is saved and restored. Where it `takes_missing`, what is no number enters
    no scale, and is none once it is scaled. To mend it: return an instance of options that only
    scale, and never `self`.
    """
    subject.yielding("numbers")
    vocabulary, whole = subject.fitted()
    before = subject.encoded(vocabulary, whole).copy()
    fresh, other = (_new(vocabulary) for _ in range(2))
    fact = "of_covariates gives the same object again: two tables would share a scale"
    demand(fresh is not other and fresh is not vocabulary, fact)

    # Numbers of all signs and sizes, one column of them constant, also where a series may not.
    runs = hard_data.runs("numbers")
    table = hard_data.joined(runs, "numbers")
    try:
        fresh.fit(iter([run.copy() for run in runs]))
        rows = _encoded(fresh, table)
    except InputError as error:
        raise Broken(f"covariates may be any finite numbers: {error!s:.100}") from error
    fact = f"{list(table.shape)} numbers are encoded to {list(rows.shape)}"
    demand(rows.shape == table.shape and subject.size(fresh) == table.shape[1], fact)
    demand(bool(np.isfinite(rows).all()), "finite numbers are scaled to what is not finite")

    scale = np.maximum(np.abs(rows).max(axis=0), 1e-300)
    alone = np.concatenate([_encoded(fresh, table[at : at + 1]) for at in range(len(table))])
    by_row = np.abs(alone - rows) / scale
    columns = []
    for column in range(table.shape[1]):
        single = _new(vocabulary)
        single.fit(iter([run[:, [column]].copy() for run in runs]))
        columns.append(_encoded(single, table[:, [column]]))
    by_column = np.abs(np.concatenate(columns, axis=1) - rows) / scale

    again = _new(vocabulary)
    again.restore(through_json(fresh.save()))
    demand(same(_encoded(again, table), rows), "what was saved scales otherwise once restored")
    after = subject.encoded(vocabulary, whole)
    demand(same(after, before), "fitting the vocabulary of covariates changes the one it is of")
    if vocabulary.takes_missing:
        _leaves_out(vocabulary, runs)
    if by_row.max() > by_column.max():
        return Measured(float(by_row.max()), FLOAT64, "each row alone")
    return Measured(float(by_column.max()), FLOAT64, "each column alone")


def _leaves_out(vocabulary: Vocabulary[Any], runs: list[NDArray[Any]]) -> None:
    """Raise `Broken` unless what is missing is left out of the scale of a column, and is left."""
    holed = [run.astype(np.float64) for run in runs]
    count = 0
    for run in holed:
        places = count + np.arange(len(run))[:, None] + np.arange(run.shape[1])
        run[places % 3 == 0] = np.nan
        count += len(run)
    table = np.concatenate(holed)
    fresh = _new(vocabulary)
    fresh.fit(iter([run.copy() for run in holed]))
    rows = _encoded(fresh, table)
    for column in range(table.shape[1]):
        came = ~np.isnan(table[:, column])
        fact = f"of column {column} what is missing is encoded to a number, or what came to none"
        demand(bool((np.isfinite(rows[:, column]) == came).all()), fact)
        single = _new(vocabulary)
        own = table[came][:, [column]]
        single.fit(iter([own.copy()]))
        expected = _encoded(single, own)[:, 0]
        alike = np.allclose(rows[came, column], expected, rtol=ROUNDED, atol=ROUNDED)
        demand(alike, f"what is missing of column {column} enters its scale")


def _new(vocabulary: Vocabulary[Any]) -> Vocabulary[Any]:
    """Return a vocabulary of covariates. Raises `Broken` if that is none of numbers."""
    fresh = vocabulary.of_covariates()
    fact = f"of_covariates gives {type(fresh).__name__}, no vocabulary of numbers"
    kinds = getattr(fresh, "reads", None), getattr(fresh, "yields", None)
    demand(isinstance(fresh, Vocabulary) and kinds == ("numbers", "numbers"), fact)
    return fresh


def _encoded(vocabulary: Vocabulary[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Return what is encoded of a copy of rows. Raises `Broken` if that is no array."""
    given = vocabulary.encode(rows.copy())
    fact = f"encode gives {type(given).__name__}, not an array [n, F]"
    demand(isinstance(given, np.ndarray) and given.ndim == 2, fact)
    return given
