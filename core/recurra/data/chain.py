"""The transforms of a task's numbers, series by series: between their scale and the network.

A row goes through the scale of the vocabulary, which has no state, and then through each transform,
which carries one along its series; behind the network all of it is undone. What a row needs to be
undone, its origins, hangs on nothing but the rows before it; so an answer of the network is undone
alike whether the true rows came before it, in evaluation, or its own, in a forecast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.source import Piece
from recurra.contracts.transform import Floats, Transform
from recurra.contracts.vocabulary import Element, Values, Vocabulary
from recurra.data import intake, missing
from recurra.data.blocks import blocks, of_spans
from recurra.data.corpus import collected
from recurra.data.splits import Split
from recurra.data.store import Array, Ints, Store
from recurra.errors import InputError

KNOWN = 1 << 16
"""Rows of a series that a transform may see before it begins: the last of what is known of it."""

States: TypeAlias = list[Floats]
"""The state of each transform."""
History: TypeAlias = Callable[[int], Array]
"""Gives what is known of a sequence, by its place, before it begins."""


class Chain:
    """A vocabulary of numbers with the transforms that follow it; for most there are none.

    `lag` is how many rows at the beginning of a series have no value, and `width` how many numbers
    of each feature undoing a row takes. Where numbers may be missing, what came last stands for
    them, and `flags` are the columns of which the network reads whether they came.
    """

    def __init__(self, vocabulary: Vocabulary[Any]) -> None:
        self.vocabulary = vocabulary
        self.steps = tuple(vocabulary.transforms()) if callable(vocabulary.transforms) else ()
        self.lag = self.lag_before(len(self.steps))
        self.width = sum(step.width for step in self.steps)
        # Whether rows may lack numbers; then what came last of each column is the first state.
        self.carries = vocabulary.missing is not None
        self.flags = list(vocabulary.missing or ())

    def __bool__(self) -> bool:
        return bool(self.steps) or self.carries

    def lag_before(self, index: int, features: Sequence[int] | None = None) -> int:
        """Return how many rows of a series have no value before a transform.

        It is the most of any of some features, or of all.
        """
        steps = self.steps[:index]
        own: Counter[int] = Counter()
        for step in steps:
            for place in step.features or ():
                own[place] += step.lag
        asked = own if features is None else features
        common = sum(step.lag for step in steps if step.features is None)
        return common + max((own[place] for place in asked), default=0)

    @property
    def by_series(self) -> bool:
        """Whether a series must be known in part before it begins."""
        return any(step.by_series for step in self.steps)

    def fit(self, store: Store, train: Split) -> None:
        """Learn from the rows of training, one transform after the other."""
        for index, step in enumerate(self.steps):
            step.fit(self._reaching(index, store, train))

    def _reaching(self, index: int, store: Store, train: Split) -> Iterator[Floats]:
        """Give the rows of training that reach a transform, series after series in blocks.

        They are those with a value alone: the transforms before it have none for their first rows.
        """
        features = self.steps[index].features
        lag = self.lag_before(index, features)
        for low, high in zip(train.low.tolist(), train.high.tolist(), strict=True):
            first = max(low, high - KNOWN)
            history = self.scaled(store.values[first:high])
            states = self.start(history, index)

            for span in blocks(low, high):
                block = self.scaled(store.values[span])
                rows, age, states = self._through(block, states)
                if self.carries:
                    # What is missing is nothing to learn from, nor what has no value yet.
                    rows = np.where(np.isnan(block) | (age <= lag), np.nan, rows)
                yield part_of(rows, features)[max(0, low + lag - span.start) :]

    def scaled(self, rows: Array) -> Floats:
        """Return rows `[n, F]` in the data's own units as the vocabulary scales them."""
        return np.asarray(self.vocabulary.encode(np.array(rows)), np.float64)

    def start(self, history: Floats, count: int | None = None) -> States:
        """Return the states before the first row of a series, of which scaled rows are known.

        They are those of all transforms, or of the first `count`, behind which others are not
        fitted yet.
        """
        fresh = missing.begun(history.shape[1])
        states: States = [fresh] if self.carries else []
        history = history[-KNOWN:]
        filled, came, age = history, ~np.isnan(history), np.ones(history.shape)
        if self.carries:
            filled, age, _ = missing.carry(history, fresh)
        for index, step in enumerate(self.steps[:count]):
            # Of what the transform before made, it sees what has a value.
            lag = self.lag_before(index, step.features)
            state = step.start(part_of(history, step.features)[lag:])
            states.append(state)
            rows, _ = step.apply(part_of(filled, step.features)[lag:], state)
            if step.features is None:
                filled = np.concatenate([filled[:lag], rows])
            else:
                filled = filled.copy()
                filled[lag:, step.features] = rows
            history = filled
            if self.carries:
                lags = [self.lag_before(index + 1, [place]) for place in range(came.shape[1])]
                history = np.where(came & (age > np.array(lags)), filled, np.nan)
        return states

    def _carried(self, rows: Floats, states: States) -> tuple[Floats, States]:
        """Return scaled rows with nothing missing, and the states of the transforms."""
        if not self.carries:
            return rows, states
        return missing.carry(rows, states[0]).rows, states[1:]

    def carried(self, rows: Floats, states: States) -> Floats:
        """Return scaled rows with what came last for what is missing."""
        return self._carried(rows, states)[0]

    def _age(self, rows: Floats, states: States) -> Floats:
        """Return how many rows have come since the first number of each column, `[n, F]`."""
        return missing.carry(rows, states[0]).age if self.carries else np.ones(rows.shape)

    def _through(self, rows: Floats, states: States) -> tuple[Floats, Floats, States]:
        """Return what is made of scaled rows, their ages as `_age` says, and the states after."""
        after: States = []
        age = np.ones(rows.shape)
        if self.carries:
            rows, age, state = missing.carry(rows, states[0])
            after, states = [state], states[1:]
        for step, state in zip(self.steps, states, strict=False):
            part, state = step.apply(part_of(rows, step.features), state)
            rows = with_part(rows, step.features, part)
            after.append(state)
        return rows, age, after

    def came(self, rows: Floats, states: States) -> NDArray[np.bool_]:
        """Return which numbers of scaled rows `[n, F]` came, and have a value."""
        return ~np.isnan(rows) & (self._age(rows, states) > self.lag)

    def flagged(self, came: NDArray[np.bool_]) -> Floats:
        """Return what the network reads of which numbers `[..., F]` came, `[..., M]`."""
        return came[..., self.flags].astype(np.float64)

    def apply(self, rows: Floats, states: States, before: int) -> tuple[Floats, States]:
        """Return what the network reads for scaled rows `[n, F]`, and the states after them.

        `before` rows came; the first `lag` of a series have no value, and are read as 0.
        """
        read, age, after = self._through(rows, states)
        if self.carries:
            read = np.where(age <= self.lag, 0.0, read)
        if before < self.lag:
            read = read.copy()
            read[: self.lag - before] = 0.0
        return read, after

    def origins(self, rows: Floats, states: States) -> Floats:
        """Return what undoing scaled rows `[n, F]` takes, `[n + 1, width, F]`.

        The last is that of the row which comes after them.
        """
        rows, states = self._carried(rows, states)
        parts = [np.zeros((len(rows) + 1, 0, rows.shape[1]))]
        last = len(self.steps) - 1
        for index, (step, state) in enumerate(zip(self.steps, states, strict=True)):
            part = part_of(rows, step.features)
            parts.append(self._spread(step, step.origins(part, state)))
            if index < last:  # nobody sees what the last one makes of them
                part, _ = step.apply(part, state)
                rows = with_part(rows, step.features, part)
        return np.concatenate(parts, axis=1)

    def _spread(self, step: Transform, origins: Floats) -> Floats:
        """Return the origins of a transform in the places of its features, and 0 in the others."""
        if step.features is None:
            return origins
        every = np.zeros((*origins.shape[:2], self.vocabulary.size))
        every[:, :, step.features] = origins
        return every

    def undone(self, rows: Floats, origins: Floats) -> Floats:
        """Return the scaled rows `[n, F]` of rows of the network, by their origins `[n, width, F]`.

        The last transform is undone first; its origins stand last.
        """
        end = self.width
        # Infinite is what it is, and whoever reads it says so.
        with np.errstate(over="ignore", invalid="ignore"):
            for step in reversed(self.steps):
                begin = end - step.width
                own = part_of(origins[:, begin:end], step.features)
                part = step.invert(part_of(rows, step.features), own)
                rows = with_part(rows, step.features, part)
                end = begin
        return rows

    def lacks_ahead(self) -> str:
        """Return the first of its transforms by which no rows are answered several at once."""
        for step in self.steps:
            if type(step).against is Transform.against:
                return str(step)
        return ""

    def against(self, rows: Floats, origins: Floats) -> Floats:
        """Return what scaled rows `[n, F]` become by their origins `[n, width, F]`.

        `undone` undoes it.
        """
        begin = 0
        for step in self.steps:
            end = begin + step.width
            own = part_of(origins[:, begin:end], step.features)
            part = step.against(part_of(rows, step.features), own)
            rows = with_part(rows, step.features, part)
            begin = end
        return rows

    def turns(self, steps: int) -> Array:
        """Return by which row's origins each step ahead is told, `[steps, width]`.

        Row 0 is the one after the origin.
        """
        ahead = np.arange(steps)
        turns = [ahead % step.period for step in self.steps for _ in range(step.width)]
        return np.stack(turns, axis=1) if turns else np.zeros((steps, 0), np.int64)

    def origins_ahead(self, states: States, steps: int) -> Floats:
        """Return the origins of the `steps` rows after a series, `[steps, width, F]`."""
        turn = np.arange(steps)
        parts = [np.zeros((steps, 0, self.vocabulary.size))]
        states = states[1:] if self.carries else states
        for step, state in zip(self.steps, states, strict=True):
            # What these rows are does not count: their origins do not hang on them.
            rows = part_of(np.zeros((step.period - 1, self.vocabulary.size)), step.features)
            own = step.origins(rows, state)[turn % step.period]
            parts.append(self._spread(step, own))
        return np.concatenate(parts, axis=1)

    def origins_each(self, states: States) -> Floats:
        """Return the origins `[B, width, F]` of the next row of B series.

        Each of the states is `[B, S, F]`.
        """
        states = states[1:] if self.carries else states
        parts = [np.zeros((len(states[0]) if states else 1, 0, self.vocabulary.size))]
        for step, state in zip(self.steps, states, strict=True):
            parts.append(self._spread(step, step.origins_each(state)))
        return np.concatenate(parts, axis=1)

    def after_each(self, rows: Floats, states: States) -> States:
        """Return the states of B series after the next scaled row of each, `[B, F]`."""
        after: States = []
        if self.carries:
            # What is said is never missing.
            after.append(np.stack([rows, states[0][:, 1] + 1], axis=1))
            states = states[1:]
        for step, state in zip(self.steps, states, strict=True):
            part, state = step.apply_each(part_of(rows, step.features), state)
            rows = with_part(rows, step.features, part)
            after.append(state)
        return after

    def invert(self, rows: Floats, origins: Floats) -> Floats:
        """Return rows `[n, F]` of the network in the data's own units.

        `origins` `[n, width, F]` are theirs.
        """
        scaled = self.undone(rows, origins)
        return np.asarray(self.vocabulary.decode(scaled), np.float64)

    def forecast(self, values: Array, point: Array) -> Floats:
        """Return answers of the network to rows `[n, F]`, both in the data's own units.

        Each answer is about the row after.
        """
        rows = self.scaled(values)
        if not self.steps:
            return self.invert(point, rows)
        origins = self.origins(rows, self.start(rows))
        return self.invert(point, origins[1:])

    def own(self, output: Tensor, undo: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions `[N, F]` and what came, in the data's own units.

        `undo` is that of a batch.
        """
        rows = output.cpu().double().numpy()
        origins = undo[:, :-1].numpy()
        predicted = self.invert(rows, origins)
        return torch.from_numpy(predicted), undo[:, -1]


def part_of(rows: Floats, features: Sequence[int] | None) -> Floats:
    """Return the columns of some features `[..., F]`, or the rows themselves where it is of all."""
    return rows if features is None else np.take(rows, np.asarray(features), axis=-1)


def with_part(rows: Floats, features: Sequence[int] | None, part: Floats) -> Floats:
    """Return rows `[n, F]` in which the columns of some features, or all, are others."""
    if features is None:
        return part
    rows = rows.copy()
    rows[:, features] = part
    return rows


def rows_of(values: Array, width: int) -> Array:
    """Return the rows of a store of transformed numbers, `[..., 1 + width + 1, F]`.

    First stands what the network reads, then its origins, then the number itself in the data's own
    units.
    """
    return values.reshape(*values.shape[:-1], width + 2, -1)


def transformed(
    chain: Chain, store: Store, history_of: History, place: Callable[[int], str] = str
) -> Store:
    """Return a store of transformed numbers, the numbers as they came beside them.

    It is read by `rows_of`. `history_of` gives what may be seen of each sequence, and `place` says
    in words where a position lies. Raises `InputError` that names the rows which the vocabulary
    refuses.
    """
    return collected(_rows(chain, store, history_of, place))


def _rows(
    chain: Chain, store: Store, history_of: History, place: Callable[[int], str]
) -> Iterator[Piece]:
    """Give the rows of such a store, sequence after sequence in blocks."""
    spans = zip(store.starts.tolist(), store.ends.tolist(), strict=True)
    for index, (begin, end) in enumerate(spans):
        states: States | None = None
        for span in blocks(begin, end):
            low, own = span.start, np.asarray(store.values[span])
            rows = scaled_at(chain, own, place, low)
            if states is None:
                history = chain.scaled(history_of(index)) if chain.by_series else rows[:0]
                states = chain.start(history)

            # The origins of the row after the block are those of the next block's first.
            origins = chain.origins(rows, states)[:-1]
            if chain.carries:
                own = np.where(chain.came(rows, states), own, np.nan)
            read, states = chain.apply(rows, states, low - begin)
            parts = [read[:, None], origins, own[:, None]]
            values = np.concatenate(parts, axis=1).reshape(len(own), -1)
            yield Piece(values, low == begin)


def scaled_at(chain: Chain, values: Array, place: Callable[[int], str], first: int) -> Floats:
    """Return scaled rows. Raises `InputError` that names those which the vocabulary refuses.

    `place` says in words where a row lies, of which the first of these is number `first`.
    """
    try:
        return chain.scaled(values)
    except InputError as error:
        encode = chain.vocabulary.encode
        refusal = intake.refused(encode, values, lambda at: place(first + at))
        raise refusal or error from error


def check_rows(
    chain: Chain,
    store: Store,
    ends: Ints,
    place: Callable[[int], str],
    dtype: torch.dtype,
) -> None:
    """Refuse numbers that the vocabulary cannot scale, in each sequence up to one of the `ends`.

    So are those that are beyond all numbers of a `dtype` once they are scaled. `place` says in
    words where a position lies. Raises `InputError` that names them.
    """
    for span in of_spans(store.starts, ends):
        block = store.values[span]
        scaled = scaled_at(chain, block, place, span.start)
        beyond = torch.isinf(torch.from_numpy(np.asarray(scaled)).to(dtype))
        if bool(beyond.any()):
            row, column = torch.nonzero(beyond)[0].tolist()
            raise intake.beyond(float(block[row, column]), dtype, place(span.start + row))


def in_training(store: Store, train: Split) -> History:
    """Return what gives, of each sequence, the part that training sees, or nothing.

    One that is answered as a whole is known as a whole.
    """
    low = np.zeros(len(store.starts), np.int64)
    high = np.zeros(len(store.starts), np.int64)
    if train.whole:
        low, high = store.starts, store.ends
    else:
        rows = store.sequence(train.begin)
        low[rows], high[rows] = train.low, train.high

    def history_of(index: int) -> Array:
        first = max(low[index], high[index] - KNOWN)
        return np.asarray(store.values[first : high[index]])

    return history_of


class Own(Vocabulary[Any]):
    """Numbers in their own units already.

    A metric is given this vocabulary of answers that are undone before it sees them.
    """

    reads: ClassVar[Element] = "numbers"
    yields: ClassVar[Literal["symbols", "numbers"]] = "numbers"
    unit: ClassVar[str] = "step"

    def __init__(self, vocabulary: Vocabulary[Any]) -> None:
        super().__init__(vocabulary.options)
        self.features = vocabulary.size
        self.missing = vocabulary.missing

    @property
    def size(self) -> int:
        """The number of features."""
        return self.features

    def fit(self, runs: Iterable[Values]) -> None:
        """Learn nothing."""

    def encode(self, values: Values) -> Array:
        """Return the numbers themselves."""
        return np.asarray(values, np.float64)

    def decode(self, ids: Array) -> Values:
        """Return the numbers themselves."""
        return np.asarray(ids, np.float64)

    def save(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take nothing."""
