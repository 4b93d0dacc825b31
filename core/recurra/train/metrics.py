"""What is measured of answers, symbols or numbers, and the sums of all of it over a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra.contracts.distribution import DECILES, Distribution
from recurra.contracts.loss import Loss
from recurra.contracts.metric import LOSS, Figure, Metric, Metrics, Scale, SeriesScales, merges
from recurra.contracts.target import Target
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Own
from recurra.errors import InputError
from recurra.model.scoring import Scoring
from recurra.train.errors import Errors
from recurra.train.merging import packed, unpacked
from recurra.train.spread import Spread, spread_figures


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
        nats = functional.cross_entropy(output.double(), target, reduction="sum")
        self.steps += len(output)
        self.nats += float(nats)

    def merge(self, other: Self) -> None:
        """Add the sums of others."""
        self.steps += other.steps
        self.nats += other.nats

    def values(self) -> Metrics:
        """Return means over the symbols."""
        nats = self.nats / self.steps
        return {
            "nats": nats,
            "perplexity": math.exp(min(nats, 700)),
            f"bits_per_{self.vocabulary.unit}": nats / math.log(2),
        }


class Accuracy(Metric):
    """The share of symbols that were the likeliest."""

    steps = right = 0

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return a share."""
        return (Figure("accuracy", higher=True, most=1.0),)

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add logits `[N, V]` and ids `[N]`."""
        likeliest = output.argmax(dim=-1)
        self.steps += len(output)
        self.right += int((likeliest == target).sum())

    def merge(self, other: Self) -> None:
        """Add the sums of others."""
        self.steps += other.steps
        self.right += other.right

    def values(self) -> Metrics:
        """Return the share."""
        return {"accuracy": self.right / self.steps}


ZEROS = "every number of it is 0, and no error can be divided by it"
STILL = "what precedes it in its series does not change, or is too short"


class Distance(Metric):
    """How far predictions lie from what came, in the data's own units.

    They are mae, rmse, mape, smape, wape and mase, by the formulas of `recurra.train.errors`.
    """

    FIGURES = (
        Figure("mae", title="mean absolute error"),
        Figure("rmse"),
        Figure("mape", absent=ZEROS),
        Figure("smape", most=200.0),
        Figure("wape", absent=ZEROS),
        Figure("mase", title="mean absolute scaled error", absent=STILL),
    )

    def __init__(self, vocabulary: Vocabulary[Any], scale: Scale | None = None) -> None:
        super().__init__(vocabulary)
        self.errors = Errors(scale)

    def by_series(self, scales: SeriesScales) -> None:
        """Measure the errors of each series by its own scale."""
        self.errors.scales = scales

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return the figures.

        mape and wape need a number that is not 0, mase a training that changes.
        """
        return Distance.FIGURES

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add scaled predictions and targets, `[N, F]`."""
        self.errors.add(*self._own(output, target))

    def add_at(self, output: Tensor, target: Tensor, places: Tensor) -> None:
        """Add scaled predictions and targets, `[N, F]`, of series that begin at `places` `[N, 2]`.

        Their first column says where, the second at which step of it.
        """
        self.errors.add(*self._own(output, target), places[:, 0].cpu().numpy())

    def merge(self, other: Self) -> None:
        """Add the sums of others."""
        self.errors.merge(other.errors)

    def _own(self, output: Tensor, target: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return scaled predictions and targets in the data's own units."""
        actual = self._decoded(target)
        return self._decoded(output), np.where(self._naught(target), 0.0, actual)

    def _decoded(self, numbers: Tensor) -> NDArray[Any]:
        """Return scaled numbers in the data's own units."""
        decoded: NDArray[Any] = self.vocabulary.decode(numbers.cpu().double().numpy())
        return decoded

    def _naught(self, target: Tensor) -> NDArray[np.bool_]:
        """Return which targets are 0 in the data.

        Scaled and back, 0 is nearly 0, by which no error can be divided.
        """
        features = target.shape[-1]
        try:
            zero = self.vocabulary.encode(np.zeros((1, features)))
        except InputError:  # a scale without a 0, as that of logarithms, of one column or more
            zero = np.array([[self._zero(column, features) for column in range(features)]])
        naught = target == torch.as_tensor(zero).to(target)
        return naught.cpu().numpy()

    def _zero(self, column: int, features: int) -> float:
        """Return the 0 of a column as it is scaled, nan where there is none."""
        row = np.array(self.vocabulary.decode(np.zeros((1, features))))
        row[0, column] = 0.0
        try:
            return float(self.vocabulary.encode(row)[0, column])
        except InputError:
            return float("nan")

    def values(self) -> Metrics:
        """Return the figures."""
        return self.errors.metrics()

    def columns(self) -> Sequence[Errors]:
        """Return the errors of each column, where there are several."""
        return self.errors.columns


