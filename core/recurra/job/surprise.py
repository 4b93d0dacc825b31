"""How surprising each step of a series is to a network that has read the steps before it.

Each step is foreseen from those that came, whatever was said of them: one that is flagged is read
all the same. The surprise of a step is, in nats,

    -log p              of what came, where the loss is a distribution with a density: of a scaled
                        number, of a count, or of a symbol
    -log 2 min(F, 1-F)  where it is one without a density, as of quantiles: F is the chance of a
                        number up to the one that came, and what is rarer than `RAREST` is as rare
    |e|                 where the network says a point: the error, in the scaled and transformed
                        units in which it is asked

So that of a column hangs on nothing but the steps before it and itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra.contracts.distribution import Distribution
from recurra.contracts.source import FUTURE
from recurra.contracts.target import Past
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Chain, scaled_at
from recurra.data.covariate_vocabulary import CovariateVocabulary, Rows
from recurra.data.outlook import Outlook
from recurra.errors import RunError
from recurra.generate import elements as reading
from recurra.generate.companion import Companion
from recurra.model import sequences
from recurra.model.network import Network, States

TOGETHER = 512
"""Series that are held at a time."""
RAREST = 2.0**-53
"""The least chance that a number is told to have by quantiles, of which no density is known."""

Floats = NDArray[np.float64]


class Item(NamedTuple):
    """A series whose steps are to be scored from `first` on.

    Its `values` are numbers `[T, F]` in their own units, or ids `[T]`; they stand at a `position`
    of the series. What is `known` of it is what it is scaled by, where each has a scale of its own;
    its covariates stand `beside`.
    """

    values: NDArray[Any]
    first: int = 1
    known: NDArray[Any] | None = None
    beside: Rows | None = None
    position: int = 0


class Surprise(NamedTuple):
    """What is said of the steps of a series: what was `expected`, and how surprising what came is.

    Both are `[T, F]`, those of symbols `[T, 1]`; the first holds numbers in their own units, or
    ids. Where nothing is said both are no number.
    """

    expected: Floats
    score: Floats


class _Asked(NamedTuple):
    """A series as a network is asked for it.

    It reads `x` `[T - 1, ...]` with the covariates of the steps ahead, `coming` `[T - 1, H, Q]`;
    step t of it is about `answers[t]`, `[T - 1, F]` or ids, of which 1 is `unit` in counts. `undo`
    brings back what is said of each.
    """

    x: Tensor
    answers: Tensor
    unit: Tensor | None
    coming: Tensor | None
    came: NDArray[np.bool_]
    undo: Floats
    known: Floats


class Kind(Protocol):
    """Symbols or numbers, as far as surprises differ by them."""

    cell: ClassVar[Literal["text", "number"]]

    def by_series(self, scorer: Scorer) -> bool:
        """Tell whether each series has a scale of its own."""

    def shown(self, vocabulary: Vocabulary[Any], column: NDArray[Any]) -> list[Any]:
        """Return elements `[T]` of a column as they are told."""

    def width(self, vocabulary: Vocabulary[Any]) -> int:
        """Return how many scores a step has."""

    def asked(self, scorer: Scorer, item: Item) -> _Asked:
        """Return what a network is asked of a series of two steps or more. Raises `InputError`."""

    def scores(self, scorer: Scorer, output: Tensor, answers: Tensor, unit: Any) -> Tensor:
        """Return the surprise `[..., F]` of answers, by the outputs `[..., output_size]`."""

    def expected(self, scorer: Scorer, output: Tensor, asked: _Asked, low: int) -> Floats:
        """Return what outputs `[n, output_size]` expect of a series from a step on, `[n, F]`."""


@dataclass(frozen=True)
class Scorer:
    """What tells how surprising the steps of series are: a network, and what it reads."""

    network: Network
    vocabulary: Vocabulary[Any]
    outlook: Outlook | None = None
    covariates: CovariateVocabulary | None = None

    @property
    def chain(self) -> Chain:
        """What numbers go through."""
        return Chain(self.vocabulary)

    @property
    def kind(self) -> Kind:
        """What is read."""
        return KINDS[self.vocabulary.yields]

    @property
    def width(self) -> int:
        """How many scores a step has."""
        return self.kind.width(self.vocabulary)

    @property
    def chain_by_series(self) -> bool:
        """Whether each series has a scale of its own."""
        return self.kind.by_series(self)

    @property
    def cell(self) -> Literal["text", "number"]:
        """What stands in a cell that tells an element."""
        return self.kind.cell

    @property
    def unit(self) -> str:
        """What a score is in."""
        loss = self.network.loss
        chances = self.kind.cell == "text" or isinstance(loss, Distribution)
        return "nats" if chances else "scaled units"

    def shown(self, column: NDArray[Any]) -> list[Any]:
        """Return elements `[T]` of a column as they are told; what is no number is None."""
        return self.kind.shown(self.vocabulary, column)

    def check(self, item: Item) -> None:
        """Refuse a series that cannot be read. Raises `InputError` (RC042, RC080)."""
        if len(item.values) > 1:
            self.kind.asked(self, item)

    def surprises(self, items: Iterable[Item]) -> Iterator[Surprise]:
        """Give the surprises of series, in order; some of them are read side by side.

        Raises `InputError` (RC042, RC080) for what cannot be read, and `RunError` (RC060) where
        what the network says is not finite.
        """
        rest = iter(items)
        while some := list(islice(rest, TOGETHER)):
            yield from self._together(some)

    def _together(self, items: Sequence[Item]) -> list[Surprise]:
        """Return the surprises of some series."""
        self.network.eval()
        said = [
            Surprise(*(np.full((len(item.values), self.width), np.nan) for _ in range(2)))
            for item in items
        ]
        # The first step, and one that is no more than read, are foreseen from nothing.
        long = [place for place, item in enumerate(items) if len(item.values) > self._first(item)]
        lengths = np.array([len(items[place].values) - 1 for place in long], np.int64)
        for group in sequences.alike(lengths, TOGETHER):
            places = [long[at] for at in group.tolist()]
            self._read([items[place] for place in places], [said[place] for place in places])
        return said

    def _first(self, item: Item) -> int:
        """Return the first step of a series that is foreseen."""
        return max(1, item.first, self.chain.lag + 1 if self.chain else 1)

    @torch.no_grad()
    def _read(self, items: Sequence[Item], said: Sequence[Surprise]) -> None:
        """Fill in what is said of series of about the same length, the longest first."""
        network, device = self.network, self.network.device
        asked = [self.kind.asked(self, item) for item in items]
        longest = len(asked[0].x)
        states: States | None = None
        position = torch.tensor([item.position for item in items], device=device)
        for low in range(0, longest, sequences.LONGEST):
            high = min(low + sequences.LONGEST, longest)
            x = _window([each.x for each in asked], low, high).to(device)
            first = position if states is None else None
            output, states = network(x, states, position=first)
            if network.late:
                coming = None
                if asked[0].coming is not None:
                    parts = [each.coming for each in asked if each.coming is not None]
                    coming = _window(parts, low, high).to(device)
                output = network.answer(output, coming)
            if network.ahead:
                output = output[:, :, 0]
            output = output.double().cpu()
            answers = _window([each.answers for each in asked], low, high)
            units = [each.unit for each in asked if each.unit is not None]
            unit = _window(units, low, high) if units else None
            scores = self.kind.scores(self, output, answers, unit).numpy()
            for row, (each, item) in enumerate(zip(asked, items, strict=True)):
                count = min(high, len(each.x)) - low
                if count <= 0:
                    continue
                came = each.came[low : low + count]
                began = low + 1 + np.arange(count) >= self._first(item)
                shown = came & began[:, None]
                own = output[row, :count]
                _check(own[torch.from_numpy(shown.any(axis=1))])
                expected = self.kind.expected(self, own, each, low)
                span = slice(low + 1, low + 1 + count)
                said[row].expected[span] = np.where(began[:, None], expected, np.nan)
                said[row].score[span] = np.where(shown, scores[row, :count], np.nan)

    def beside(self, item: Item, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what is read of a series with its covariates, and those of the steps ahead."""
        count, rows = len(x), item.beside
        if self.covariates is None or rows is None:
            return x[: count - 1], None
        read = Companion.beside(self.covariates, rows).whole(x, rows)[: count - 1]
        if not self.covariates.coming:
            return read, None

        parts = []
        if FUTURE in self.covariates.tables:
            parts.append(self.covariates.tables[FUTURE].encode(rows.future[1:count]))
        if self.covariates.dated is not None:
            assert rows.since is not None, "when the series begins is known"
            parts.append(self.covariates.dated.stretch(rows.since.after(1), count - 1))
        ahead = np.concatenate(parts, axis=1)
        # Of the steps behind the first one ahead nothing is asked.
        coming = np.zeros((len(ahead), self.network.ahead, ahead.shape[1]))
        coming[:, 0] = ahead
        return read, torch.from_numpy(coming).to(x)


