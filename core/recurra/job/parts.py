"""The sequences of a split, as a program reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import Values, Vocabulary
from recurra.data.marks import Marked
from recurra.data.quantities import Quantities
from recurra.data.splits import Split, SplitName
from recurra.data.store import Ints, Store


class Example(NamedTuple):
    """A sequence of a split, or the stretch of one that lies in it.

    `row` is its place in the data, from 0, among the sequences that are not left out as empty; and
    `first` that of its first element in its sequence, 0 where all of it is there. `values` are its
    elements as the data has them: a text, tokens, or numbers `[T, F]` in their own units; `ids`
    `[T]` are their ids, and of numbers the numbers again. `said` is what the data says of the
    sequence, as far as the task asks for it: its `label`, a name, a number or a list of several,
    its `answer` as the data has it, or as `tags` one name for each id.
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
        self,
        name: SplitName,
        split: Split,
        store: Store,
        vocabulary: Vocabulary[Any],
        answers: Vocabulary[Any],
    ) -> None:
        self.name = name
        self._split, self._store = split, store
        self._vocabulary, self._answers = vocabulary, answers
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

        begin, high = int(self._split.begin[index]), int(self._split.high[index])
        marks = self._answers.marks if isinstance(self._answers, Marked) else None
        low = begin if marks else int(self._split.low[index])
        row = int(self.rows[index])
        ids = np.array(self._store.values[low:high])
        said = self._said(row, low, high)
        if marks:
            # An answer stands behind its sequence, between two marks.
            place = int(np.argmax(ids == marks.begin))
            said["answer"] = self._values(ids[place + 1 : -1])
            ids = ids[:place]
        return Example(row, low - begin, self._values(ids), ids, said)

    def _said(self, row: int, low: int, high: int) -> dict[str, Any]:
        """Return what is said of a sequence, and of each element between two positions."""
        said: dict[str, Any] = {
            role: self._answer(column[row]) if role == "label" else column[row]
            for role, column in self._store.columns.items()
        }
        tags = self._store.tags
        if tags is not None:
            said["tags"] = [tags.names[code] for code in tags.codes.values[low:high].tolist()]
        return said

    def _answer(self, label: str) -> Any:
        """Return a label: a class by its name, or what a text says of one number or several."""
        if not isinstance(self._answers, Quantities):
            return label
        (numbers,) = self._answers.read([label])
        return numbers.tolist() if len(numbers) > 1 else float(numbers[0])

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