def known(
    target: Target[Any], vocabulary: type[Vocabulary[Any]], levels: Sequence[float] = ()
) -> dict[str, Figure]:
    """Return each figure that is made of a split, by its name, in the order in which it is shown.

    `vocabulary` is that of the answers. Of a distribution that is measured at
    some `levels` there are more.
    """
    figures = {LOSS.name: LOSS}
    for metric in target.metrics(vocabulary.yields):
        for figure in metric.figures(vocabulary):
            figures[figure.name] = figure
    return figures | {figure.name: figure for figure in spread_figures(levels)}


def expected_figures(
    target: Target[Any],
    vocabulary: type[Vocabulary[Any]],
    levels: Sequence[float] = (),
    chances: Sequence[float] = (),
) -> dict[str, Figure]:
    """Return each figure that the end of a run may have: those, and of intervals at some chances.

    These are of forecasts.
    """
    own = known(target, vocabulary, levels)
    if not chances:
        return own
    of_intervals = (*spread_figures(chances), *spread_figures(DECILES))
    return {**{figure.name: figure for figure in of_intervals}, **own}


def free_figures(target: Target[Any], vocabulary: type[Vocabulary[Any]]) -> set[str]:
    """Return the names of the figures of answers that the network gives by itself."""
    free = [metric for metric in target.metrics(vocabulary.yields) if metric.free]
    return {figure.name for metric in free for figure in metric.figures(vocabulary)}


