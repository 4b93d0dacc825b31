"""Some sequences of a split, read once more: what is measured of a part of it in bounded time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.data.batches import Whole
from recurra.data.segments import Spans
from recurra.data.splits import Split, SplitName, sampled
from recurra.data.store import Ints
from recurra.model import sequences
from recurra.model.network import Network
from recurra.model.scoring import Scoring
from recurra.train.evaluate import evaluate_spans
from recurra.train.metrics import Tally

STEPS = 512
"""Steps of a stretch of a sequence that is longer."""
TOGETHER = 1 << 14
"""Steps that are read in all, but for one sequence that is longer."""
MOST = 256
"""Sequences, or stretches of such, at most."""
BESIDE = {"rows": 32, "window": 64}
"""How many are read side by side, in windows of how many steps: a page takes little memory."""
FEW = 16
"""Steps of a split in a long sequence, below which what precedes them is read too."""


@dataclass(frozen=True)
class Stretches:
    """Some stretches out of `total`: each is read from a fresh state on, and some of it scored."""

    spans: Spans
    total: int

    def __len__(self) -> int:
        return len(self.spans[0])

    @property
    def starts(self) -> Ints:
        """Where they begin, in order."""
        return np.unique(self.spans[0])


def stretches(split: Split) -> Stretches:
    """Return some stretches of a split whose steps are answered, evenly over all of it.

    A sequence of no more than `STEPS` steps is one, read from its beginning; so is a longer one
    that is read whole. Else one is `STEPS` steps in the midst of a sequence.
    """
    first, stop = split.first_targets, split.stops
    rows = np.flatnonzero(stop > first)
    first, stop, begin, high = (of[rows] for of in (first, stop, split.begin, split.high))
    targets = stop - first
    whole = (stop - begin <= STEPS) | split.uncut | split.at_once
    counts = np.where(whole, 1, np.maximum(1, targets // STEPS))

    owner = np.repeat(np.arange(len(rows)), counts)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    target = first[owner] + index * STEPS
    last = np.where(whole[owner], stop[owner], np.minimum(target + STEPS, stop[owner]))
    start = target - split.reach
    before = np.maximum(begin, stop - split.reach - STEPS)
    start = np.where(targets[owner] < FEW, np.minimum(start, before[owner]), start)
    start = np.where(whole[owner], begin[owner], start)

    longest = int((last - start).max()) if len(owner) else 1
    some = sampled(np.arange(len(owner)), max(1, min(MOST, TOGETHER // longest)))
    return Stretches((start[some], target[some], last[some], high[owner[some]]), len(owner))


def tallied(data: Any, network: Network, name: SplitName, tally: Tally) -> tuple[int, int]:
    """Add the answers to the steps, or the sequences, of a part of a split to a tally.

    Returns how many stretches or sequences that are, and out of how many.
    """
    split = data.splits[name].scored()
    if split.whole:
        some, total = answerable(data, split)
        for batch in batches(data, network, some):
            tally.add(sequences.read(network, batch.x, batch.steps), batch.y, network.scoring)
        return len(some), total
    read = stretches(split)
    if len(read):
        evaluate_spans(network, data.reader, read.spans, tally, **BESIDE, at_once=split.at_once)
    return len(read), read.total


def answerable(data: Any, split: Split) -> tuple[Ints, int]:
    """Return some whole sequences of a split that have an answer, and how many there are."""
    rows = data.reader.answerable(split)
    lengths = data.store.ends[rows] - data.store.starts[rows]
    longest = int(lengths.max()) if len(rows) else 1
    return sampled(rows, max(1, min(MOST, TOGETHER // longest))), len(rows)


def batches(data: Any, network: Network, rows: Ints) -> Iterator[Whole]:
    """Give whole sequences side by side, to be looked at and not to be learned from."""
    lengths = data.store.ends[rows] - data.store.starts[rows]
    for group in sequences.alike(lengths, MOST):
        batch = data.reader.whole(rows[group]).to(network.device)
        with looking(network):
            yield batch


@contextmanager
def looking(network: Network) -> Iterator[None]:
    """Let a network learn nothing."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)


class Chances(Tally):
    """How often the likeliest answer was right, by the chance that it was given, in tenths.

    `count`, `chances` and `right` `[10]` are how many there are, and the sums of both.
    """

    PARTS = 10

    def __init__(self, data: Any) -> None:
        super().__init__(*data.tally().made)
        self.count, self.chances, self.right = np.zeros((3, self.PARTS))

    def add(
        self,
        output: Tensor,
        target: Tensor,
        loss: Loss[Any] | Scoring,
        undo: Tensor | None = None,
        places: Tensor | None = None,
    ) -> None:
        """Add scored answers: outputs `[N, V]` and ids `[N]`."""
        own = loss.loss if isinstance(loss, Scoring) else loss
        chances, said = own.point(output).double().softmax(dim=-1).max(dim=-1)
        given = chances.cpu().numpy()
        part = np.minimum((given * self.PARTS).astype(np.int64), self.PARTS - 1)
        right = (said == target).double().cpu().numpy()
        for sums, of in ((self.count, None), (self.chances, given), (self.right, right)):
            sums += np.bincount(part, of, self.PARTS)


class Pairs(Tally):
    """How often each answer was given where each came: `pairs` of ids, what came first."""

    def __init__(self, data: Any) -> None:
        super().__init__(*data.tally().made)
        self.pairs: Counter[tuple[int, int]] = Counter()

    def add(
        self,
        output: Tensor,
        target: Tensor,
        loss: Loss[Any] | Scoring,
        undo: Tensor | None = None,
        places: Tensor | None = None,
    ) -> None:
        """Add scored answers: outputs `[N, V]` and ids `[N]`."""
        own = loss.loss if isinstance(loss, Scoring) else loss
        said = own.point(output).argmax(dim=-1)
        self.pairs.update(zip(target.tolist(), said.tolist(), strict=True))


class Surprises(NamedTuple):
    """The symbols of a stretch of a sequence, the place of that, and what each cost, in nats."""

    row: int
    texts: list[str]
    nats: list[float]


def surprises(data: Any, network: Network, name: SplitName, limit: int) -> Surprises | None:
    """Return what the symbols of the longest span of a split cost, up to a `limit`.

    They are read from a fresh state on, where the split begins in its sequence, and the first of
    them costs nothing. None where no symbol comes after another.
    """
    split = data.splits[name]
    if not len(split) or int((split.high - split.low).max()) < 2:
        return None
    span = int(np.argmax(np.minimum(split.high - split.low, limit + 1)))
    low, high = int(split.low[span]), int(split.high[span])
    ids = data.store.spans(np.array([low]), min(high - low, limit + 1))[0].astype(np.int64)
    x = torch.from_numpy(ids)[None].to(network.device)
    begin = torch.tensor([low - int(split.begin[span])], device=network.device)
    with looking(network):
        output, _ = network(x[:, :-1], position=begin)
        chances = network.loss.point(output[0]).double().log_softmax(dim=-1)
        nats = -chances.gather(1, x[0, 1:, None])[:, 0]
    stream = data.vocabulary.streamer()
    texts = [stream(index) for index in ids.tolist()][1:]
    row = int(data.store.sequence(np.array([low]))[0])
    return Surprises(row, texts, nats.cpu().tolist())