class _Symbols(Kind):
    """Ids: what came has a chance."""

    cell = "text"

    def by_series(self, scorer: Scorer) -> bool:
        return False

    def shown(self, vocabulary: Vocabulary[Any], column: NDArray[Any]) -> list[Any]:
        return [None if at != at else vocabulary.symbol(int(at)) for at in column.tolist()]

    def width(self, vocabulary: Vocabulary[Any]) -> int:
        return 1

    def asked(self, scorer: Scorer, item: Item) -> _Asked:
        elements = reading.ELEMENTS[scorer.vocabulary.yields]
        ids = elements.window(item.values, scorer.network.dtype)
        came = np.ones((len(ids) - 1, 1), np.bool_)
        return _Asked(ids[:-1], ids[1:], None, None, came, np.zeros(0), np.zeros(0))

    def scores(self, scorer: Scorer, output: Tensor, answers: Tensor, unit: Any) -> Tensor:
        point = scorer.network.loss.point(output)
        return functional.cross_entropy(point.movedim(-1, 1), answers, reduction="none")[..., None]

    def expected(self, scorer: Scorer, output: Tensor, asked: _Asked, low: int) -> Floats:
        point = scorer.network.loss.point(output)
        return point.argmax(dim=-1, keepdim=True).double().numpy()


