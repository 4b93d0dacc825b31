"""Windows, lanes and the batches made of them: one shape of batch for documents, streams, series
and ragged rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.target import Window
from recurra.data.answers import can_be_given
from recurra.data.chain import rows_of
from recurra.data.splits import Split
from recurra.data.store import Store
from recurra.randomness import numpy_stream
from recurra.shapes import Flags

Encode = Callable[[NDArray[Any]], NDArray[Any]]
"""Makes stored values into what the network reads: numbers are scaled here, ids stay."""

PLACED = 64
"""Batches whose windows are placed at a time: all of a huge corpus are too many to keep."""


NOTHING = torch.empty(0)
"""What undoing answers takes where nothing has been done to them."""


class Batch(NamedTuple):
    """One step's data. `x` and `y` are ids `[B, T]` or numbers `[B, T, F]`.

    `mask` `[B, T]` marks the steps that are scored, `reset` `[B, T]` those at which a new sequence
    begins, and `position` `[B]` is that of a row's first step in its own sequence. A row that is
    `fresh` `[B]` begins with the state that a network has before its first step, whatever was read
    before. `undo` `[B, T, 1 + O, F]`, where numbers have been transformed, holds what undoing each
    answer takes, and the answer in its own units; it stays on the CPU.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    reset: Tensor
    position: Tensor
    fresh: Tensor
    undo: Tensor = NOTHING

    @property
    def scored(self) -> int:
        """How many steps are scored."""
        return int(self.mask.sum())

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        moved = Batch(*(part.to(device, non_blocking=True) for part in self[:-1]))
        return moved._replace(undo=self.undo)


class Whole(NamedTuple):
    """Whole sequences, ids `[B, T]` or numbers `[B, T, F]`.

    `y` `[B]` or `[B, F]` is the answer to each, and `rows` `[B]` is its place among all.
    """

    x: Tensor
    y: Tensor
    steps: Tensor
    rows: Tensor

    @property
    def scored(self) -> int:
        """How many sequences are scored: all."""
        return len(self.y)

    def to(self, device: torch.device) -> Whole:
        """Return the sequences on a device."""
        return Whole(*(part.to(device, non_blocking=True) for part in self))


