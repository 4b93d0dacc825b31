"""The numbers of a task before training: a scale is fitted on those of the training split, and all
go through it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.contracts.loss import Loss
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import intake
from recurra.data.chain import Chain
from recurra.data.splits import Split, SplitName, place_of
from recurra.data.store import Store
from recurra.errors import InputError, Unsuited
from recurra.model.device import DTYPES
from recurra.model.network import Network
from recurra.resolved import Resolved

if TYPE_CHECKING:
    from recurra.job.data import Data

BLOCK = 1 << 16
"""Elements that are looked at at a time."""
STEEP = 1e6
"""A scaled number above which a gradient is looked at before there is an update."""


def fit(
    resolved: Resolved, vocabulary: Vocabulary[Any], store: Store, splits: dict[SplitName, Split]
) -> Chain:
    """Fit a vocabulary of numbers on the training split, and return it with its transforms, which
    are fitted too.

    Raises `InputError` that names the rows it refuses.
    """
    part = resolved.parts["vocabulary"]
    # The block that it is looking at.
    last: list[tuple[int, NDArray[Any]]] = [(0, store.values[:0])]

    def blocks() -> Iterator[NDArray[Any]]:
        for last[0] in _blocks(store, splits["train"]):
            yield last[0][1]

    try:
        vocabulary.fit(blocks())
    except InputError as error:
        start, block = last[0]
        found = intake.refused(
            lambda row: part.build().fit([row]),
            block,
            lambda at: place_of(store, splits, start + at),
        )
        raise found or error from error
    size = intake.size(vocabulary, part.entry.qualified)
    if size != store.values.shape[1]:
        fact = f"size is {size} after rows of {store.values.shape[1]} numbers"
        raise intake.broken(part.entry.qualified, fact)
    chain = Chain(vocabulary)
    chain.fit(store, splits["train"])
    intake.learned(vocabulary, part.entry.qualified)
    return chain


def _blocks(store: Store, part: Split) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give the elements of a split in blocks, and where each begins: a mapped corpus never comes
    into memory whole.
    """
    for low, high in zip(part.low, part.high, strict=True):
        for start in range(int(low), int(high), BLOCK):
            yield start, np.asarray(store.values[start : min(start + BLOCK, int(high))])


def scan(resolved: Resolved, data: Data, network: Network) -> bool:
    """Scale every number there is, and let the loss see it; return whether any is steep.

    Raises `InputError` (RC042) that names the first places.
    """
    vocabulary, store = data.vocabulary, data.store
    owner = resolved.parts["vocabulary"].entry.qualified
    dtype = DTYPES[resolved.task.device.precision]
    seen = _Extremes(store.values.shape[1])
    losses = _Losses()
    for start in range(0, len(store), BLOCK):
        block = store.spans(np.array([start]), min(BLOCK, len(store) - start))[0]

        def place(at: int, start: int = start) -> str:
            return place_of(store, data.splits, start + at)

        try:
            scaled = vocabulary.encode(block.copy())
        except InputError as error:
            raise intake.refused(vocabulary.encode, block, place) or error from error
        scaled = intake.rows(scaled, len(block), vocabulary.size, owner)
        if data.reader.rows is not None:
            scaled = data.reader.read(data.reader.rows.spans(np.array([start]), len(block))[0])
        rows = torch.from_numpy(scaled.copy()).to(dtype)
        if not bool(torch.isfinite(rows).all()):
            row, feature = torch.nonzero(~torch.isfinite(rows))[0].tolist()
            fact = (
                f"{block[row, feature]:g} is beyond all numbers of {dtype} once it is scaled:"
                f" {place(row)}"
            )
            cure = 'another vocabulary.scale, or device.precision = "float64"'
            raise InputError.of("RC042", fact, key="vocabulary.scale", cure=cure)
        seen.add(block, rows)
        if data.answers is vocabulary:
            losses.add(_lossy(network.loss, rows.to(network.device), block, place), place)
    _lost(seen, dtype, [str(step) for step in vocabulary.transforms()] if data.chain else [])
    _summed(resolved, data, losses, dtype)
    return bool(np.abs(seen.scaled).max() > STEEP)


def _lost(seen: _Extremes, dtype: torch.dtype, transforms: list[str]) -> None:
    """Refuse numbers that change, but none of them for the network. Warns (`Unsuited`) where only
    some are so.
    """
    lost, changing = seen.lost()
    if not lost:
        return
    low, high = seen.raw[:, lost[0]].tolist()
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
    warnings.warn(
        f"{fact}: nothing can be learned from it; to mend it: {cure}", Unsuited, stacklevel=3
    )


class _Extremes:
    """The least and the greatest of each feature, as it came and as the network reads it."""

    def __init__(self, features: int) -> None:
        self.raw = np.array([[np.inf], [-np.inf]]).repeat(features, axis=1)  # 2 F
        self.scaled = self.raw.copy()

    def add(self, block: NDArray[Any], rows: torch.Tensor) -> None:
        """Take note of rows `[n, F]`."""
        for held, values in ((self.raw, block), (self.scaled, rows.double().numpy())):
            held[0] = np.minimum(held[0], values.min(axis=0))
            held[1] = np.maximum(held[1], values.max(axis=0))

    def lost(self) -> tuple[list[int], int]:
        """Return the features that change, but not for the network, and how many change at all."""
        changes = self.raw[1] > self.raw[0]
        lost = np.flatnonzero(changes & ~(self.scaled[1] > self.scaled[0]))
        return lost.tolist(), int(changes.sum())


@dataclass
class _Losses:
    """The losses of the rows before anything is learned: their sum, and the greatest with its
    place.
    """

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
    """Refuse numbers whose losses are finite, while their sum over a batch may not be. Raises
    `InputError` (RC042).

    A batch sums no more than so many of the greatest, and no more than all there are, as often as
    windows overlap.
    """
    sequence, batch = resolved.task.sequence, resolved.task.training.batch_size
    steps = batch * min(sequence.length, len(data.store))
    overlaps = min(batch, -(-sequence.length // (sequence.stride or sequence.length)))
    most = min(losses.greatest * steps, losses.total * overlaps)
    if most > torch.finfo(dtype).max:
        fact = (
            f"the loss reaches {losses.greatest:g} ({losses.place}), and the sum over a batch of"
            f" {steps} steps "
        )
        fact += f"is beyond all numbers of {dtype}"
        cure = 'another vocabulary.scale, device.precision = "float64", or other units'
        raise InputError.of("RC042", fact, key="loss", cure=cure)


def _lossy(
    loss: Loss[Any], rows: torch.Tensor, block: NDArray[Any], place: Callable[[int], str]
) -> NDArray[np.float64]:
    """Return the loss of each row. Raises `InputError` (RC042) where it is finite for others, but
    not for some.
    """
    training = loss.training
    try:
        with torch.no_grad():
            values = loss.eval()(rows.new_zeros(len(rows), loss.output_size), rows)
    finally:
        loss.train(training)
    wrong = ~torch.isfinite(values)
    if bool(wrong.any()) and not bool(wrong.all()):
        row = int(torch.nonzero(wrong)[0])
        fact = f"the loss of {block[row].tolist()} is {float(values[row]):g}: {place(row)}"
        raise InputError.of(
            "RC042", fact, key="loss", cure="another loss, or another vocabulary.scale"
        )
    return np.asarray(values.double().cpu().numpy(), np.float64)
