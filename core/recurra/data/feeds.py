"""Windows, lanes and whole sequences: where training takes its batches from, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.data.batches import Batch, Reader, Whole
from recurra.data.splits import Split
from recurra.data.store import Ints
from recurra.randomness import numpy_stream
from recurra.world import World

PLACED = 64
"""Batches whose windows are placed at a time: all of a huge corpus are too many to keep."""


@dataclass(frozen=True)
class Windows:
    """Independent windows of a split: state starts afresh in each, each epoch has its own order.

    `count` is how many there are. Span i of those that give windows is `[low[i], high[i])`; the
    spans before it give `before[i]` windows. No answer of several elements goes past `until[i]`.
    Where the `last` origin of each span alone counts, it is the last step of the one window that
    there is. Of each batch a process of the `world` has its own rows, as wide as all of it.
    """

    reader: Reader
    low: Ints
    high: Ints
    before: Ints
    count: int
    length: int
    stride: int
    batch_size: int
    seed: int
    until: Ints
    last: bool = False
    world: World = field(default=World(), kw_only=True)

    @classmethod
    def of(
        cls, reader: Reader, split: Split, length: int, stride: int, batch_size: int, seed: int
    ) -> Windows:
        """Cut each span every `stride` steps; its last window is as short as what is left.

        With a stride above the length, the steps between two windows are left out. What comes
        before the first answer of a sequence is read only as far as that answer takes.
        """
        stride = stride or length
        unread = max(0, split.lag - split.reach)
        low, stops = np.maximum(split.low, split.begin + unread), split.stops
        if split.last:
            low = np.maximum(low, stops - split.reach - length)
        targets = stops - low - split.reach
        rows = np.flatnonzero(targets > 0)

        # Windows until one reaches the end; but a window begins before the last target.
        targets = targets[rows]
        past_the_first = np.maximum(targets - length, 0)
        to_the_end = 1 + -(-past_the_first // stride)
        counts = np.minimum(to_the_end, -(-targets // stride))

        before = np.cumsum(counts) - counts
        count = int(counts.sum())
        low, high, until = low[rows], stops[rows], split.high[rows]
        last = split.last
        return cls(reader, low, high, before, count, length, stride, batch_size, seed, until, last)

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.count // self.batch_size)

    carried = False

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Give the batches of an epoch, without the first `skip`."""
        stream = numpy_stream(self.seed, "shuffle", number)
        order = stream.permutation(self.count)
        block = self.batch_size * PLACED
        together = self.batch_size * self.reader.together(self.batch_size * self.length)

        for low in range(skip * self.batch_size, self.count, block):
            first, steps, until = self._places(order[low : low + block])
            asked = first + steps + self.reader.reach - 1 if self.last else first
            for start in range(0, len(first), together):
                rows = slice(start, start + together)
                yield from self._cut((first[rows], steps[rows], asked[rows], until[rows]))

    def _cut(self, spans: tuple[Ints, Ints, Ints, Ints]) -> Iterator[Batch]:
        """Cut spans into batches, all at once, and give of each the rows of this process."""
        _, steps, *_ = spans
        starts = range(0, len(steps), self.batch_size)
        batches = [range(len(steps))[start : start + self.batch_size] for start in starts]
        widths = [int(steps[rows.start : rows.stop].max()) for rows in batches]
        if self.world.size == 1:
            own, every = batches, self.reader.cut(*spans)
        elif self.reader.chosen is not None:
            # Which steps are scored may hang on all rows: of one batch, which is cut by itself.
            cut = self.reader.cut(*spans)
            yield cut.some(self.world.part(len(cut.x)))
            return
        else:
            own = [rows[self.world.part(len(rows))] for rows in batches]
            chosen = np.concatenate([np.arange(rows.start, rows.stop) for rows in own])
            some = chosen if len(chosen) else slice(1)
            at, of, asked, until = (span[some] for span in spans)
            every = self.reader.cut(at, of, asked, until, max(widths))
        yield from every.parts(
            [(len(rows), width) for rows, width in zip(own, widths, strict=True)]
        )

    def _places(self, windows: Ints) -> tuple[Ints, Ints, Ints]:
        """Return where windows begin, how many steps each has, and where answers end."""
        span = np.searchsorted(self.before, windows, side="right") - 1
        place = windows - self.before[span]
        first = self.low[span] + place * self.stride

        left = self.high[span] - self.reader.reach - first
        return first, np.minimum(left, self.length), self.until[span]