Undoing: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Gives predictions, and what came, in their own units, of outputs and what undoing them takes."""


class Tally:
    """The sums of all that is measured over what is scored.

    With `undoing`, answers are measured in their own units.
    """

    spread: Spread | None = None
    """What is measured of a distribution, where the loss is one."""

    def __init__(
        self,
        target: Target[Any],
        vocabulary: Vocabulary[Any],
        scale: Scale | None = None,
        undoing: Undoing | None = None,
        scales: SeriesScales | None = None,
    ) -> None:
        self.steps = 0
        self.loss = 0.0
        # The steps again, of which one that is partly missing counts less.
        self.total = 0.0
        self.undoing, self.vocabulary = undoing, vocabulary
        measured = Own(vocabulary) if undoing else vocabulary
        # What all processes have: it does not travel with what one has measured.
        self.made = (target, vocabulary, scale, undoing, scales)
        self.known = (vocabulary, measured, scale, scales, scales and scales.starts)
        self.metrics = [metric(measured, scale) for metric in target.metrics(vocabulary.yields)]
        if scales is not None:
            for each in self.metrics:
                each.by_series(scales)
        # Answers that the network gave by itself.
        self.answers = 0

    @property
    def merges(self) -> bool:
        """Whether what several processes have measured can be put together."""
        return all(merges(type(metric)) for metric in self.metrics)

    def blank(self) -> Tally:
        """Return sums of nothing, made as these were."""
        return Tally(*self.made)

    def packed(self) -> bytes:
        """Return all that was added, for `merge` of a tally made alike in any process."""
        sums = self.steps, self.loss, self.total, self.answers, self.metrics, self.spread
        return packed(sums, self.known)

    def merge(self, parts: Iterable[bytes]) -> None:
        """Add what others have measured, in the order in which it is given."""
        for part in parts:
            steps, loss, total, answers, metrics, spread = unpacked(part, self.known)
            self.steps += steps
            self.loss += loss
            self.total += total
            self.answers += answers
            for own, other in zip(self.metrics, metrics, strict=True):
                own.merge(other)
            if self.spread is None:
                self.spread = spread
            elif spread is not None:
                self.spread.merge(spread)

    def add(
        self,
        output: Tensor,
        target: Tensor,
        loss: Loss[Any] | Scoring,
        undo: Tensor | None = None,
        places: Tensor | None = None,
    ) -> None:
        """Add scored answers: outputs `[N, V]` and targets.

        `undo` is what undoing them takes, of a batch that was transformed; `places` `[N, 2]` are
        which sequence each is of, and which step of it, or with which element ahead `[N, 3]`.
        """
        scoring = loss if isinstance(loss, Scoring) else Scoring(loss)
        losses = scoring(output, target)
        self.steps += len(output)
        self.total += scoring.total(target)
        self.loss += float(losses.double().sum())
        if isinstance(scoring.loss, Distribution):
            self._add_spread(scoring.loss, output, target, undo, scoring.scale)
        point = scoring.loss.point(output)
        if self.undoing and undo is not None:
            point, target = self.undoing(point, undo)
            if places is not None:
                # Own units are numbers of the CPU, whatever the device of the network.
                places = places.to(target.device)
        for metric in self.metrics:
            if metric.free:
                continue
            if places is None:
                metric.add(point, target)
            else:
                metric.add_at(point, target, places)

    def _add_spread(
        self,
        loss: Distribution[Any],
        output: Tensor,
        target: Tensor,
        undo: Tensor | None,
        scale: Tensor | None,
    ) -> None:
        """Add what the outputs say of how the answers are distributed."""
        if self.spread is None:
            self.spread = Spread(loss.levels)
        undoing = self.undoing
        if undoing is None or undo is None:
            actual = self._decoded(target)
            self.spread.add(loss, output, target, self._decoded, actual, scale)
            return
        actual = undo[:, -1].double().numpy()

        def own(rows: Tensor) -> NDArray[np.float64]:
            return undoing(rows, undo)[0].numpy()

        self.spread.add(loss, output, target, own, actual, scale)

    def _decoded(self, numbers: Tensor) -> NDArray[np.float64]:
        """Return scaled numbers in the data's own units."""
        decoded = self.vocabulary.decode(numbers.cpu().double().numpy())
        return np.asarray(decoded, np.float64)

    def add_answer(self, answer: Tensor, right: Tensor) -> None:
        """Add an answer `[n]` that the network gave by itself, and the right one `[m]`."""
        self.answers += 1
        for metric in self.metrics:
            if metric.free:
                metric.add(answer, right)

    def values(self) -> Metrics:
        """Return the figures, each a mean over the scored steps; none of no steps.

        Those of answers that the network gives by itself are there where it was asked for such.
        """
        if not self.steps:
            return {}
        metrics = {LOSS.name: self.loss / self.total}
        for metric in self._filled():
            metrics |= metric.values()
        if self.spread is not None:
            metrics |= self.spread.values()
        return metrics

    def _filled(self) -> list[Metric]:
        """Return the metrics that something was added to."""
        return [metric for metric in self.metrics if self.answers or not metric.free]

    def columns(self) -> list[Metrics]:
        """Return the figures of each column, where there are several."""
        columns = [column.metrics() for metric in self.metrics for column in metric.columns()]
        if self.spread is not None and columns:
            pairs = zip(columns, self.spread.columns(), strict=True)
            columns = [own | more for own, more in pairs]
        return columns

    def detail(self) -> dict[str, Any]:
        """Return what is more than a number, by name."""
        detail: dict[str, Any] = {}
        for metric in self._filled():
            detail |= metric.detail()
        return detail
