"""What is known beforehand of the sequences that targets are asked about: covariates made by hand.

A target that looks several steps ahead is asked beside them, for what it answers reads them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.source import FUTURE
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.companions import Companions
from recurra.data.covariate_columns import Known
from recurra.data.covariate_vocabulary import CovariateVocabulary, Table
from recurra.data.covariates import Column
from recurra.data.store import Covariates, Store

CATEGORIES = ["dry", "wet"]
"""The names of a covariate, beside which there is one of numbers."""


def drawn_beside(count: int) -> NDArray[np.float64]:
    """Return the covariates of so many steps, `[count, 2]`: a number, and which of the names."""
    draw = np.random.Generator(np.random.Philox(7))
    numbers, names = draw.normal(3, 2, count), draw.integers(0, len(CATEGORIES), count)
    return np.stack([numbers, names.astype(np.float64)], axis=1)


def known_beside(
    store: Store, rows: NDArray[np.float64], numbers: Vocabulary[Any], ahead: int
) -> Companions:
    """Return what is read beside the steps of a store, and of those `ahead` of each.

    `rows` `[N, 2]` are as `drawn_beside` gives them, and `numbers` scales the first.
    """
    known = [Known("known", None), Known("named", CATEGORIES)]
    vocabulary = CovariateVocabulary({FUTURE: Table(known, numbers)}, ahead)
    columns = [Column(FUTURE, "known", None), Column(FUTURE, "named", CATEGORIES)]
    steps, static = Store(rows, store.starts, ""), np.zeros((len(store.starts), 0))
    return Companions(vocabulary, Covariates(columns, steps, static, {}), store)
