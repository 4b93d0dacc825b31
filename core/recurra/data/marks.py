"""Two ids after those of a vocabulary: where an answer begins, and where it ends.

No vocabulary sees them: a text that looks like one is only text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.options import Options
from recurra.contracts.vocabulary import Values, Vocabulary
from recurra.data.store import Array, Ints, Store

BLOCK = 1 << 22
"""Elements of a corpus that are looked through at a time."""


class Marks(NamedTuple):
    """The ids of the two marks."""

    begin: int
    end: int

    @classmethod
    def after(cls, size: int) -> Marks:
        """Return those that follow the ids of a vocabulary of a size."""
        return cls(size, size + 1)

    def around(self, ids: Array) -> Array:
        """Return an answer between its marks."""
        return np.concatenate([[self.begin], ids, [self.end]]).astype(np.int64)

    def first_asked(self, store: Store) -> Ints:
        """Return where the answer of each sequence begins: right after its mark."""
        places = []
        for start in range(0, len(store), BLOCK):
            block = store.spans(np.array([start]), min(BLOCK, len(store) - start))[0]
            places.append(start + np.flatnonzero(block == self.begin))
        first: Ints = np.concatenate(places) + 1
        return first


MARKS = len(Marks._fields)
"""How many ids the marks take."""


class Marked(Vocabulary[Options]):
    """What answers are made of: the symbols of a vocabulary, and the two marks after them."""

    unit: ClassVar[str] = "symbol"

    def __init__(self, vocabulary: Vocabulary[Any]) -> None:
        super().__init__(Options())
        self.vocabulary = vocabulary
        self.marks = Marks.after(vocabulary.size)

    @property
    def size(self) -> int:
        """The number of symbols, marks included."""
        return self.vocabulary.size + MARKS

    def fit(self, runs: Iterable[Values]) -> None:
        """Let the vocabulary learn."""
        self.vocabulary.fit(runs)
        self.marks = Marks.after(self.vocabulary.size)

    def encode(self, values: Values) -> NDArray[Any]:
        """Return the ids of elements, none of which is a mark."""
        return self.vocabulary.encode(values)

    def plain(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Return ids without the marks among them."""
        symbols: NDArray[Any] = ids[ids < self.marks.begin]
        return symbols

    def decode(self, ids: NDArray[Any]) -> Values:
        """Return the elements of ids; a mark has none."""
        return self.vocabulary.decode(self.plain(np.asarray(ids)))

    def text(self, ids: NDArray[Any]) -> str:
        """Return ids as a person reads them, without the marks."""
        return self.vocabulary.text(self.plain(np.asarray(ids)))

    def save(self) -> dict[str, Any]:
        """Return what the vocabulary has learned."""
        return self.vocabulary.save()

    def restore(self, saved: dict[str, Any]) -> None:
        """Give it back to the vocabulary."""
        self.vocabulary.restore(saved)
        self.marks = Marks.after(self.vocabulary.size)

    def asked(self, names: list[str]) -> list[str]:
        """Return the names of all, without that of the mark which no answer has."""
        return ["" if index == self.marks.begin else name for index, name in enumerate(names)]

    def symbol(self, index: int) -> str:
        """Return the name of a symbol, or of a mark, which no symbol has."""
        if index < self.marks.begin:
            return self.vocabulary.symbol(index)
        name = "<answer begins>" if index == self.marks.begin else "<answer ends>"
        symbols = {self.vocabulary.symbol(own) for own in range(self.marks.begin)}
        while name in symbols:
            name = f"<{name}>"
        return name