class _Numbers(Kind):
    """Rows of numbers, column by column."""

    cell = "number"

    def by_series(self, scorer: Scorer) -> bool:
        return scorer.chain.by_series

    def shown(self, vocabulary: Vocabulary[Any], column: NDArray[Any]) -> list[Any]:
        return [None if number != number else number for number in column.tolist()]

    def width(self, vocabulary: Vocabulary[Any]) -> int:
        return vocabulary.size

    def asked(self, scorer: Scorer, item: Item) -> _Asked:
        chain, values = scorer.chain, item.values
        elements = reading.ELEMENTS[scorer.vocabulary.yields]
        rows = scaled_at(chain, values, lambda at: f"step {at} of the series", 0)
        history = rows[:0] if item.known is None else chain.scaled(item.known)
        states = chain.start(history)
        read, _ = chain.apply(rows, states, 0)
        filled = chain.carried(rows, states)
        inputs = read
        if chain.flags:
            inputs = np.concatenate([read, chain.flagged(chain.came(rows, states))], axis=1)
        x = elements.window(inputs, scorer.network.dtype)
        came = chain.came(rows, states)[1:] if chain.carries else ~np.isnan(rows[1:])
        undo = chain.origins(rows, states)[1:-1]

        answers, known = read[1:], np.zeros((len(rows) - 1, rows.shape[1]))
        if scorer.outlook is not None:
            count = np.arange(len(rows) - 1)
            begin, season = np.zeros_like(count), scorer.outlook.season
            past = Past(lambda places: filled[places], begin, count, 1, season)
            known = scorer.outlook.known(undo[:, None], past)[:, 0]
            answers = chain.against(filled[1:], undo) - known
        unit = None
        if scorer.network.loss.counts:
            unit = torch.from_numpy(chain.invert(np.ones(answers.shape), undo))
        x, coming = scorer.beside(item, x)
        return _Asked(x, torch.from_numpy(answers.copy()), unit, coming, came, undo, known)

    def scores(self, scorer: Scorer, output: Tensor, answers: Tensor, unit: Any) -> Tensor:
        loss = scorer.network.loss
        if not isinstance(loss, Distribution):
            return (answers - loss.point(output)).abs()
        if loss.density:
            return -loss.log_prob(output, answers, unit)
        below = loss.cdf(output, answers, unit)
        return -(2 * torch.minimum(below, 1 - below)).clamp(RAREST, 1.0).log()

    def expected(self, scorer: Scorer, output: Tensor, asked: _Asked, low: int) -> Floats:
        span = slice(low, low + len(output))
        point = scorer.network.loss.point(output).double().numpy() + asked.known[span]
        return scorer.chain.invert(point, asked.undo[span])


KINDS: Mapping[str, Kind] = {"symbols": _Symbols(), "numbers": _Numbers()}
"""By what a vocabulary yields."""


def _window(parts: Sequence[Tensor], low: int, high: int) -> Tensor:
    """Return the steps of series from one up to another, `[B, n, ...]`.

    A series that ends before is filled up with its last step, of which nothing is asked.
    """
    places = torch.arange(low, high)
    return torch.stack([part[places.clamp(max=len(part) - 1)] for part in parts])


def _check(output: Tensor) -> None:
    """Refuse what is no number. Raises `RunError` (RC060)."""
    if not bool(torch.isfinite(output).all()):
        fact = "what the network gives is not finite, so nothing can be scored by it"
        raise RunError.of("RC060", fact)
