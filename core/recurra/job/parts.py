"""The sequences of a split, as a program reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import Values, Vocabulary
from recurra.data.splits import Split, SplitName
from recurra.data.store import Ints, Store


class Example(NamedTuple):
    """A sequence of a split, or the stretch of one that lies in it.

    `row` is its place in the data, from 0, and `first` that of its first element in its sequence, 0
    where all of it is there. `values` are its elements as the data has them: a text, tokens, or
    numbers `[T, F]` in their own units; `ids` `[T]` are their ids, and of numbers the numbers
    again. `said` is what the data says of the sequence, as its `label`, as far as the task asks for
    it.
    """

    row: int
    first: int
    values: Values
    ids: NDArray[Any]
    said: Mapping[str, Any]


class Part(Sequence[Example]):
    """The sequences of a split, in the order of the data; each is read when it is asked for.

    `rows` `[n]` are their places in the data: of splits that hold whole sequences they tell where a
    permutation has put each.
    """

    def __init__(
        self, name: SplitName, split: Split, store: Store, vocabulary: Vocabulary[Any]
    ) -> None:
        self.name = name
        self._split, self._store, self._vocabulary = split, store, vocabulary
        self.rows: Ints = store.sequence(split.begin)

    def __repr__(self) -> str:
        return f"<Part {self.name}: {len(self)} sequences, {self._split.elements:,} elements>"

    def __len__(self) -> int:
        return len(self._split)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]

        low, high = int(self._split.low[index]), int(self._split.high[index])
        row = int(self.rows[index])
        ids = np.array(self._store.values[low:high])
        columns = self._store.columns
        said: dict[str, Any] = {role: column[row] for role, column in columns.items()}
        first = low - int(self._split.begin[index])
        return Example(row, first, self._values(ids), ids, said)

    def _values(self, ids: NDArray[Any]) -> Values:
        """Return elements as the data has them."""
        # Numbers are scaled when a batch is made: the store holds them as they came.
        is_numbers = ids.ndim > 1
        return ids.copy() if is_numbers else self._vocabulary.decode(ids)

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def arrays(self) -> list[NDArray[Any]]:
        """Return the ids `[T]` of each sequence, or its numbers `[T, F]`."""
        return [example.ids for example in self]
