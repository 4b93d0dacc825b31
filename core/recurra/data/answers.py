"""What stands in a column of its own: classes or numbers of sequences, classes of elements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.target import Elements
from recurra.data.labels import UNSEEN, Labels
from recurra.data.quantities import Quantities
from recurra.data.splits import Split
from recurra.data.store import Array, Tags

Answers = Labels | Quantities

COUNTED = 1 << 20
"""Tags that are counted at a time."""

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


def tagged(tags: Tags, train: Split) -> tuple[Labels, NDArray[np.int64]]:
    """Return the classes of tags that training shows, and of each tag its id, `UNSEEN` for others.

    Raises `InputError` (RC041).
    """
    seen = np.flatnonzero(counted(tags, train)).tolist()
    labels = Labels()
    labels.fit([[tags.names[code] for code in seen]])
    return labels, labels.encode(tags.names)


def counted(tags: Tags, part: Split) -> NDArray[np.int64]:
    """Return how often each tag comes in a split, `[K]`."""
    counts = np.zeros(len(tags.names), np.int64)
    codes = tags.codes.values
    waiting: list[Array] = []
    size = 0

    def add() -> None:
        if waiting:
            counts[:] += np.bincount(np.concatenate(waiting), minlength=len(counts))
            waiting.clear()

    # Short spans are counted together, and long ones in parts.
    for low, high in zip(part.low.tolist(), part.high.tolist(), strict=True):
        for start in range(low, high, COUNTED):
            block = codes[start : min(start + COUNTED, high)]
            waiting.append(block)
            size += len(block)
            if size >= COUNTED:
                add()
                size = 0
    add()
    return counts


def can_be_given(encoded: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which answers, ids `[...]` or numbers `[..., F]`, training knows of."""
    if encoded.dtype == np.int64:
        return np.asarray(encoded != UNSEEN)
    return np.ones(encoded.shape[:-1], bool)
