"""The transforms of a task's numbers: series by series between their scale and the network, and
undone behind it.

A row goes through the scale of the vocabulary, which has no state, and then through each transform,
which carries one along its series. What a row needs to be undone, its origins, hangs on nothing but
the rows before it; so an answer of the network is undone alike whether the true rows came before
it, in evaluation, or its own, in a forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.source import Piece
from recurra.contracts.transform import Floats
from recurra.contracts.vocabulary import Element, Values, Vocabulary
from recurra.data import intake
from recurra.data.corpus import collected
from recurra.data.splits import Split
from recurra.data.store import Store
from recurra.errors import InputError

BLOCK = 1 << 16
"""Rows that are transformed at a time."""
KNOWN = 1 << 16
"""Rows of a series that a transform may see before it begins: the last of what is known of it."""

States = list[Floats]
"""The state of each transform."""


class Chain:
    """A vocabulary of numbers with the transforms that follow it; for most there are none.

    `lag` is how many rows at the beginning of a series have no value, and `width` how many numbers
    of each feature undoing a row takes.
    """

    def __init__(self, vocabulary: Vocabulary[Any]) -> None:
        self.vocabulary = vocabulary
        self.steps = tuple(vocabulary.transforms()) if callable(vocabulary.transforms) else ()
        self.lag = sum(step.lag for step in self.steps)
        self.width = sum(step.width for step in self.steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def by_series(self) -> bool:
        """Whether a series must be known in part before it begins."""
        return any(step.by_series for step in self.steps)

    def fit(self, store: Store, train: Split) -> None:
        """Learn from the rows of training, one transform after the other."""
        for index, step in enumerate(self.steps):
            step.fit(self._reaching(index, store, train))

    def _reaching(self, index: int, store: Store, train: Split) -> Iterator[Floats]:
        """Give the rows of training that reach a transform, those with a value alone, series after
        series in blocks.
        """
        lag = sum(step.lag for step in self.steps[:index])
        for low, high in zip(train.low.tolist(), train.high.tolist(), strict=True):
            states = self.start(self.scaled(store.values[max(low, high - KNOWN) : high]), index)
            for at in range(low, high, BLOCK):
                rows, states = self._through(
                    self.scaled(store.values[at : min(at + BLOCK, high)]), states
                )
                yield rows[max(0, low + lag - at) :]

    def scaled(self, rows: NDArray[Any]) -> Floats:
        """Return rows `[n, F]` in the data's own units as the vocabulary scales them."""
        return np.asarray(self.vocabulary.encode(np.array(rows)), np.float64)

    def start(self, known: Floats, count: int | None = None) -> States:
        """Return the states before the first row of a series, of which scaled rows `[n, F]` are
        known.

        They are those of all transforms, or of the first `count`, behind which others are not
        fitted yet.
        """
        states: States = []
        known = known[-KNOWN:]
        for step in self.steps[:count]:
            states.append(step.start(known))
            known = step.apply(known, states[-1])[0][step.lag :]
        return states

    def _through(self, rows: Floats, states: States) -> tuple[Floats, States]:
        after: States = []
        for step, state in zip(self.steps, states, strict=False):
            rows, state = step.apply(rows, state)
            after.append(state)
        return rows, after

    def apply(self, rows: Floats, states: States, before: int) -> tuple[Floats, States]:
        """Return what the network reads for scaled rows `[n, F]`, and the states after them;
        `before` rows came.
        """
        found, after = self._through(rows, states)
        if before < self.lag:
            found = found.copy()
            found[: self.lag - before] = 0.0
        return found, after

    def origins(self, rows: Floats, states: States) -> Floats:
        """Return what undoing scaled rows `[n, F]`, and the one that comes after them, takes:
        `[n + 1, width, F]`.
        """
        parts = []
        for index, (step, state) in enumerate(zip(self.steps, states, strict=True), 1):
            parts.append(step.origins(rows, state))
            if index < len(self.steps):  # nobody sees what the last one makes of them
                rows = step.apply(rows, state)[0]
        return np.concatenate(parts, axis=1)

    def undone(self, rows: Floats, origins: Floats) -> Floats:
        """Return the scaled rows `[n, F]` of which rows of the network were made, by their origins
        `[n, width, F]`.
        """
        end = self.width
        with np.errstate(over="ignore", invalid="ignore"):
            # Infinite is what it is, and told by who reads it.
            for step in reversed(self.steps):
                rows = step.invert(rows, origins[:, end - step.width : end])
                end -= step.width
        return rows

    def invert(self, rows: Floats, origins: Floats) -> Floats:
        """Return rows `[n, F]` of the network in the data's own units, by their origins
        `[n, width, F]`.
        """
        return np.asarray(self.vocabulary.decode(self.undone(rows, origins)), np.float64)

    def forecast(self, values: NDArray[Any], point: NDArray[Any]) -> Floats:
        """Return answers of the network to rows `[n, F]` in the data's own units, each about the
        row after.
        """
        rows = self.scaled(values)
        return (
            self.invert(point, self.origins(rows, self.start(rows))[1:])
            if self
            else self.invert(point, rows)
        )

    def own(self, output: Tensor, undo: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions `[N, F]` and what came, in the data's own units; `undo` is that of a
        batch.
        """
        predicted = self.invert(output.cpu().double().numpy(), undo[:, :-1].numpy())
        return torch.from_numpy(predicted), undo[:, -1]


def rows_of(values: NDArray[Any], width: int) -> NDArray[Any]:
    """Return the rows of a store of transformed numbers, `[..., 1 + width + 1, F]`.

    First stands what the network reads, then its origins, then the number itself in the data's own
    units.
    """
    return values.reshape(*values.shape[:-1], width + 2, -1)


class Stream:
    """One series on its way through a chain: its rows as they come, and then those that the network
    gives.

    What is `known` of it before it begins, in the data's own units, are the rows that are read
    first, if nothing else.
    """

    def __init__(self, chain: Chain, known: NDArray[Any] | None = None) -> None:
        self.chain = chain
        self.states = None if known is None or not chain else chain.start(chain.scaled(known))
        self.count = 0

    def read(self, values: NDArray[Any]) -> Floats:
        """Return what the network reads for rows `[n, F]` in the data's own units, of which none
        are kept if it fails.

        Raises `InputError` for one that the vocabulary refuses, and names it.
        """
        rows = scaled_at(self.chain, values, lambda at: f"step {self.count + at} of the prompt")
        return self._moved(rows) if self.chain else rows

    @property
    def at_once(self) -> int:
        """How many rows must come together: by one alone, no series can be scaled."""
        return 2 if self.chain.by_series and self.states is None else 1

    def _moved(self, rows: Floats) -> Floats:
        """Return what the network reads for scaled rows, which have come now."""
        states = self.chain.start(rows) if self.states is None else self.states
        found, self.states = self.chain.apply(rows, states, self.count)
        self.count += len(rows)
        return found

    def undo(self, row: Floats) -> Floats:
        """Return a row `[F]` of the network in the data's own units, as the next of the series: it
        has come now.
        """
        scaled = row[None]
        if self.chain:
            assert self.states is not None, "nothing goes on from nothing"
            scaled = self.chain.undone(scaled, self.chain.origins(scaled[:0], self.states))
            self._moved(scaled)
        found: Floats = np.asarray(self.chain.vocabulary.decode(scaled[0]), np.float64)
        return found

    @property
    def missing(self) -> int:
        """How many rows must come before anything can be said of the next."""
        return max(0, self.chain.lag + 1 - self.count) if self.chain else 0

    def tensors(self) -> dict[str, Tensor]:
        """Return all that there is of it, by name; nothing where there are no transforms."""
        if self.states is None:
            return {}
        states = {
            f"{index}": torch.from_numpy(np.ascontiguousarray(state))
            for index, state in enumerate(self.states)
        }
        return states | {"count": torch.tensor(self.count)}

    def restored(self, tensors: dict[str, Tensor]) -> Stream:
        """Return a stream that goes on from what `tensors` gave. Raises any error if it is not of
        this chain.
        """
        other = Stream(self.chain)
        if not tensors:
            return other
        fresh = self.chain.start(np.zeros((0, self.chain.vocabulary.size)))
        other.states = [tensors[f"{index}"].numpy() for index in range(len(fresh))]
        other.count = int(tensors["count"])
        kinds = [(state.shape, state.dtype) for state in other.states]
        if (
            kinds != [(state.shape, state.dtype) for state in fresh]
            or len(tensors) != len(fresh) + 1
        ):
            raise ValueError("its transforms are not those of the vocabulary")
        if other.count < 1:
            raise ValueError(f"count = {other.count}")
        return other


def transformed(
    chain: Chain,
    store: Store,
    known: Callable[[int], NDArray[Any]],
    place: Callable[[int], str] = str,
) -> Store:
    """Return a store of transformed numbers beside that of numbers as they came, to be read by
    `rows_of`.

    `known` gives what may be seen of each sequence, and `place` says in words where a position
    lies. Raises `InputError` that names the rows which the vocabulary refuses.
    """
    return collected(_rows(chain, store, known, place))


def _rows(
    chain: Chain, store: Store, known: Callable[[int], NDArray[Any]], place: Callable[[int], str]
) -> Iterator[Piece]:
    for index, (begin, end) in enumerate(
        zip(store.starts.tolist(), store.ends.tolist(), strict=True)
    ):
        states: States | None = None
        for low in range(begin, end, BLOCK):
            own = np.asarray(store.values[low : min(low + BLOCK, end)])
            rows = scaled_at(chain, own, lambda at, low=low: place(low + at))  # type: ignore[misc]
            if states is None:
                states = chain.start(chain.scaled(known(index)) if chain.by_series else rows[:0])
            origins = chain.origins(rows, states)[:-1]
            read, states = chain.apply(rows, states, low - begin)
            parts = [read[:, None], origins, own[:, None]]
            yield Piece(np.concatenate(parts, axis=1).reshape(len(own), -1), low == begin)


def scaled_at(chain: Chain, values: NDArray[Any], place: Callable[[int], str]) -> Floats:
    """Return scaled rows. Raises `InputError` that names those which the vocabulary refuses."""
    try:
        return chain.scaled(values)
    except InputError as error:
        raise intake.refused(chain.vocabulary.encode, values, place) or error from error


def in_training(store: Store, train: Split) -> Callable[[int], NDArray[Any]]:
    """Return what gives, of each sequence, what is known of it: the part that training sees, or
    nothing.

    One that is answered as a whole is known as a whole.
    """
    low, high = np.zeros(len(store.starts), np.int64), np.zeros(len(store.starts), np.int64)
    if train.whole:
        low, high = store.starts, store.ends
    else:
        rows = store.sequence(train.begin)
        low[rows], high[rows] = train.low, train.high
    return lambda index: np.asarray(
        store.values[max(low[index], high[index] - KNOWN) : high[index]]
    )


class Own(Vocabulary[Any]):
    """Numbers in their own units already: what a metric is given of answers that are undone before
    it sees them.
    """

    reads: ClassVar[Element] = "numbers"
    yields: ClassVar[Literal["symbols", "numbers"]] = "numbers"
    unit: ClassVar[str] = "step"

    def __init__(self, vocabulary: Vocabulary[Any]) -> None:
        super().__init__(vocabulary.options)
        self.features = vocabulary.size

    @property
    def size(self) -> int:
        """The number of features."""
        return self.features

    def fit(self, runs: Iterable[Values]) -> None:
        """Learn nothing."""

    def encode(self, values: Values) -> NDArray[Any]:
        """Return the numbers themselves."""
        return np.asarray(values, np.float64)

    def decode(self, ids: NDArray[Any]) -> Values:
        """Return the numbers themselves."""
        return np.asarray(ids, np.float64)

    def save(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take nothing."""
