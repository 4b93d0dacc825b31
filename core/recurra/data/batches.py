"""Batches, and what cuts them from a store.

One shape of batch serves documents, streams, series and ragged rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.target import Past, Window
from recurra.data.answers import can_be_given
from recurra.data.chain import rows_of
from recurra.data.companions import Companions
from recurra.data.counts import Counts
from recurra.data.outlook import Outlook, Told, series
from recurra.data.splits import Split
from recurra.data.store import Array, Ints, Store
from recurra.shapes import Flags

Encode: TypeAlias = Callable[[Array], Array]
"""Makes stored values into what the network reads: numbers are scaled here, ids stay."""

NOTHING = torch.empty(0)
"""What undoing answers takes where nothing has been done to them."""
TOGETHER = 1 << 16
"""Numbers of batches that are cut at once, about: a cut has a price of its own."""

OF_STEPS = ("x", "y", "mask", "reset", "scale", "undo")
"""The parts of a batch that have an axis of steps, and one step for each of `x`."""


class Batch(NamedTuple):
    """One step's data. `x` and `y` are ids `[B, T]` or numbers `[B, T, F]`.

    `mask` `[B, T]` marks the steps that are scored, `reset` `[B, T]` those at which a new sequence
    begins, and `position` `[B]` is that of a row's first step in its own sequence. A row that is
    `fresh` `[B]` begins with the state that a network has before its first step, whatever was read
    before. Row i has `lengths[i]` steps, of which the one at `first[i]` of the corpus is the first,
    and behind them it is filled. `undo` `[B, T, 1 + O, F]`, where numbers have been transformed,
    holds what undoing each answer takes, and the answer in its own units; it stays on the CPU.

    Where a step is answered by H elements, `y` is `[B, T, H, F]`, `mask` `[B, T, H]`, and `undo`
    has an axis more too, as `Told` says. What is known beforehand of the steps after the first of
    a row, `coming` `[B, T + H - 1, Q]`, is read with the answers: `ahead` gives it to each step.
    Where answers are counted, `scale` is what 1 is in counts for each, in the shape of `y`.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    reset: Tensor
    position: Tensor
    fresh: Tensor
    lengths: Tensor
    first: Tensor
    coming: Tensor = NOTHING
    scale: Tensor = NOTHING
    undo: Tensor = NOTHING

    @property
    def scored(self) -> int:
        """How many answers are scored."""
        return int(self.mask.sum())

    @property
    def answers(self) -> Tensor:
        """Those that are scored, `[N]` or `[N, F]`."""
        return self.y[self.mask]

    def windows(self, length: int) -> Iterator[Batch]:
        """Give the steps in windows of a length, one after the other."""
        further = max(0, self.coming.shape[-2] - self.x.shape[1]) if len(self.coming) else 0
        for start in range(0, self.x.shape[1], length):
            steps = slice(start, start + length)
            coming = self.coming
            if len(coming):
                coming = coming[:, start : start + length + further]
            yield self._replace(
                coming=coming,
                scale=self.scale[:, steps] if len(self.scale) else self.scale,
                x=self.x[:, steps],
                y=self.y[:, steps],
                mask=self.mask[:, steps],
                reset=self.reset[:, steps],
                position=self.position + start,
                lengths=(self.lengths - start).clamp(min=1),
                first=self.first + start,
            )

    def parts(self, shapes: Sequence[tuple[int, int]]) -> Iterator[Batch]:
        """Give so many rows of so many steps at a time, as if they had been cut by themselves."""
        further = self.coming.shape[1] - self.x.shape[1] if len(self.coming) else 0
        start = 0
        for rows, width in shapes:
            own = self if rows == len(self.x) else self.some(slice(start, start + rows))
            start += rows
            if width == self.x.shape[1]:
                yield own
                continue
            cut = {name: _narrow(getattr(own, name), width) for name in OF_STEPS}
            yield own._replace(**cut, coming=_narrow(own.coming, width + further))

    def some(self, rows: slice) -> Batch:
        """Return some rows."""
        return Batch(*(part[rows] for part in self))

    def ahead(self) -> Tensor | None:
        """Return what is known beforehand of the steps ahead of each, `[B, T, H, Q]`, a view."""
        if not len(self.coming):
            return None
        return self.coming.unfold(1, self.y.shape[2], 1).transpose(-1, -2)

    def counted(self) -> Tensor | None:
        """Return what 1 is in counts for each answer, where they are counted."""
        return self.scale if len(self.scale) else None

    def places(self) -> Tensor:
        """Return where each scored answer of evaluation stands, `[N, 2]`: its sequence, its step.

        Of H elements that answer one step it is `[N, 3]`: which of them it is comes then, from 1.
        """
        steps = torch.arange(self.mask.shape[1], device=self.mask.device)
        position = self.position[:, None] + steps
        start = (self.first - self.position)[:, None].expand_as(position)
        if self.mask.dim() == 2:
            return torch.stack([start, position], dim=-1)[self.mask]
        ahead = torch.arange(1, self.mask.shape[2] + 1, device=self.mask.device)
        each = [part[..., None].expand_as(self.mask) for part in (start, position)]
        return torch.stack([*each, ahead.expand_as(self.mask)], dim=-1)[self.mask]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        moved = Batch(*(part.to(device, non_blocking=True) for part in self[:-1]))
        return moved._replace(undo=self.undo)


