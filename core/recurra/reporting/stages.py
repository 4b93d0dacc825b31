"""Figures of a part of a split by how much of a sequence the network has read by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.contracts.metric import LOSS, Figure, Metrics
from recurra.data.marks import Marked
from recurra.data.splits import SplitName, sampled
from recurra.data.store import Ints
from recurra.model import sequences
from recurra.model.network import Network
from recurra.model.scoring import Scoring
from recurra.reporting import rereading
from recurra.reporting.rereading import BESIDE, MOST
from recurra.train.evaluate import Completed, complete, evaluate_spans
from recurra.train.metrics import Tally, known
from recurra.train.spread import levels_of

SINGLE = 40
"""Steps up to which each is a stage of its own."""
STAGES = 32
"""Stages of longer ones, each a little longer than the one before."""
SHARES = 10
"""Parts of a whole sequence after which it is answered."""
LENGTHS = 10
"""Groups of prompts by their length."""


class Stage(NamedTuple):
    """The `answers` that were given after `first` to `last` steps, and their figures."""

    first: float
    last: float
    answers: int
    metrics: Metrics


class Staged(NamedTuple):
    """Figures by what was read, `what` in a `unit`, of some `sequences` out of `total`.

    They are `of` stretches, whole sequences or prompts. The target judges by `figure`.
    """

    what: str
    unit: str
    of: str
    stages: list[Stage]
    sequences: int
    total: int
    figure: Figure

    @property
    def in_steps(self) -> bool:
        """Whether it is steps that were read, and no share of them."""
        return not self.unit

    @property
    def log(self) -> bool:
        """Whether later stages are longer."""
        return any(stage.last - stage.first >= SINGLE for stage in self.stages)


def staged(data: Any, network: Network, name: SplitName) -> Staged | None:
    """Return the figures of some sequences of a split by how much of each was read.

    Where each step is answered, by the steps read up to it from a fresh state; where a sequence is
    answered once, after a share of it was read; where an answer follows, by the length of what it
    follows. None where nothing is scored.
    """
    return BY_SCOPE[data.target.scope](data, network, name)


class _Part(Tally):
    """Sums of what the metrics of a target measure: quantiles of distributions are dear."""

    @classmethod
    def of(cls, data: Any, name: SplitName) -> _Part:
        """Return sums of nothing, for answers in a split."""
        return cls(*data.tally(name).made)

    def _add_spread(self, *parts: Any) -> None:
        return


class _ByStep(Tally):
    """Sums of answers by the steps that were read from the start of a stretch up to each."""

    def __init__(self, data: Any, name: SplitName, starts: Ints, edges: Ints) -> None:
        super().__init__(*data.tally(name).made)
        self.starts, self.edges = starts, edges
        self.parts = [_Part.of(data, name) for _ in edges]

    def add(
        self,
        output: Tensor,
        target: Tensor,
        loss: Loss[Any] | Scoring,
        undo: Tensor | None = None,
        places: Tensor | None = None,
    ) -> None:
        """Add scored answers to the sums of their stages."""
        assert places is not None and isinstance(loss, Scoring), "steps stand somewhere"
        at = places.cpu().numpy()
        step = at[:, 0] + at[:, 1]
        start = self.starts[np.searchsorted(self.starts, step, side="right") - 1]
        stage = np.searchsorted(self.edges, step - start + 1, side="right") - 1
        for index in np.unique(stage).tolist():
            some = torch.from_numpy(stage == index)
            rows = some.to(output.device)
            scoring = loss
            if loss.scale is not None:
                scoring = replace(loss, scale=loss.scale[rows])
            undone = None if undo is None else undo[some]
            self.parts[index].add(output[rows], target[rows], scoring, undone, places[rows])


def _by_step(data: Any, network: Network, name: SplitName) -> Staged | None:
    """Return figures by the steps that were read up to an answer."""
    split = data.splits[name].scored()
    read = rereading.stretches(split)
    if not len(read):
        return None
    start, first, stop, _ = read.spans
    least, longest = (
        int(of) - split.reach for of in ((first - start).min() + 1, (stop - start).max())
    )
    edges = _edges(least, longest)
    sums = _ByStep(data, name, read.starts, edges)
    evaluate_spans(network, data.reader, read.spans, sums, **BESIDE, at_once=split.at_once)

    ends = [*(edges[1:] - 1).tolist(), longest]
    rows = zip(edges.tolist(), ends, sums.parts, strict=True)
    stages = [Stage(low, high, part.steps, part.values()) for low, high, part in rows]
    words = "steps read", "", "stretches"
    return _told(words, stages, len(read), read.total, data, network, sums.parts)


def _edges(least: int, longest: int) -> Ints:
    """Return the first step of each stage."""
    if longest - least < SINGLE:
        return np.arange(least, longest + 1)
    return np.unique(np.geomspace(least, longest + 1, STAGES + 1)[:-1].round().astype(np.int64))


def _by_share(data: Any, network: Network, name: SplitName) -> Staged | None:
    """Return the figures of answers to the first part of whole sequences."""
    rows, total = rereading.answerable(data, data.splits[name])
    if not len(rows):
        return None
    longest = int((data.store.ends[rows] - data.store.starts[rows]).max())
    count = min(SHARES, longest)
    parts = [_Part.of(data, name) for _ in range(count)]
    for batch in rereading.batches(data, network, rows):
        for index, part in enumerate(parts):
            steps = (batch.steps * (index + 1) + count - 1) // count
            x = batch.x[:, : int(steps.max())]
            part.add(sequences.read(network, x, steps), batch.y, network.scoring)

    stages = [
        Stage(100 * index / count, 100 * index / count, part.steps, part.values())
        for index, part in enumerate(parts, 1)
    ]
    words = "part of the sequence read", "%", "sequences"
    return _told(words, stages, len(rows), total, data, network, parts)


def _by_length(data: Any, network: Network, name: SplitName) -> Staged | None:
    """Return the figures of answers by the length of the prompts that they follow."""
    whole = data.splits[name].scored()
    if not len(whole) or not isinstance(data.answers, Marked):
        return None
    chosen = sampled(np.arange(len(whole)), MOST)
    split = replace(
        whole, low=whole.low[chosen], high=whole.high[chosen], begin=whole.begin[chosen]
    )
    given: list[Completed] = []
    complete(
        network,
        data.store,
        split,
        data.tally(name),
        data.answers.marks,
        data.limit,
        watch=given.append,
    )
    lengths = np.array([len(each.prompt) for each in given])
    groups = [group for group in np.array_split(np.unique(lengths), LENGTHS) if len(group)]
    parts = [_Part.of(data, name) for _ in groups]
    stages = []
    for group, part in zip(groups, parts, strict=True):
        low, high = int(group[0]), int(group[-1])
        for each in given:
            if low <= len(each.prompt) <= high:
                part.add_answer(torch.from_numpy(each.given), torch.from_numpy(each.came))
        free: Metrics = {}
        for metric in part.metrics:
            if metric.free:
                free |= metric.values()
        stages.append(Stage(low, high, part.answers, free))
    words = "symbols of the prompt", "", "prompts"
    return _told(words, stages, len(chosen), len(whole), data, network, parts)


def _told(
    words: tuple[str, str, str],
    stages: list[Stage],
    count: int,
    total: int,
    data: Any,
    network: Network,
    parts: Sequence[Tally],
) -> Staged | None:
    """Return the stages in which anything was answered, with the figure that is judged."""
    answered = [stage for stage in stages if stage.answers and stage.metrics]
    if not answered:
        return None
    columns = max(len(part.columns()) for part in parts if part.steps) if parts[0].steps else 1
    series = 1 if data.scales is None else len(data.scales.starts)
    rows = [stage.metrics for stage in answered]
    shared = set.intersection(*({*row} for row in rows))
    key = data.target.judged(data.answers.yields, rows, max(columns, 1) * series)
    if key not in shared:
        key = LOSS.name if LOSS.name in shared else min(shared)
    figure = known(data.target, type(data.answers), levels_of(network.loss)).get(key, Figure(key))
    return Staged(*words, answered, count, total, figure)


BY_SCOPE: dict[str, Callable[[Any, Network, SplitName], Staged | None]] = {
    "step": _by_step,
    "sequence": _by_share,
    "answer": _by_length,
}
"""What is read before an answer, by what a target answers."""
