"""The classes of a column of labels: a vocabulary of its own, fitted on what training shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.options import Options
from recurra.contracts.vocabulary import Vocabulary
from recurra.errors import InputError

UNSEEN = -1
"""The id of a label that training has not shown."""


class Labels(Vocabulary[Options]):
    """One id for each label, in the order of their names; none for one that training lacks."""

    unit: ClassVar[str] = "class"

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__(Options())
        self._take(names)

    def _take(self, names: Iterable[str]) -> None:
        self.classes = list(names)
        self._ids = {name: index for index, name in enumerate(self.classes)}

    @property
    def size(self) -> int:
        """The number of classes."""
        return len(self.classes)

    def fit(self, runs: Iterable[list[str]]) -> None:
        """Take the labels of training. Raises `InputError` (RC041) where they are all the same."""
        names: set[str] = set()
        for run in runs:
            names.update(run)
        self._take(sorted(names))

        if len(self.classes) < 2:
            only = repr(self.classes[0]) if self.classes else "none"
            fact = f"the training split has one class alone, {only}: there is nothing to tell apart"
            cure = "give it sequences of two classes or more"
            raise InputError.of("RC041", fact, key="target", cure=cure)

    def add(self, runs: Iterable[list[str]]) -> dict[str, int]:
        """Take the labels that are new, behind all others, in the order of their names."""
        counts = Counter(name for run in runs for name in run if name not in self._ids)
        self._take([*self.classes, *sorted(counts)])
        return dict(counts)

    def fits(self, values: list[str], owner: str) -> None:
        """Take labels as they are: one that training has not shown has an id of its own."""

    def meet(self, shown: list[str], owner: str) -> dict[str, int]:
        """Take the labels of training that are new, and return how often each comes."""
        return self.add([shown])

    @staticmethod
    def read(column: list[str]) -> list[str]:
        """Return the labels that a column holds: all of it."""
        return column

    def encode(self, values: list[str]) -> NDArray[Any]:
        """Return ids `[n]`, `UNSEEN` for a label that training has not shown."""
        ids = [self._ids.get(name, UNSEEN) for name in values]
        return np.array(ids, np.int64)

    def decode(self, ids: NDArray[Any]) -> list[str]:
        """Return the labels of ids."""
        indices = np.asarray(ids).tolist()
        return [self.classes[index] for index in indices]

    def plain(self, encoded: NDArray[Any]) -> NDArray[Any]:
        """Return the answers to sequences as a baseline sees them: ids `[n]`."""
        return encoded

    def record(self) -> dict[str, Any]:
        """Return what data.json says of them."""
        return {"labels": self.classes}

    def save(self) -> dict[str, Any]:
        """Return the labels."""
        return {"classes": self.classes}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back the labels."""
        self._take(saved["classes"])

    def symbol(self, index: int) -> str:
        """Return one label."""
        return self.classes[index]