class Whole(NamedTuple):
    """Whole sequences: ids `[B, T]` or numbers `[B, T, F]`.

    `y` `[B]` or `[B, F]` is the answer to each, `steps` its length, and `rows` its place in the
    data. `among` `[A]` has the lengths of all the sequences of a batch, where these are a part.
    """

    x: Tensor
    y: Tensor
    steps: Tensor
    rows: Tensor
    among: Tensor = NOTHING

    def some(self, rows: slice) -> Whole:
        """Return some sequences."""
        return Whole(self.x[rows], self.y[rows], self.steps[rows], self.rows[rows], self.among)

    @property
    def scored(self) -> int:
        """How many sequences are scored: all."""
        return len(self.y)

    @property
    def answers(self) -> Tensor:
        """Those that are scored, `[B]` or `[B, F]`: all."""
        return self.y

    def to(self, device: torch.device) -> Whole:
        """Return the sequences on a device."""
        return Whole(*(part.to(device, non_blocking=True) for part in self))


@dataclass(frozen=True)
class Reader:
    """Cuts batches from a store: each row begins at a position and has a number of steps.

    An answer lies `reach` steps past the one that gives it. Those of `labels`, what is asked of
    whole sequences, belong to each step: ids `[n]`, `UNSEEN` where nothing can be answered, or
    scaled numbers `[n, F]`. Where each element has a tag, `codes` tells for each which of the
    `labels` it is. Of the steps that have an answer those are scored that are `chosen`.
    Where numbers are transformed, `rows` holds what has become of them, with `origins` numbers of
    each feature to undo it, and the first `lag` elements of a sequence are the answer to nothing.
    Where numbers may be missing, what the network reads of whether those of the columns `flags`
    came stands behind them, and `carried` holds what came last for each in the data's own units.
    With an `outlook` a step is answered by several elements at once.
    Its `companions` are read beside each element. With `counts` answers are counted.
    """

    store: Store
    encode: Encode
    dtype: torch.dtype
    reach: int = 1
    labels: Array | None = None
    codes: Store | None = None
    chosen: Callable[[Window], Flags | None] | None = None
    rows: Store | None = None
    origins: int = 0
    lag: int = 0
    flags: Sequence[int] = ()
    carried: Store | None = None
    outlook: Outlook | None = None
    companions: Companions | None = None
    counts: Counts | None = None

    def cut(
        self,
        first: Ints,
        steps: Ints,
        scored_from: Ints,
        until: Ints | None = None,
        width: int = 0,
    ) -> Batch:
        """Return one batch: row i reads `steps[i]` steps from `first[i]` on, and answers at each.

        A step is scored if its answer stands at or after `scored_from[i]` and belongs to the same
        sequence; where it is answered by several elements, so are those of them that stand before
        `until[i]`. Rows that are shorter than the longest, or than a `width`, are filled with their
        own last element, not scored.
        """
        width = max(int(steps.max()), width)
        reach = self.reach
        offsets = np.arange(width)
        # B T+r: a row's inputs, and after them its last answers.
        more = 0 if self.outlook is None else self.outlook.steps - 1
        values = self._spans(first, width + reach + more)
        x = values[:, :width]
        y = following = values[:, reach:]

        inside = np.ones((len(first), width), bool)  # B T
        if steps.min() < width:
            inside = offsets < steps[:, None]
            x = _filled(x, offsets, steps)
            y = _filled(y, offsets, steps)

        mask = inside.copy()
        reset = np.zeros_like(inside)
        begin = self.store.begin(first)
        reset[:, 0] = first == begin
        stop = first + steps
        if (self.store.begin(stop) > first).any():
            # Another sequence begins in a row, or right after it: no step is answered by an element
            # of the next sequence.
            here = first[:, None] + offsets
            mask &= self.store.begin(here + reach) <= here
            reset = inside & self.store.begins(here)

        if self.lag > reach:
            answer = first[:, None] + offsets + reach
            mask &= answer >= self.store.begin(answer) + self.lag
        # B: steps before the first that counts.
        unscored = scored_from - first - reach
        if unscored.max() > 0:
            mask &= offsets >= unscored[:, None]
        if self.labels is not None:
            y = self.labels[self._labelled(first, offsets)]
            mask &= can_be_given(y)
            if self.codes is not None:
                y = _filled(y, offsets, steps)

        fresh = torch.ones(len(first), dtype=torch.bool)
        inputs = self._accompanied(self._inputs(x), first, steps)
        position = torch.from_numpy(first - begin)
        undo = coming = NOTHING
        if self.outlook is not None:
            coming = self._coming(self.outlook, first, width)
            origins = first[:, None] + np.minimum(offsets, steps[:, None] - 1)
            told = self._told(self.outlook, following, origins)
            answers = torch.from_numpy(told.answers).to(self.dtype)
            undo = torch.from_numpy(told.undo)
            mask = mask[:, :, None] & self._before(origins, until)
            mask &= _some_came(answers)
        elif self.labels is not None:
            answers = self._answer(y)
        else:
            answers = self._tensor(y)
            if self.rows is not None:
                rows = rows_of(y, self.origins)
                undo = torch.from_numpy(rows[:, :, 1:])
                answers = torch.where(undo[:, :, -1].isnan(), torch.nan, answers)
                mask &= _some_came(answers)

        scored = torch.from_numpy(mask)
        if self.chosen is not None:
            chosen = self.chosen(Window(inputs, answers, position))
            if chosen is not None:
                scored = scored & (chosen if self.outlook is None else chosen[..., None])
        begins = torch.from_numpy(reset)
        ends, at = (torch.from_numpy(np.asarray(part, np.int64)) for part in (steps, first))
        scale = NOTHING if self.counts is None else self.counts.scale(answers, undo)
        parts = inputs, answers, scored, begins, position, fresh, ends, at
        return Batch(*parts, coming=coming, scale=scale, undo=undo)

    def together(self, steps: int) -> int:
        """Return how many batches of so many steps in all are cut at once, at most.

        Where it is asked which steps are scored, that may hang on what else is in a batch.
        """
        if self.chosen is not None:
            return 1
        numbers = int(np.prod((self.rows or self.store).values.shape[1:]))
        if self.outlook is not None:
            numbers *= 1 + self.outlook.steps
        return max(1, TOGETHER // (steps * numbers))

    def _coming(self, outlook: Outlook, first: Ints, width: int) -> Tensor:
        """Return what is known beforehand of the steps ahead of windows, if anything is."""
        if self.companions is None or not self.companions.vocabulary.coming:
            return NOTHING
        coming = self.companions.coming(first, width + outlook.steps - 1)
        return torch.from_numpy(coming).to(self.dtype)

    def _told(self, outlook: Outlook, following: Array, at: Ints) -> Told:
        """Return the answers to the steps `at` `[B, T]` of windows, `[B, T, H, F]`.

        `following` holds what comes after the first step of each row.
        """
        rows, width = at.shape
        ahead = np.arange(outlook.steps)
        places = np.arange(width)[:, None] + ahead  # T H: among what comes after the first step
        origins: Array = np.zeros((rows, width, outlook.steps, 0, outlook.chain.vocabulary.size))
        own = following
        if self.rows is not None:
            parts = rows_of(following, self.origins)
            own, all_origins = parts[:, :, -1], parts[:, :, 1:-1]
            turns = np.arange(width)[:, None, None] + outlook.chain.turns(outlook.steps)
            origins = all_origins[:, turns, np.arange(self.origins)]  # B T H O F

        def together(values: Array) -> Array:
            return values.reshape(rows * width, *values.shape[2:])

        read = series(self.carried or self.store, self.rows, self.origins, outlook.chain)
        past = Past(
            read=read,
            begin=self.store.begin(at).ravel(),
            at=at.ravel(),
            steps=outlook.steps,
            season=outlook.season,
        )
        told = outlook.told(together(own[:, places]), together(origins), past)
        return Told(*(part.reshape(rows, width, *part.shape[1:]) for part in told))

    def _before(self, at: Ints, until: Ints | None) -> NDArray[np.bool_]:
        """Return which of the elements ahead of steps `at` `[B, T]` can answer them, `[B, T, H]`.

        They are of its sequence, and stand before `until` `[B]`.
        """
        assert self.outlook is not None, "a step is answered by several elements"
        stop = self.store.ends[self.store.sequence(at)]
        if until is not None:
            stop = np.minimum(stop, until[:, None])
        answers = at[:, :, None] + self.reach + np.arange(self.outlook.steps)
        return np.asarray(answers < stop[:, :, None])

    def _labelled(self, first: Ints, offsets: Ints) -> Ints:
        """Return which of the labels answers each step, `[B, T]`."""
        if self.codes is None:
            return self.store.sequence(first[:, None] + offsets)
        return self.codes.spans(first + self.reach, len(offsets)).astype(np.int64)

    def answerable(self, split: Split) -> Ints:
        """Return the sequences of a split that have an answer."""
        rows = self.store.sequence(split.low)
        labels = self._labels[rows]
        answerable: Ints = rows[can_be_given(labels)]
        return answerable

    def whole(self, rows: Ints, among: Ints | None = None) -> Whole:
        """Return whole sequences side by side.

        Each is filled up with its own last element to the length of the longest: of all sequences
        of the batch, where these are `among` others.
        """
        first = self.store.starts[rows]
        steps = self.store.ends[rows] - first
        longest = int(steps.max())
        lengths = NOTHING
        if among is not None:
            of_all = self.store.ends[among] - self.store.starts[among]
            longest, lengths = int(of_all.max()), torch.from_numpy(of_all)
        values = self._spans(first, longest)
        if steps.min() < longest:
            values = _filled(values, np.arange(longest), steps)

        inputs = self._accompanied(self._inputs(values), first, steps)
        answers = self._answer(self._labels[rows])
        parts = inputs, answers, torch.from_numpy(steps), torch.from_numpy(rows)
        return Whole(*parts, lengths)

    def _accompanied(self, inputs: Tensor, first: Ints, steps: Ints) -> Tensor:
        """Return what is read of windows `[B, T, ...]` with their covariates, if there are any."""
        if self.companions is None:
            return inputs
        width = inputs.shape[1]
        beside: Array = self.companions.window(first, width)
        if steps.min() < width:
            beside = _filled(beside, np.arange(width), steps)
        return torch.cat([inputs, torch.from_numpy(beside).to(self.dtype)], dim=-1)

    @property
    def _labels(self) -> Array:
        assert self.labels is not None, (
            "what is asked of whole sequences stands in a column of its own"
        )
        return self.labels

    def _answer(self, labels: Array) -> Tensor:
        """Return answers to sequences: ids as they are, numbers in the type of the network."""
        answers = torch.from_numpy(labels)
        return answers.to(self.dtype) if answers.is_floating_point() else answers

    def read(self, values: Array) -> Array:
        """Return of rows of a store of transformed numbers what the network reads."""
        return rows_of(values, self.origins)[..., 0, :]

    def _spans(self, first: Ints, count: int) -> Array:
        return (self.rows or self.store).spans(first, count)

    def _inputs(self, values: Array) -> Tensor:
        """Return what the network reads of elements, with what it reads of which are missing."""
        read = self._tensor(values)
        if not self.flags:
            return read
        came = ~np.isnan(rows_of(values, self.origins)[..., -1, :])
        flags = torch.from_numpy(came[..., list(self.flags)])
        return torch.cat([read, flags.to(self.dtype)], dim=-1)

    def _tensor(self, values: Array) -> Tensor:
        """Return ids `[B, T]` as they are, numbers `[B, T, F]` scaled, in memory of their own."""
        if values.ndim == 2:  # ids
            return torch.from_numpy(values.astype(np.int64))
        if self.rows is not None:
            return torch.from_numpy(self.read(values).copy()).to(self.dtype)

        rows, steps, features = values.shape
        flat = self.encode(values.copy().reshape(-1, features))
        scaled = flat.reshape(rows, steps, -1)
        return torch.from_numpy(scaled).to(self.dtype)


def _some_came(answers: Tensor) -> NDArray[np.bool_]:
    """Return which answers `[..., F]` are not missing as a whole."""
    return np.asarray(~answers.isnan().all(dim=-1).numpy())


def _narrow(part: Tensor, width: int) -> Tensor:
    """Return the first steps of a part of a batch, in memory of their own, if it is there."""
    return part[:, :width].contiguous() if len(part) else part


def _filled(values: Array, offsets: Ints, steps: Ints) -> Array:
    """Return rows in which what stands at a row's last step follows it to the end."""
    short = np.flatnonzero(steps < len(offsets))
    last = steps[short, None] - 1
    filled: Array = values[:, : len(offsets)].copy()
    filled[short] = values[short[:, None], np.minimum(offsets, last)]
    return filled
