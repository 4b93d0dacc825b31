"""What is measured of classes: figures of one confusion matrix, and the chance of what came."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra import Figure, Metric, Metrics, Vocabulary

LARGEST = 100
"""So many classes of a confusion matrix stand by themselves, the most frequent; others are one."""

REST = "all others"
"""The name of those others, which stand last."""


class Pairs:
    """How often each class was predicted where each came: a confusion matrix without its zeros."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: Counter[int] = Counter()  # of came * classes + predicted

    def add(self, came: NDArray[Any], predicted: NDArray[Any]) -> None:
        """Add `[N]` ids of classes that came, and those of what was predicted."""
        pairs = came.astype(np.int64) * self.classes + predicted
        cells, times = np.unique(pairs, return_counts=True)
        self.counts.update(dict(zip(cells.tolist(), times.tolist(), strict=True)))

    def merge(self, other: Pairs) -> None:
        """Add the counts of others."""
        self.counts.update(other.counts)

    def metrics(self) -> Metrics:
        """Return accuracy, balanced_accuracy and macro_f1, of at least one answer.

        The balanced accuracy is the mean recall of the classes that came. F1 of a class is
        2 right / (came + predicted): 0 where it came and was never predicted, or the other way
        round. A class that neither came nor was predicted has none, and is not in the mean.
        """
        row, column, times = self._cells()
        came = self._sums(row, times)
        predicted = self._sums(column, times)
        right = self._sums(row, times * (row == column))

        # A mean is over the classes that have the figure: elsewhere it would divide by 0.
        occurs = came > 0
        recall = right[occurs] / came[occurs]
        total = came + predicted
        met = total > 0
        f1 = 2 * right[met] / total[met]
        return {
            "accuracy": float(right.sum() / came.sum()),
            "balanced_accuracy": float(recall.mean()),
            "macro_f1": float(f1.mean()),
        }

    def matrix(self) -> tuple[list[int], NDArray[np.int64]]:
        """Return the classes that stand by themselves, and counts: rows came, columns predicted.

        These are all classes, or the `LARGEST` that came most often: then one more row and
        column are those of the rest.
        """
        row, column, times = self._cells()
        came = self._sums(row, times)
        by_frequency = np.argsort(-came, kind="stable")
        single = np.sort(by_frequency[:LARGEST])

        # Where each class stands: the rest share the place behind those that stand by themselves.
        place = np.full(self.classes, len(single))
        place[single] = np.arange(len(single))

        width = min(self.classes, LARGEST + 1)
        counts = np.zeros((width, width), np.int64)
        np.add.at(counts, (place[row], place[column]), times)
        return single.tolist(), counts

    def _cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return what came, what was predicted, and how often, where that is not zero."""
        cells = np.fromiter(self.counts.keys(), np.int64, len(self.counts))
        times = np.fromiter(self.counts.values(), np.int64, len(self.counts))
        return cells // self.classes, cells % self.classes, times

    def _sums(self, classes: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how often each class stands there, `[C]`."""
        sums = np.bincount(classes, times, minlength=self.classes)
        return np.asarray(sums, np.float64)


class Confusion(Metric):
    """What was predicted of each class: the mean recall, the mean F1, and the matrix itself."""

    FIGURES = (
        Figure("balanced_accuracy", higher=True, most=1.0),
        Figure("macro_f1", higher=True, most=1.0, title="macro F1"),
    )

    def __init__(
        self,
        vocabulary: Vocabulary[Any],
        scale: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__(vocabulary)
        self.pairs = Pairs(vocabulary.size)

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return two means over the classes: a rare one counts as much as a common one."""
        return Confusion.FIGURES

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add logits `[N, C]` and ids `[N]`."""
        predicted = output.argmax(dim=-1)
        self.pairs.add(target.cpu().numpy(), predicted.cpu().numpy())

    def merge(self, other: Self) -> None:
        """Add the counts of others."""
        self.pairs.merge(other.pairs)

    def values(self) -> Metrics:
        """Return the means; `Pairs.metrics` says what a class counts that never occurs."""
        metrics = self.pairs.metrics()
        return {figure.name: metrics[figure.name] for figure in Confusion.FIGURES}

    def detail(self) -> dict[str, Any]:
        """Return the matrix and the names of its classes: rows came, columns were predicted.

        Of more than 100 classes those that came most often stand by themselves, and behind them
        "all others".
        """
        single, counts = self.pairs.matrix()
        names = [self.vocabulary.symbol(index) for index in single]
        rest = [REST] * (len(counts) - len(single))
        confusion = {"classes": names + rest, "counts": counts.tolist()}
        return {"confusion": confusion}


class LogLoss(Metric):
    """The mean of -log p, p the chance that was given to the class that came."""

    NAME: ClassVar[str] = "log_loss"
    answers = 0
    nats = 0.0

    @classmethod
    def figures(cls, vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return one figure: 0 where every answer was certain and right."""
        return (Figure(cls.NAME),)

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add logits `[N, C]` and ids `[N]`."""
        self.answers += len(output)
        nats = functional.cross_entropy(output.double(), target, reduction="sum")
        self.nats += float(nats)

    def merge(self, other: Self) -> None:
        """Add the sums of others."""
        self.answers += other.answers
        self.nats += other.nats

    def values(self) -> Metrics:
        """Return the mean, in nats."""
        return {self.NAME: self.nats / self.answers}


class Nats(LogLoss):
    """The same of steps, where it is called as that of what comes next is."""

    NAME: ClassVar[str] = "nats"
