"""What is measured of answers that follow: those given freely, and the cost of right ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra import Figure, Metric, Metrics, Vocabulary

Ids = NDArray[np.int64]
Table = NDArray[np.int32]
FILL = -1
"""What stands behind a sequence that is filled up: no symbol."""


class Answers:
    """Sums over answers: how many are right, and how many edits the others are away.

    An answer is its symbols, and whether it came to an end: one that did not is wrong. Edits, which
    are dear, are counted where they are `wanted`.
    """

    def __init__(self, wanted: bool = True) -> None:
        self.wanted = wanted
        self.answers = self.right = 0
        self.edits = self.symbols = 0

    def add(self, given: Ids, ended: bool, came: Ids) -> None:
        """Add one answer `[n]` and the right one `[m]`."""
        same = np.array_equal(given, came)
        self.answers += 1
        self.right += ended and same
        self.symbols += len(came)
        if self.wanted and not same:
            self.edits += int(edits(given, [came])[0])

    def merge(self, other: Answers) -> None:
        """Add the sums of others."""
        self.answers += other.answers
        self.right += other.right
        self.edits += other.edits
        self.symbols += other.symbols

    def metrics(self) -> Metrics:
        """Return the share of right answers, and the edits for each symbol of the right ones."""
        return {
            "exact_match": self.right / self.answers,
            "edit_distance": self.edits / max(self.symbols, 1),
        }


class Given(Metric):
    """Answers that the network gives by itself: greedily, up to the mark that ends them."""

    free: ClassVar[bool] = True
    FIGURE: ClassVar[Figure]
    COUNTS_EDITS: ClassVar[bool] = False

    def __init__(
        self,
        vocabulary: Vocabulary[Any],
        scale: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__(vocabulary)
        self.end = vocabulary.size - 1
        self.sums = Answers(self.COUNTS_EDITS)

    @classmethod
    def figures(cls, vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return one figure."""
        return (cls.FIGURE,)

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add an answer `[n]` and the right one `[m]`, both with the mark of their end."""
        given, came = output.cpu().numpy(), target.cpu().numpy()
        ended = len(given) > 0 and given[-1] == self.end
        self.sums.add(given[: len(given) - ended], bool(ended), came[:-1])

    def merge(self, other: Self) -> None:
        """Add the sums of others."""
        self.sums.merge(other.sums)

    def values(self) -> Metrics:
        """Return the figure."""
        name = self.FIGURE.name
        return {name: self.sums.metrics()[name]}


class ExactMatch(Given):
    """The share of answers that are right from the first symbol to the end."""

    FIGURE = Figure("exact_match", higher=True, most=1.0, title="exact match")


class EditDistance(Given):
    """How many symbols must be put in, taken out or changed, for each one of the right answers.

    It is the sum of all such edits over that of all symbols, as the rate of errors of characters is
    (Levenshtein 1966); where every right answer is empty, the sum itself.
    """

    FIGURE = Figure("edit_distance", title="edits a symbol")
    COUNTS_EDITS = True


class AnswerNats(Metric):
    """The mean of -log p of each symbol of the right answers, their end included.

    Each is told what came before it.
    """

    symbols = 0
    nats = 0.0

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return one figure."""
        return (Figure("nats"),)

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add logits `[N, V]` and ids `[N]`."""
        self.symbols += len(output)
        self.nats += float(functional.cross_entropy(output.double(), target, reduction="sum"))

    def merge(self, other: Self) -> None:
        """Add the sums of others."""
        self.symbols += other.symbols
        self.nats += other.nats

    def values(self) -> Metrics:
        """Return the mean."""
        return {"nats": self.nats / self.symbols}


def filled(sequences: Sequence[Ids]) -> Table:
    """Return sequences side by side, a column each, `[T, n]`, filled up to the longest."""
    longest = max(map(len, sequences), default=0)
    columns = np.full((longest, len(sequences)), FILL, np.int32)
    for column, sequence in enumerate(sequences):
        columns[: len(sequence), column] = sequence
    return columns


def edits(asked: Ids, others: Sequence[Ids]) -> Ids:
    """Return the Levenshtein distance of a sequence to each of some others."""
    lengths = np.array([len(other) for other in others], np.int64)
    return edits_to(asked, filled(others), lengths)


def edits_to(asked: Ids, others: Table, lengths: Ids) -> Ids:
    """Return the distance of a sequence to each of some others `[T, n]` of so many symbols.

    The table of Wagner & Fischer 1974, doi:10.1145/321796.321811, is made row by row for all of
    them at once: costs[j] is that of the symbols of `asked` so far to the first j of another.
    """
    longest, count = others.shape
    place = np.arange(longest + 1, dtype=np.int32)[:, None]
    costs = np.broadcast_to(place, (longest + 1, count))
    for symbol in asked.astype(np.int32):
        # One taken out, or the last of both compared;
        best = costs + np.int32(1)
        changed = costs[:-1] + (others != symbol)
        np.minimum(best[1:], changed, out=best[1:])
        # or some put in: best[j] = min over i <= j of best[i] + (j - i).
        best -= place
        costs = np.minimum.accumulate(best, axis=0, out=best)
        costs += place
    return costs[lengths, np.arange(count)].astype(np.int64)
