"""Figures of a split: every element scored once, whatever the batch size or the window."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra.contracts.loss import Loss
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.batches import Reader
from recurra.data.segments import Spans, grouped, openings, segments
from recurra.data.splits import Split
from recurra.errors import InputError
from recurra.model.network import Network

Metrics = dict[str, float]

NAUGHT = 1e-140
"""A number no larger than this counts as 0: an error divided by it may be beyond all numbers."""

BLOCK = 1 << 21
"""Numbers that the network gives at a time in evaluation."""


@dataclass
class Errors:
    """Sums of errors of numbers, in the data's own units."""

    count: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    relative: float = 0.0
    nonzero: int = 0

    def add(self, predicted: NDArray[Any], actual: NDArray[Any]) -> None:
        """Add predictions and what came, of the same shape."""
        some = np.abs(actual) > NAUGHT
        with np.errstate(over="ignore", invalid="ignore"):  # errors of a network that has gone wrong are infinite
            gap = np.asarray(predicted - actual, np.float64)
            self.absolute += float(np.abs(gap).sum())
            self.squared += float((gap**2).sum())
            self.relative += float(np.abs(gap[some] / actual[some]).sum())
        self.count += gap.size
        self.nonzero += int(some.sum())

    def metrics(self) -> Metrics:
        """Return mae, rmse and, in per cent over the values that are not 0, mape."""
        if not self.count:
            return {}
        found = {"mae": self.absolute / self.count, "rmse": math.sqrt(self.squared / self.count)}
        if self.nonzero:
            found["mape"] = 100 * self.relative / self.nonzero
        return found


@dataclass
class Tally:
    """Sums over scored steps, in double precision."""

    vocabulary: Vocabulary[Any]
    steps: int = 0
    loss: float = 0.0
    nats: float = 0.0
    right: int = 0
    errors: Errors = field(default_factory=Errors)

    def add(self, output: Tensor, target: Tensor, loss: Loss[Any]) -> None:
        """Add scored steps: outputs `[N, V]` and targets."""
        self.steps += len(output)
        self.loss += float(loss(output, target).double().sum())
        output = loss.point(output)
        if self.vocabulary.yields == "symbols":
            self.nats += float(functional.cross_entropy(output.double(), target, reduction="sum"))
            self.right += int((output.argmax(dim=-1) == target).sum())
        else:
            predicted, actual = (self.vocabulary.decode(t.cpu().double().numpy()) for t in (output, target))
            self.errors.add(predicted, np.where(self._naught(target), 0.0, actual))

    def _naught(self, target: Tensor) -> NDArray[np.bool_]:
        """Return which targets are 0 in the data: scaled and back, 0 is nearly 0, by which no error can be divided."""
        try:
            zero = self.vocabulary.encode(np.zeros((1, target.shape[-1])))
        except InputError:  # a scale without a 0, as that of logarithms
            return np.zeros(target.shape, bool)
        return (target == torch.as_tensor(zero).to(target)).cpu().numpy()

    def metrics(self) -> Metrics:
        """Return the figures, each a mean over the scored steps."""
        if not self.steps:
            return {}
        found: Metrics = {"loss": self.loss / self.steps}
        if self.vocabulary.yields == "symbols":
            nats = self.nats / self.steps
            found["nats"] = nats
            found["perplexity"] = math.exp(min(nats, 700))
            found[f"bits_per_{self.vocabulary.unit}"] = nats / math.log(2)
            found["accuracy"] = self.right / self.steps
        return found | self.errors.metrics()


def evaluate(
    network: Network,
    reader: Reader,
    split: Split,
    vocabulary: Vocabulary[Any],
    *,
    rows: int = 64,
    window: int = 0,
) -> Metrics:
    """Return the metrics of a split, teacher-forced; `rows` and `window` change speed and memory, and no figure.

    A `window` of 0 is as long as a bounded block of outputs allows.
    """
    return _tally(network, reader, segments(split.scored()), vocabulary, rows, window).metrics()


def cold_and_warm(
    network: Network,
    reader: Reader,
    split: Split,
    vocabulary: Vocabulary[Any],
    *,
    rows: int = 64,
    window: int = 0,
) -> tuple[Metrics, int]:
    """Return what the first steps cost in the midst of a sequence, and at how many places of the split.

    `cold` is the mean from a fresh state, `warm` that of the same steps with the state carried up to them: nats of
    symbols, the loss of numbers. Neither is there where a split holds no such place.
    """
    key = "nats" if vocabulary.yields == "symbols" else "loss"
    cold, warm = openings(split)
    found: Metrics = {}
    for name, spans in (("cold", cold), ("warm", warm)):
        if metrics := _tally(network, reader, spans, vocabulary, rows, window).metrics():
            found[name] = metrics[key]
    return found, len(cold[0])


def _tally(
    network: Network,
    reader: Reader,
    spans: Spans,
    vocabulary: Vocabulary[Any],
    rows: int,
    window: int,
) -> Tally:
    """Return the sums over the scored steps of segments, each read from a fresh state at its own position."""
    window = window or max(16, min(512, BLOCK // (rows * network.loss.output_size)))
    tally = Tally(vocabulary)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            for group in grouped(reader, spans, rows, window):
                states = None
                for batch in group:
                    batch = batch.to(network.device)
                    output, states = network(batch.x, states, position=batch.position)  # B T V
                    if bool(batch.mask.any()):
                        tally.add(output[batch.mask], batch.y[batch.mask], network.loss)
    finally:
        network.train(training)
    return tally
