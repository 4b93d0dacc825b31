"""What answers whole sequences, in a column of its own: classes, or numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.target import Elements
from recurra.data.labels import UNSEEN, Labels
from recurra.data.quantities import Quantities

Answers = Labels | Quantities

ANSWERS: Mapping[Elements, type[Answers]] = {"symbols": Labels, "numbers": Quantities}
"""The vocabulary of answers, by what a target says that they are."""


def answered(
    kind: Elements, column: list[str], train: NDArray[np.int64]
) -> tuple[Answers, NDArray[Any]]:
    """Return the vocabulary of a column of answers, fitted on the rows of training, and all of it.

    That are ids `[n]`, or scaled numbers `[n, F]`. Raises `InputError` (RC041, RC042).
    """
    answers: Any = ANSWERS[kind]()
    values = answers.read(column)
    answers.fit([[values[row] for row in train.tolist()]])
    return answers, answers.encode(values)


def can_be_given(encoded: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which answers, ids `[...]` or numbers `[..., F]`, training knows of."""
    if encoded.dtype == np.int64:
        return np.asarray(encoded != UNSEEN)
    return np.ones(encoded.shape[:-1], bool)