@dataclass(frozen=True)
class Lanes:
    """A stream cut into `batch_size` contiguous lanes, read side by side from left to right.

    State goes on from batch to batch. With the chance `restart` a lane begins a window with a fresh
    state, at the position where it stands. Without that a network would meet such states once an
    epoch, and unlearn how to begin. A process of the `world` has its own lanes.
    """

    reader: Reader
    low: int
    lane: int
    length: int
    batch_size: int
    restart: float = 0.0
    seed: int = 0
    until: int = 0
    world: World = field(default=World(), kw_only=True)

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
        """Cut the training stretch of the store; its end is left over if it does not fill lanes."""
        low = high = 0
        if len(split):
            low, high = int(split.low[0]), int(split.high[-1])
        steps = max(high - low - split.reach, 0)
        lane = steps // batch_size
        return cls(reader, low, lane, length, batch_size, restart, seed, high)

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
        """Give the batches of an epoch, without the first `skip`.

        The first of all begins with fresh states.
        """
        own = self.world.part(self.batch_size)
        # Which steps are scored may hang on all rows.
        cut, some = (own, slice(None)) if self.reader.chosen is None else (slice(None), own)
        begin = (self.low + np.arange(self.batch_size) * self.lane)[cut]
        for index in range(skip, self.batches):
            offset = index * self.length
            length = min(self.length, self.lane - offset)
            steps = np.full(len(begin), length)
            until = np.full(len(begin), self.until)
            batch = self.reader.cut(begin + offset, steps, begin, until)
            if self.world.size > 1:
                batch = batch.some(some)

            if index == 0:
                batch.reset[:, 0] = True
            fresh = self._fresh(number, index)[own]
            yield batch._replace(fresh=torch.from_numpy(fresh))

    def _fresh(self, epoch: int, window: int) -> NDArray[np.bool_]:
        """Return which lanes begin a window afresh.

        It hangs on no earlier draw, so a resumed run draws the same.
        """
        if window == 0:
            return np.ones(self.batch_size, bool)
        if not self.restart:
            return np.zeros(self.batch_size, bool)
        stream = numpy_stream(self.seed, "restart", epoch, window)
        return stream.random(self.batch_size) < self.restart


@dataclass(frozen=True)
class Sequences:
    """Whole sequences of a split: each epoch has its own order, each batch about one length.

    They are shuffled, put in order of length within blocks of `PLACED` batches, and those batches
    shuffled again: so little of a batch is filling, and which sequences meet is left to chance. Of
    each batch a process of the `world` has its own rows, as wide as all of it.
    """

    reader: Reader
    rows: Ints
    length: int
    batch_size: int
    seed: int
    world: World = field(default=World(), kw_only=True)

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

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch | Whole]:
        """Give the batches of an epoch, without the first `skip`."""
        stream = numpy_stream(self.seed, "shuffle", number)
        order = self.rows[stream.permutation(self.count)]
        store = self.reader.store
        steps = store.ends[order] - store.starts[order]

        # By block first, and within a block by length.
        block = np.arange(self.count) // (self.batch_size * PLACED)
        order = order[np.lexsort((steps, block))]

        # Full batches come in an order of chance, and after them what is left.
        full, rest = divmod(self.count, self.batch_size)
        places = stream.permutation(full).tolist()
        if rest:
            places.append(full)
        for place in places[skip:]:
            start = place * self.batch_size
            yield self.batch(order[start : start + self.batch_size])

    def batch(self, rows: Ints) -> Batch | Whole:
        """Return of some sequences those of this process."""
        if self.world.size == 1:
            return self.reader.whole(rows)
        part = self.world.part(len(rows))
        own = rows[part]
        # One that is none of its own shows a process without any how wide they are.
        return self.reader.whole(own if len(own) else rows[:1], rows).some(slice(len(own)))


@dataclass(frozen=True)
class Answered(Sequences):
    """Whole sequences, each with an answer behind it, whose symbols are scored and nothing else.

    `asked` is where the answer begins to each sequence of the split. The last symbol, the mark of
    its end, is answered and never read.
    """

    asked: Ints

    @classmethod
    def of(cls, reader: Reader, split: Split, length: int, batch_size: int, seed: int) -> Answered:
        """Take the sequences of a split."""
        store = reader.store
        rows = store.sequence(split.begin)
        asked = np.zeros(len(store.starts), np.int64)
        asked[rows] = split.low
        return cls(reader, rows, length, batch_size, seed, asked)

    def batch(self, rows: Ints) -> Batch:
        """Return those of this process, up to the step that answers with the end."""
        store = self.reader.store
        first = store.starts[rows]
        steps, asked = store.ends[rows] - first - 1, self.asked[rows]
        if self.world.size == 1:
            return self.reader.cut(first, steps, asked)
        part = self.world.part(len(rows))
        if self.reader.chosen is not None:
            return self.reader.cut(first, steps, asked).some(part)
        count = part.stop - part.start
        part = part if count else slice(1)
        own = first[part], steps[part], asked[part]
        return self.reader.cut(*own, width=int(steps.max())).some(slice(count))


Feed: TypeAlias = Windows | Lanes | Sequences
"""Where training takes its batches from."""
