"""Elements and ids: which of the ids that a vocabulary gives come from which element."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from recurra.contracts.vocabulary import UnknownSymbol, Values, Vocabulary
from recurra.data.store import Array, Ints
from recurra.errors import InputError


def spread(
    vocabulary: Vocabulary[Any], values: Values, ids: Array, tags: Sequence[str], owner: str
) -> list[str]:
    """Return the tag of each of the `ids` that a vocabulary gives for tagged elements.

    An element that gives several ids gives each its tag; one that is left out takes its own away.
    Raises `InputError` (RC031) where that cannot be told.
    """
    counts = ids_of_each(vocabulary, values, ids)
    if counts is None:
        fact = (
            f"{owner} makes ids of several elements together, and each element has a tag of its own"
        )
        cure = "take a vocabulary that gives each element ids of its own, such as character"
        raise InputError.of("RC031", fact, key="vocabulary.kind", cure=cure)
    if (counts == 1).all():
        return list(tags)
    return [tag for tag, count in zip(tags, counts.tolist(), strict=True) for _ in range(count)]


def ids_of_each(vocabulary: Vocabulary[Any], values: Values, ids: Array) -> Ints | None:
    """Return how many of the `ids` of a run each of its elements gives, `[n]`.

    Nothing where the ids of a run are not those of its elements, one after the other: what an
    element gives then hangs on those around it.
    """
    alone: dict[Any, list[int]] = {}
    for element in set(values):
        one = element if isinstance(values, str) else [element]
        try:
            encoded = vocabulary.encode(one)
        except UnknownSymbol:
            return None
        alone[element] = np.asarray(encoded).tolist()

    parts = [alone[element] for element in values]
    joined = list(chain.from_iterable(parts))
    if joined != ids.tolist():
        return None
    return np.array([len(part) for part in parts], np.int64)
