"""What the classes of an answer weigh, by how often each comes in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from recurra import InputError

FEW = 20
"""Names that an error lists, at most."""


def balanced(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return n / (C count) for each class, as scikit-learn has it: each weighs as much in all.

    n are the answers, and C the classes that come at all; one that never comes weighs 1. Of counts
    [6, 2, 0] the weights are [2/3, 2, 1], and 6 * 2/3 + 2 * 2 is 8 again: their mean is 1.
    """
    weights = np.ones(len(counts))
    comes = counts > 0
    weights[comes] = counts.sum() / (comes.sum() * counts[comes])
    return weights


def named(
    table: Mapping[str, float], names: Sequence[str], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the weights of a table, scaled to a mean of 1 over the answers.

    A class that is not in the table weighs 1 before they are scaled. Raises `InputError` (RC013)
    for a name in the table that is no class.
    """
    # What can never be the answer has no name.
    classes = [name for name in names if name]
    unknown = sorted(table.keys() - classes)
    if unknown:
        raise _unknown(unknown, classes)

    weights = np.array([table.get(name, 1.0) for name in names])
    total = (weights * counts).sum()
    return weights * (counts.sum() / total) if total else weights


def _unknown(unknown: Sequence[str], names: Sequence[str]) -> InputError:
    """Return the error of names that are no class, with the class that the first may have meant."""
    what = f"{unknown[0]!r} is no class"
    if len(unknown) > 1:
        what = f"{len(unknown)} names are no classes"

    allowed = ", ".join(map(repr, names[:FEW]))
    if len(names) > FEW:
        allowed += f" and {len(names) - FEW} more"
    return InputError.of(
        "RC013",
        f"{what} of the answers",
        key="loss.class_weights",
        got=", ".join(map(repr, unknown[:FEW])),
        allowed=allowed,
        nearest="".join(get_close_matches(unknown[0], names, n=1)),
        cure="write the names as the data has them; a class that is left out weighs 1",
    )
