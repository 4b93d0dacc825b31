"""What is measured of answers that are symbols, or numbers, and the sums of all that is measured of
a split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra.contracts.loss import Loss
from recurra.contracts.metric import LOSS, Figure, Metric, Metrics, Scale
from recurra.contracts.target import Target
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Chain, Own
from recurra.errors import InputError

NAUGHT = 1e-140
"""A number no larger than this counts as 0: an error divided by it may be beyond all numbers."""


class Likelihood(Metric):
    """The chance that was given to what came: nats, perplexity, and bits a symbol."""

    steps, nats = 0, 0.0

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return three forms of one figure."""
        return (
            Figure("nats"),
            Figure("perplexity", least=1.0),
            Figure(f"bits_per_{vocabulary.unit}"),
        )

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add logits `[N, V]` and ids `[N]`."""
        self.steps += len(output)
        self.nats += float(functional.cross_entropy(output.double(), target, reduction="sum"))

    def values(self) -> Metrics:
        """Return means over the symbols."""
        nats = self.nats / self.steps
        bits = {f"bits_per_{self.vocabulary.unit}": nats / math.log(2)}
        return {"nats": nats, "perplexity": math.exp(min(nats, 700))} | bits


class Accuracy(Metric):
    """The share of symbols that were the likeliest."""

    steps = right = 0

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return a share."""
        return (Figure("accuracy", higher=True, most=1.0),)

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add logits `[N, V]` and ids `[N]`."""
        self.steps += len(output)
        self.right += int((output.argmax(dim=-1) == target).sum())

    def values(self) -> Metrics:
        """Return the share."""
        return {"accuracy": self.right / self.steps}


@dataclass
class Errors:
    """Sums of errors of numbers, in the data's own units; of several columns those of each as
    well.
    """

    scale: Scale | None = None
    count: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    relative: float = 0.0
    nonzero: int = 0
    columns: list[Errors] = field(default_factory=list)

    def add(self, predicted: NDArray[Any], actual: NDArray[Any]) -> None:
        """Add predictions and what came, both `[..., F]`."""
        some = np.abs(actual) > NAUGHT
        with np.errstate(over="ignore", invalid="ignore"):
            # Errors of a network that has gone wrong are infinite.
            gap = np.asarray(predicted - actual, np.float64)
            self.absolute += float(np.abs(gap).sum())
            self.squared += float((gap**2).sum())
            self.relative += float(np.abs(gap[some] / actual[some]).sum())
        self.count += gap.size
        self.nonzero += int(some.sum())

        width = gap.shape[-1] if gap.ndim > 1 else 1
        if width > 1:
            scales = [None] * width if self.scale is None else self.scale.reshape(width, 1)
            self.columns = self.columns or [Errors(scale) for scale in scales]
            for index, column in enumerate(self.columns):
                column.add(predicted[..., index : index + 1], actual[..., index : index + 1])

    def metrics(self) -> Metrics:
        """Return mae, rmse, in per cent over the values that are not 0 mape, and mase."""
        if not self.count:
            return {}
        found = {"mae": self.absolute / self.count, "rmse": math.sqrt(self.squared / self.count)}
        if self.nonzero:
            found["mape"] = 100 * self.relative / self.nonzero
        scaled = [ratio for part in self.columns or [self] if (ratio := part._scaled()) is not None]
        if scaled:
            found["mase"] = sum(scaled) / len(scaled)
        return found

    def _scaled(self) -> float | None:
        """Return the mean absolute scaled error (Hyndman & Koehler 2006,
        doi:10.1016/j.ijforecast.2006.03.001).

        Of several columns it is the mean over them: their own units cannot be added up. A column
        that never changed in training has none.
        """
        if self.scale is None or not self.scale[0] > NAUGHT:
            return None
        return self.absolute / self.count / float(self.scale[0])


class Distance(Metric):
    """How far predictions lie from what came, in the data's own units: mae, rmse, mape, mase."""

    FIGURES = (
        Figure("mae", title="mean absolute error"),
        Figure("rmse"),
        Figure("mape"),
        Figure("mase", title="mean absolute scaled error"),
    )

    def __init__(self, vocabulary: Vocabulary[Any], scale: Scale | None = None) -> None:
        super().__init__(vocabulary)
        self.errors = Errors(scale)

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return the figures; mape is there where a number is not 0, mase where training
        changes.
        """
        return Distance.FIGURES

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add scaled predictions and targets, `[N, F]`."""
        predicted, actual = (
            self.vocabulary.decode(t.cpu().double().numpy()) for t in (output, target)
        )
        self.errors.add(predicted, np.where(self._naught(target), 0.0, actual))

    def _naught(self, target: Tensor) -> NDArray[np.bool_]:
        """Return which targets are 0 in the data: scaled and back, 0 is nearly 0, by which no error
        can be divided.
        """
        try:
            zero = self.vocabulary.encode(np.zeros((1, target.shape[-1])))
        except InputError:  # a scale without a 0, as that of logarithms
            return np.zeros(target.shape, bool)
        return (target == torch.as_tensor(zero).to(target)).cpu().numpy()

    def values(self) -> Metrics:
        """Return the figures."""
        return self.errors.metrics()

    def columns(self) -> Sequence[Errors]:
        """Return the errors of each column, where there are several."""
        return self.errors.columns


def known(target: Target[Any], vocabulary: type[Vocabulary[Any]]) -> dict[str, Figure]:
    """Return each figure that is made of a split, by its name, in the order in which they are
    shown.

    `vocabulary` is that of the answers.
    """
    measured = (
        figure
        for metric in target.metrics(vocabulary.yields)
        for figure in metric.figures(vocabulary)
    )
    return {figure.name: figure for figure in (LOSS, *measured)}


class Tally:
    """The sums of all that is measured over what is scored."""

    def __init__(
        self,
        target: Target[Any],
        vocabulary: Vocabulary[Any],
        scale: Scale | None = None,
        chain: Chain | None = None,
    ) -> None:
        self.steps, self.loss = 0, 0.0
        self.chain = chain
        measured = Own(vocabulary) if chain else vocabulary
        self.metrics = [metric(measured, scale) for metric in target.metrics(vocabulary.yields)]

    def add(
        self, output: Tensor, target: Tensor, loss: Loss[Any], undo: Tensor | None = None
    ) -> None:
        """Add scored steps: outputs `[N, V]` and targets; of a batch that was transformed, what
        undoing it takes.
        """
        self.steps += len(output)
        self.loss += float(loss(output, target).double().sum())
        point = loss.point(output)
        if self.chain and undo is not None:
            point, target = self.chain.own(point, undo)
        for metric in self.metrics:
            metric.add(point, target)

    def values(self) -> Metrics:
        """Return the figures, each a mean over the scored steps; none of no steps."""
        if not self.steps:
            return {}
        found = {LOSS.name: self.loss / self.steps}
        for metric in self.metrics:
            found |= metric.values()
        return found

    def columns(self) -> list[Metrics]:
        """Return the figures of each column, where there are several."""
        return [column.metrics() for metric in self.metrics for column in metric.columns()]

    def detail(self) -> dict[str, Any]:
        """Return what is more than a number, by name."""
        return {name: value for metric in self.metrics for name, value in metric.detail().items()}