@dataclass(frozen=True)
class Reader:
    """Cuts batches from a store: rows that begin at given positions, each with its own number of
    steps.

    An answer lies `reach` steps past the one that gives it; those of `labels`, which are what is
    asked of whole sequences, ids `[n]`, `UNSEEN` where nothing can be answered, or scaled numbers
    `[n, F]`, belong to each step. Of the steps that have an answer those are scored that are
    `chosen`. Where numbers are transformed, `rows` holds what has become of them, with `origins`
    numbers of each feature to undo it, and the first `lag` elements of a sequence are the answer to
    nothing.
    """

    store: Store
    encode: Encode
    dtype: torch.dtype
    reach: int = 1
    labels: NDArray[Any] | None = None
    chosen: Callable[[Window], Flags | None] | None = None
    rows: Store | None = None
    origins: int = 0
    lag: int = 0

    def cut(
        self, first: NDArray[np.int64], steps: NDArray[np.int64], scored_from: NDArray[np.int64]
    ) -> Batch:
        """Return one batch: row i reads `first[i]` and on for `steps[i]` steps, and answers at
        each.

        A step is scored if its answer stands at or after `scored_from[i]` and belongs to the same
        sequence. Rows that are shorter than the longest are filled with their own last element, not
        scored.
        """
        width, reach = int(steps.max()), self.reach
        offsets = np.arange(width)
        # B T+r: a row's inputs, and after them its last answers.
        values = self._spans(first, width + reach)
        x, y = values[:, :width], values[:, reach:]
        inside = np.ones((len(first), width), bool)  # B T
        if steps.min() < width:
            inside = offsets < steps[:, None]
            x, y = (_filled(part, offsets, steps) for part in (x, y))
        mask, reset = inside.copy(), np.zeros_like(inside)
        begin = self.store.begin(first)
        reset[:, 0] = first == begin
        if (
            self.store.begin(first + steps) > first
        ).any():  # another sequence begins in a row, or right after it
            here = first[:, None] + offsets
            mask &= self.store.begin(here + reach) <= here
            reset = inside & self.store.begins(here)
        if self.lag > reach:
            answer = first[:, None] + offsets + reach
            mask &= answer >= self.store.begin(answer) + self.lag
        unscored = scored_from - first - reach  # B: steps before the first that counts
        if unscored.max() > 0:
            mask &= offsets >= unscored[:, None]
        if self.labels is not None:
            y = self.labels[self.store.sequence(first[:, None] + offsets)]
            mask &= can_be_given(y)
        fresh = torch.ones(len(first), dtype=torch.bool)
        read, answers, position = self._tensor(x), self._tensor(y), torch.from_numpy(first - begin)
        undo = NOTHING
        if self.rows is not None and self.labels is None:
            undo = torch.from_numpy(rows_of(y, self.origins)[:, :, 1:])
        scored = torch.from_numpy(mask)
        chosen = None if self.chosen is None else self.chosen(Window(read, answers, position))
        if chosen is not None:
            scored = scored & chosen
        return Batch(read, answers, scored, torch.from_numpy(reset), position, fresh, undo)

    def answerable(self, split: Split) -> NDArray[np.int64]:
        """Return the sequences of a split that have an answer."""
        assert self.labels is not None, (
            "what is asked of whole sequences stands in a column of its own"
        )
        rows = self.store.sequence(split.low)
        answerable: NDArray[np.int64] = rows[can_be_given(self.labels[rows])]
        return answerable

    def whole(self, rows: NDArray[np.int64]) -> Whole:
        """Return whole sequences side by side, filled up with their own last element to the
        longest.
        """
        first = self.store.starts[rows]
        steps = self.store.ends[rows] - first
        values = self._spans(first, int(steps.max()))
        if steps.min() < steps.max():
            values = _filled(values, np.arange(int(steps.max())), steps)
        assert self.labels is not None, (
            "what is asked of whole sequences stands in a column of its own"
        )
        answers = torch.from_numpy(self.labels[rows])
        if answers.is_floating_point():
            answers = answers.to(self.dtype)
        return Whole(self._tensor(values), answers, torch.from_numpy(steps), torch.from_numpy(rows))

    def read(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return of rows of a store of transformed numbers what the network reads."""
        return rows_of(values, self.origins)[..., 0, :]

    def _spans(self, first: NDArray[np.int64], count: int) -> NDArray[Any]:
        return (self.rows or self.store).spans(first, count)

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        """Return ids `[B, T]` as they are, and numbers `[B, T, F]` scaled, in memory of their
        own.
        """
        if values.ndim == 2:  # ids
            return torch.from_numpy(values.astype(np.int64))
        if self.rows is not None:
            return torch.from_numpy(self.read(values).copy()).to(self.dtype)
        flat = self.encode(values.copy().reshape(-1, values.shape[-1]))
        return torch.from_numpy(flat.reshape(*values.shape[:2], -1)).to(self.dtype)


def _filled(
    values: NDArray[Any], offsets: NDArray[np.int64], steps: NDArray[np.int64]
) -> NDArray[Any]:
    """Return rows in which what stands at a row's last step follows it to the end."""
    rows = np.arange(len(values))[:, None]
    filled: NDArray[Any] = values[rows, np.minimum(offsets, steps[:, None] - 1)]
    return filled


@dataclass(frozen=True)
class Windows:
    """Independent windows of a split: state starts afresh in each, and every epoch has an order of
    its own.

    `count` is how many there are.
    """

    reader: Reader
    low: NDArray[np.int64]  # the first element of each span that gives windows,
    high: NDArray[np.int64]  # the position after its last one,
    before: NDArray[np.int64]  # and how many windows the spans before it give
    count: int
    length: int
    stride: int
    batch_size: int
    seed: int

    @classmethod
    def of(
        cls, reader: Reader, split: Split, length: int, stride: int, batch_size: int, seed: int
    ) -> Windows:
        """Cut each span every `stride` steps; the last window of a span is as short as what is
        left.

        With a stride above the length, the steps between two windows are left out. What comes
        before the first answer of a sequence is read only as far as that answer takes.
        """
        stride = stride or length
        low = np.maximum(split.low, split.begin + max(0, split.lag - split.reach))
        targets = split.high - low - split.reach
        rows = np.flatnonzero(targets > 0)
        to_the_end = 1 + -(-np.maximum(targets[rows] - length, 0) // stride)
        # A window begins before the last target.
        counts = np.minimum(to_the_end, -(-targets[rows] // stride))
        before = np.cumsum(counts) - counts
        return cls(
            reader,
            low[rows],
            split.high[rows],
            before,
            int(counts.sum()),
            length,
            stride,
            batch_size,
            seed,
        )

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.count // self.batch_size)

    carried = False

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Give the batches of an epoch, without the first `skip`."""
        order = numpy_stream(self.seed, "shuffle", number).permutation(self.count)
        block = self.batch_size * PLACED
        for low in range(skip * self.batch_size, self.count, block):
            first, steps = self._places(order[low : low + block])
            for start in range(0, len(first), self.batch_size):
                rows = slice(start, start + self.batch_size)
                yield self.reader.cut(first[rows], steps[rows], first[rows])

    def _places(self, windows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where windows begin, and how many steps each has."""
        span = np.searchsorted(self.before, windows, side="right") - 1
        first = self.low[span] + (windows - self.before[span]) * self.stride
        return first, np.minimum(self.high[span] - self.reader.reach - first, self.length)


@dataclass(frozen=True)
class Lanes:
    """A stream cut into `batch_size` contiguous lanes; state goes on from batch to batch, from left
    to right.

    With the chance `restart` a lane begins a window with a fresh state, at the position where it
    stands. Without that a network would meet such states once an epoch, and unlearn how to begin.
    """

    reader: Reader
    low: int
    lane: int
    length: int
    batch_size: int
    restart: float = 0.0
    seed: int = 0

    @classmethod
    def of(
        cls,
        reader: Reader,
        split: Split,
        length: int,
        batch_size: int,
        restart: float = 0.0,
        seed: int = 0,
    ) -> Lanes:
        """Cut the training stretch of the store; what does not fill all lanes is left over at its
        end.
        """
        low, high = (int(split.low[0]), int(split.high[-1])) if len(split) else (0, 0)
        steps = max(high - low - split.reach, 0)
        return cls(reader, low, steps // batch_size, length, batch_size, restart, seed)

    @property
    def count(self) -> int:
        """How many windows there are, over all lanes."""
        return self.batches * self.batch_size

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.lane // self.length)

    carried = True

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Give the batches of an epoch, without the first `skip`; the first of all begins with
        fresh states.
        """
        begin = self.low + np.arange(self.batch_size) * self.lane
        for index in range(skip, self.batches):
            offset = index * self.length
            steps = np.full(self.batch_size, min(self.length, self.lane - offset))
            batch = self.reader.cut(begin + offset, steps, begin)
            if index == 0:
                batch.reset[:, 0] = True
            yield batch._replace(fresh=torch.from_numpy(self._fresh(number, index)))

    def _fresh(self, epoch: int, window: int) -> NDArray[np.bool_]:
        """Return which lanes begin a window afresh; it hangs on no earlier draw, so a resumed run
        draws the same.
        """
        if window == 0:
            return np.ones(self.batch_size, bool)
        if not self.restart:
            return np.zeros(self.batch_size, bool)
        return (
            numpy_stream(self.seed, "restart", epoch, window).random(self.batch_size) < self.restart
        )


@dataclass(frozen=True)
class Sequences:
    """Whole sequences of a split, of which each epoch has an order of its own, each batch of about
    the same length.

    They are shuffled, put in order of length within blocks of `PLACED` batches, and those batches
    shuffled again: so little of a batch is filling, and which sequences meet is left to chance.
    """

    reader: Reader
    rows: NDArray[np.int64]
    length: int
    batch_size: int
    seed: int

    @classmethod
    def of(cls, reader: Reader, split: Split, length: int, batch_size: int, seed: int) -> Sequences:
        """Take the sequences of a split that have an answer."""
        return cls(reader, reader.answerable(split), length, batch_size, seed)

    @property
    def count(self) -> int:
        """How many sequences there are."""
        return len(self.rows)

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.count // self.batch_size)

    carried = False

    def epoch(self, number: int, skip: int = 0) -> Iterator[Whole]:
        """Give the batches of an epoch, without the first `skip`."""
        stream = numpy_stream(self.seed, "shuffle", number)
        order = self.rows[stream.permutation(self.count)]
        steps = self.reader.store.ends[order] - self.reader.store.starts[order]
        block = self.batch_size * PLACED
        near = np.lexsort((steps, np.arange(len(order)) // block))
        full, rest = divmod(self.count, self.batch_size)
        places = stream.permutation(full)
        batches = [
            order[near[at * self.batch_size : (at + 1) * self.batch_size]] for at in places.tolist()
        ]
        if rest:
            batches.append(order[near[-rest:]])
        for rows in batches[skip:]:
            yield self.reader.whole(rows)


Feed = Windows | Lanes | Sequences
"""Where training takes its batches from."""
