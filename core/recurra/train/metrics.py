"""What is measured of a split: figures that know what is good, and metrics that sum them up over scored steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra.contracts.loss import Loss
from recurra.contracts.vocabulary import Vocabulary
from recurra.errors import InputError

Metrics: TypeAlias = dict[str, float]
"""Figures by their names."""

Scale: TypeAlias = NDArray[np.float64]
"""By what the error of each column is measured, `[F]`: that of the simplest rule in training."""

NAUGHT = 1e-140
"""A number no larger than this counts as 0: an error divided by it may be beyond all numbers."""


@dataclass(frozen=True)
class Figure:
    """One number that is said of a split: its name, whether more of it is better, and between what it can lie."""

    name: str
    higher: bool = False
    least: float = 0.0
    most: float = math.inf

    def cost(self, value: float) -> float:
        """Return what is to become small."""
        return -value if self.higher else value


LOSS = Figure("loss", least=-math.inf)
"""What training makes small, whatever the loss is: the likelihood of a density may be above 1."""


class Metric(ABC):
    """Figures that are made of the same sums over scored steps, in double precision."""

    def __init__(self, vocabulary: Vocabulary[Any], scale: Scale | None = None) -> None:
        self.vocabulary = vocabulary

    @staticmethod
    @abstractmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return the figures that it gives for what a vocabulary yields."""

    @abstractmethod
    def add(self, output: Tensor, target: Tensor) -> None:
        """Add scored steps: what the loss takes for the predictions, `[N, V]` or `[N, F]`, and the targets."""

    @abstractmethod
    def values(self) -> Metrics:
        """Return the figures, of at least one step; one that cannot be made of these steps is left out."""

    def columns(self) -> list[Errors]:
        """Return the errors of each column, where there are several."""
        return []


class Likelihood(Metric):
    """The chance that was given to what came: nats, perplexity, and bits a symbol."""

    steps, nats = 0, 0.0

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return three forms of one figure."""
        return Figure("nats"), Figure("perplexity", least=1.0), Figure(f"bits_per_{vocabulary.unit}")

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
    """Sums of errors of numbers, in the data's own units; of several columns those of each as well."""

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
        with np.errstate(over="ignore", invalid="ignore"):  # errors of a network that has gone wrong are infinite
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
        """Return the mean absolute scaled error (Hyndman & Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001).

        Of several columns it is the mean over them: their own units cannot be added up. A column that never changed in
        training has none.
        """
        if self.scale is None or not self.scale[0] > NAUGHT:
            return None
        return self.absolute / self.count / float(self.scale[0])


class Distance(Metric):
    """How far predictions lie from what came, in the data's own units: mae, rmse, mape, mase."""

    FIGURES = Figure("mae"), Figure("rmse"), Figure("mape"), Figure("mase")

    def __init__(self, vocabulary: Vocabulary[Any], scale: Scale | None = None) -> None:
        super().__init__(vocabulary)
        self.errors = Errors(scale)

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return the figures; mape is there where a number is not 0, mase where training changes."""
        return Distance.FIGURES

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add scaled predictions and targets, `[N, F]`."""
        predicted, actual = (self.vocabulary.decode(t.cpu().double().numpy()) for t in (output, target))
        self.errors.add(predicted, np.where(self._naught(target), 0.0, actual))

    def _naught(self, target: Tensor) -> NDArray[np.bool_]:
        """Return which targets are 0 in the data: scaled and back, 0 is nearly 0, by which no error can be divided."""
        try:
            zero = self.vocabulary.encode(np.zeros((1, target.shape[-1])))
        except InputError:  # a scale without a 0, as that of logarithms
            return np.zeros(target.shape, bool)
        return (target == torch.as_tensor(zero).to(target)).cpu().numpy()

    def values(self) -> Metrics:
        """Return the figures."""
        return self.errors.metrics()

    def columns(self) -> list[Errors]:
        """Return the errors of each column, where there are several."""
        return self.errors.columns


METRICS: dict[str, tuple[type[Metric], ...]] = {"symbols": (Likelihood, Accuracy), "numbers": (Distance,)}
"""What is measured of what a vocabulary yields."""


def known(vocabulary: type[Vocabulary[Any]]) -> dict[str, Figure]:
    """Return each figure that is made of a split, by its name, in the order in which they are shown."""
    measured = (figure for metric in METRICS[vocabulary.yields] for figure in metric.figures(vocabulary))
    return {figure.name: figure for figure in (LOSS, *measured)}


class Tally:
    """The sums of all that is measured over scored steps."""

    def __init__(self, vocabulary: Vocabulary[Any], scale: Scale | None = None) -> None:
        self.steps, self.loss = 0, 0.0
        self.metrics = [metric(vocabulary, scale) for metric in METRICS[vocabulary.yields]]

    def add(self, output: Tensor, target: Tensor, loss: Loss[Any]) -> None:
        """Add scored steps: outputs `[N, V]` and targets."""
        self.steps += len(output)
        self.loss += float(loss(output, target).double().sum())
        point = loss.point(output)
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
