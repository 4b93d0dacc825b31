"""The numbers of a task before training.

A scale is fitted on those of the training split, and all go through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.contracts.loss import Loss
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import intake
from recurra.data.blocks import blocks, of_spans
from recurra.data.chain import Chain
from recurra.data.splits import Split, SplitName, place_of
from recurra.data.store import Store
from recurra.errors import InputError, Unsuited, warn
from recurra.model.device import DTYPES
from recurra.model.network import Network
from recurra.resolved import Resolved

if TYPE_CHECKING:
    from recurra.job.data import Data

STEEP = 1e6
"""A scaled number above which a gradient is looked at before there is an update."""


def fit(
    resolved: Resolved,
    vocabulary: Vocabulary[Any],
    store: Store,
    splits: dict[SplitName, Split],
    names: Sequence[str],
) -> Chain:
    """Fit a vocabulary of numbers on the training split; return it with its transforms.

    These are fitted too. `names` are those of its columns, if they have any. Raises `InputError`
    that names the rows it refuses.
    """
    part = resolved.parts["vocabulary"]
    names = names or [str(place) for place in range(store.values.shape[1])]
    columns = () if store.covariates is None else store.covariates.columns
    beside = [column.name for column in columns if column.names is None]

    def alone() -> Vocabulary[Any]:
        fresh: Vocabulary[Any] = part.build()
        fresh.prepare(names, beside)
        return fresh

    vocabulary.prepare(names, beside)
    train = splits["train"]
    spans = of_spans(train.low, train.high)
    rows = ((span.start, np.asarray(store.values[span])) for span in spans)
    intake.fit(vocabulary, rows, alone, partial(place_of, store, splits))

    size, width = intake.size(vocabulary, part.entry.qualified), store.values.shape[1]
    if size != width:
        fact = f"size is {size} after rows of {width} numbers"
        raise intake.broken(part.entry.qualified, fact)
    chain = Chain(vocabulary)
    chain.fit(store, train)
    intake.learned(vocabulary, part.entry.qualified)
    return chain


def scan(resolved: Resolved, data: Data, network: Network) -> bool:
    """Scale every number there is, and let the loss see it; return whether any is steep.

    Raises `InputError` (RC042) that names the first places.
    """
    vocabulary, store = data.vocabulary, data.store
    dtype = DTYPES[resolved.task.device.precision]
    extremes = _Extremes(store.values.shape[1])
    losses = _Losses()
    whole = data.reader.carried or store
    for span in blocks(0, len(store)):
        start = span.start
        block = whole.spans(np.array([start]), span.stop - start)[0]

        def place(at: int, start: int = start) -> str:
            return place_of(store, data.splits, start + at)

        rows = _as_read(resolved, data, block, start, place).to(dtype)
        _check_finite(block, rows, place)
        extremes.add(block, rows)
        if data.answers is vocabulary:
            losses.add(_lossy(network.loss, rows.to(network.device), block, place), place)

    transforms = vocabulary.transforms() if data.chain else ()
    _lost(extremes, dtype, [str(step) for step in transforms])
    _summed(resolved, data, losses, dtype)
    return bool(np.abs(extremes.scaled).max() > STEEP)


def _as_read(
    resolved: Resolved, data: Data, block: NDArray[Any], start: int, place: Callable[[int], str]
) -> torch.Tensor:
    """Return a block of numbers as the network reads it: scaled, and transformed if at all.

    Raises `InputError` (RC042) that names the rows that the vocabulary refuses.
    """
    vocabulary = data.vocabulary
    try:
        scaled = vocabulary.encode(block.copy())
    except InputError as error:
        raise intake.refused(vocabulary.encode, block, place) or error from error
    owner = resolved.parts["vocabulary"].entry.qualified
    scaled = intake.rows(scaled, len(block), vocabulary.size, owner)

    if data.reader.rows is not None:
        transformed = data.reader.rows.spans(np.array([start]), len(block))[0]
        scaled = data.reader.read(transformed)
    return torch.from_numpy(scaled.copy())


def _check_finite(block: NDArray[Any], rows: torch.Tensor, place: Callable[[int], str]) -> None:
    """Refuse a number that is not finite once it is scaled. Raises `InputError` (RC042)."""
    finite = torch.isfinite(rows)
    if bool(finite.all()):
        return
    row, feature = torch.nonzero(~finite)[0].tolist()
    raise intake.beyond(float(block[row, feature]), rows.dtype, place(row))


def _lost(extremes: _Extremes, dtype: torch.dtype, transforms: list[str]) -> None:
    """Refuse numbers that change, but none of them for the network.

    Warns (`Unsuited`) where only some are so.
    """
    lost, changing = extremes.lost()
    if not lost:
        return

    low, high = extremes.raw[:, lost[0]].tolist()
    fact = (
        f"feature {lost[0]} lies between {low!r} and {high!r}, and is one and the same in {dtype}"
        " once it is scaled"
    )
    cure = 'vocabulary.scale = "standard", device.precision = "float64", or other units'
    key = "vocabulary.scale"
    if transforms:
        fact, key = f"{fact}, and {', '.join(transforms)}", "vocabulary"
        cure = "leave a difference out: there is nothing behind it to learn"
    if len(lost) == changing:
        raise InputError.of("RC042", fact, key=key, cure=cure)
    text = f"{fact}: nothing can be learned from it; to mend it: {cure}"
    warn(text, Unsuited)


class _Extremes:
    """The least and the greatest of each feature, as it came and as the network reads it."""

    def __init__(self, features: int) -> None:
        nothing = np.array([[np.inf], [-np.inf]])
        self.raw = nothing.repeat(features, axis=1)  # 2 F
        self.scaled = self.raw.copy()

    def add(self, block: NDArray[Any], rows: torch.Tensor) -> None:
        """Take note of rows `[n, F]`."""
        for extremes, values in ((self.raw, block), (self.scaled, rows.double().numpy())):
            extremes[0] = np.minimum(extremes[0], values.min(axis=0))
            extremes[1] = np.maximum(extremes[1], values.max(axis=0))

    def lost(self) -> tuple[list[int], int]:
        """Return the features that change, but not for the network, and how many change at all."""
        changes = self.raw[1] > self.raw[0]
        changes_scaled = self.scaled[1] > self.scaled[0]
        lost = np.flatnonzero(changes & ~changes_scaled)
        return lost.tolist(), int(changes.sum())


@dataclass
class _Losses:
    """The losses of rows before anything is learned: their sum, and the greatest with its place."""

    total: float = 0.0
    greatest: float = 0.0
    place: str = ""

    def add(self, values: NDArray[np.float64], place: Callable[[int], str]) -> None:
        """Take note of the losses `[n]` of a block: of those that add to a sum, and are finite."""
        values = np.where(np.isfinite(values), np.maximum(values, 0), 0)
        self.total += float(values.sum())
        row = int(values.argmax())
        if values[row] > self.greatest:
            self.greatest, self.place = float(values[row]), place(row)


def _summed(resolved: Resolved, data: Data, losses: _Losses, dtype: torch.dtype) -> None:
    """Refuse numbers whose losses are finite, while their sum over a batch may not be.

    Raises `InputError` (RC042). A batch sums no more than so many of the greatest, and no more than
    all there are, as often as windows overlap.
    """
    sequence, batch = resolved.task.sequence, resolved.task.training.batch_size
    steps = batch * min(sequence.length, len(data.store))
    stride = sequence.stride or sequence.length
    # In so many windows, rounded up, a step may stand.
    windows = -(-sequence.length // stride)
    overlaps = min(batch, windows)
    most = min(losses.greatest * steps, losses.total * overlaps)
    if most > torch.finfo(dtype).max:
        fact = (
            f"the loss reaches {losses.greatest:g} ({losses.place}), and the sum over a batch of"
            f" {steps} steps is beyond all numbers of {dtype}"
        )
        cure = 'another vocabulary.scale, device.precision = "float64", or other units'
        raise InputError.of("RC042", fact, key="loss", cure=cure)


def _lossy(
    loss: Loss[Any], rows: torch.Tensor, block: NDArray[Any], place: Callable[[int], str]
) -> NDArray[np.float64]:
    """Return the loss of each row.

    Raises `InputError` (RC042) where it is finite for others, but not for some.
    """
    # A network that gives 0 stands for one that has learned nothing.
    training = loss.training
    outputs = rows.new_zeros(len(rows), loss.output_size)
    try:
        with torch.no_grad():
            values = loss.eval()(outputs, rows)
    finally:
        loss.train(training)

    wrong = ~torch.isfinite(values)
    if bool(wrong.any()) and not bool(wrong.all()):
        row = int(torch.nonzero(wrong)[0])
        numbers, value = block[row].tolist(), float(values[row])
        fact = f"the loss of {numbers} is {value:g}: {place(row)}"
        cure = "another loss, or another vocabulary.scale"
        raise InputError.of("RC042", fact, key="loss", cure=cure)
    return np.asarray(values.double().cpu().numpy(), np.float64)
