"""What checks of encoders, losses, vocabularies and sources are given: small, and always drawn the
same.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.encoder import Encoder, StatefulEncoder
from recurra.contracts.loss import Loss
from recurra.contracts.options import validate_options
from recurra.contracts.source import Piece, Role, Source
from recurra.contracts.vocabulary import Element, Values, Vocabulary
from recurra.engine.recurrence import State
from recurra.errors import InputError
from recurra.randomness import seeded
from recurra.testing import hard_data
from recurra.testing.check import Broken, NotApplicable
from recurra.testing.option_sets import folder, validated
from recurra.testing.subject import SEED, SUBJECTS, Subject

Reads: TypeAlias = Literal["symbols", "numbers"]
IDS: dict[Reads, bool] = {"symbols": True, "numbers": False}
"""Whether what a vocabulary yields is ids."""
SIZE = 5
"""Symbols, or features, that encoders and losses are checked on."""


def demand(holds: bool, fact: str) -> None:
    """Raise `Broken` unless something holds."""
    if not holds:
        raise Broken(fact)


def through_json(saved: Any) -> dict[str, Any]:
    """Return what `save` gave as it comes back from a file. Raises `Broken` if that is no table of
    plain JSON.
    """
    demand(isinstance(saved, dict), f"save gives {type(saved).__name__}, not a dict")
    try:
        text = json.dumps(saved, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Broken(f"save gives what is no plain JSON: {error}") from error
    return cast(dict[str, Any], json.loads(text))


def tensor(given: Any, what: str) -> Tensor:
    """Return what a component gave, if it is a tensor. Raises `Broken`."""
    demand(isinstance(given, Tensor), f"{what} is {type(given).__name__}, not a tensor")
    return cast(Tensor, given)


class Reader(Subject):
    """A component that reads symbols or numbers: an encoder or a loss."""

    @property
    def reads(self) -> tuple[Reads, ...]:
        """What it reads. Raises `Broken` if that is nothing that there is."""
        reads = self.entry.target.reads
        known = isinstance(reads, tuple) and reads and set(reads) <= set(get_args(Reads))
        demand(bool(known), f"reads is {reads!r}, not a tuple of symbols and numbers")
        return cast(tuple[Reads, ...], reads)

    def built(self, size: int, dtype: torch.dtype, seed: int) -> Any:
        """Return an instance in evaluation mode, its weights drawn from a seed."""
        if dtype == torch.float64:
            self.needs("float64")
        with seeded(seed, "init"):
            return self.entry.target(size, self.options).to(dtype).eval()

    def drawn(
        self, kind: Reads, shape: tuple[int, ...], size: int, dtype: torch.dtype, salt: int
    ) -> Tensor:
        """Return ids of a shape, or numbers with an axis of `size` more."""
        if kind == "symbols":
            return torch.randint(size, shape, generator=self.generator(salt))
        return torch.randn(*shape, size, generator=self.generator(salt), dtype=torch.float64).to(
            dtype
        )


class EncoderSubject(Reader):
    """An encoder under one set of options."""

    def encoder(
        self, size: int = SIZE, dtype: torch.dtype = torch.float64, seed: int = SEED
    ) -> Encoder[Any]:
        """Return the encoder in evaluation mode."""
        return cast(Encoder[Any], self.built(size, dtype, seed))

    def x(
        self,
        kind: Reads,
        batch: int = 3,
        steps: int = 7,
        size: int = SIZE,
        dtype: torch.dtype = torch.float64,
        salt: int = 0,
    ) -> Tensor:
        """Return ids `[B, T]`, or numbers `[B, T, F]` drawn from N(0, 1)."""
        return self.drawn(kind, (batch, steps), size, dtype, salt)

    @staticmethod
    def fresh(encoder: Encoder[Any], x: Tensor, position: Tensor | None = None) -> State:
        """Return the state before the first step, at `position` `[B]`; an encoder of single steps
        has none.
        """
        if not isinstance(encoder, StatefulEncoder):
            return ()
        default = next((p.dtype for p in encoder.parameters()), torch.get_default_dtype())
        dtype = x.dtype if x.is_floating_point() else default
        state = encoder.initial_state(x.shape[0], device=x.device, dtype=dtype, position=position)
        fields = isinstance(state, tuple) and all(
            isinstance(f, Tensor) and len(f) == len(x) for f in state
        )
        demand(fields, "initial_state gives no NamedTuple of tensors [B, ...]")
        return cast(State, state)

    def run(
        self,
        encoder: Encoder[Any],
        x: Tensor,
        state: State | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Return vectors `[B, T, D]` and the state after them, as the network asks for them, of a
        copy of `x`.
        """
        x = x.clone(memory_format=torch.contiguous_format)
        if not isinstance(encoder, StatefulEncoder):
            return tensor(encoder(x), "what forward gives"), ()
        given = encoder.advance(x, self.fresh(encoder, x) if state is None else state, reset=reset)
        demand(
            isinstance(given, tuple) and len(given) == 2, "advance gives no pair (vectors, state)"
        )
        return tensor(given[0], "what advance gives"), given[1]


class LossSubject(Reader):
    """A loss under one set of options."""

    def loss(
        self, size: int = SIZE, dtype: torch.dtype = torch.float64, training: bool = False
    ) -> Loss[Any]:
        """Return the loss, prepared, in evaluation mode unless it is asked for in training."""
        return self.prepared(self.unprepared(size, dtype, training))

    def unprepared(
        self, size: int = SIZE, dtype: torch.dtype = torch.float64, training: bool = False
    ) -> Loss[Any]:
        """Return the loss as it is when a run is loaded, before it takes back what it learned."""
        return cast(Loss[Any], self.built(size, dtype, SEED).train(training))

    def prepared(self, loss: Loss[Any], salt: int = 0) -> Loss[Any]:
        """Prepare a loss as for a new run: a class may never come. One that finds no name of its
        own stays as it is.
        """
        if "symbols" in self.reads:
            with suppress(InputError):
                loss.prepare(*self.answers(loss.size, salt))
        return loss

    @staticmethod
    def answers(size: int, salt: int = 0) -> tuple[list[str], NDArray[np.int64]]:
        """Return the names of the classes, and how often each comes: 4, 0, 3, 6, 2 of five."""
        return [chr(ord("a") + index) for index in range(size)], (
            np.arange(size) * 3 + 4 + salt
        ) % 7

    @staticmethod
    def restored(loss: Loss[Any], saved: dict[str, Any]) -> Loss[Any]:
        """Return a loss after it took back, by way of JSON, what another one saved. Raises
        `Broken`.
        """
        loss.restore(through_json(saved))
        return loss

    def pair(
        self,
        loss: Loss[Any],
        kind: Reads,
        steps: int = 7,
        dtype: torch.dtype = torch.float64,
        salt: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Return outputs `[N, output_size]` drawn from N(0, 1), and targets."""
        output = torch.randn(
            steps, loss.output_size, generator=self.generator(salt), dtype=torch.float64
        )
        return output.to(dtype), self.drawn(kind, (steps,), loss.size, dtype, salt + 1)

    @staticmethod
    def run(loss: Loss[Any], output: Tensor, target: Tensor) -> Tensor:
        """Return what the loss gives for copies of outputs and targets."""
        return tensor(loss(output.clone(), target.clone()), "what forward gives")

    @staticmethod
    def point(loss: Loss[Any], output: Tensor) -> Tensor:
        """Return the best guess of the loss for these very outputs."""
        return tensor(loss.point(output), "what point gives")


class VocabularySubject(Subject):
    """A vocabulary under one set of options."""

    @property
    def reads(self) -> Element:
        """What it takes of a source."""
        reads = self.entry.target.reads
        demand(
            reads in get_args(Element),
            f"reads is {reads!r}, not one of {', '.join(get_args(Element))}",
        )
        return cast(Element, reads)

    @property
    def symbols(self) -> bool:
        """Whether it gives symbols, and not numbers."""
        yields = self.entry.target.yields
        demand(yields in get_args(Reads), f"yields is {yields!r}, not symbols or numbers")
        return IDS[yields]

    def yielding(self, kind: Reads) -> None:
        """Raise `NotApplicable` if the vocabulary yields the other kind."""
        if self.symbols != (kind == "symbols"):
            raise NotApplicable(f"it yields {'symbols' if self.symbols else 'numbers'}")

    def writing(self) -> None:
        """Raise `NotApplicable` if no text comes of what the vocabulary yields."""
        self.yielding("symbols")
        if self.reads == "numbers":
            raise NotApplicable("it reads numbers")

    def needs_lossless(self) -> None:
        """Raise `NotApplicable` if the vocabulary declares that it leaves something out, or folds
        it.
        """
        if not self.vocabulary().lossless:
            raise NotApplicable("it declares that it is not lossless")

    def data(self) -> list[Values]:
        """Return hard runs of what it reads: numbers above 0, where it refuses others by
        `InputError`.
        """
        if self.reads == "numbers":
            try:
                self.vocabulary(*hard_data.runs("numbers"))
            except InputError:
                return hard_data.runs("numbers", positive=True)
        return hard_data.runs(self.reads)

    def fitted(self) -> tuple[Vocabulary[Any], Values]:
        """Return a vocabulary that is fitted on all hard runs, and these put together."""
        data = self.data()
        return self.vocabulary(*data), hard_data.joined(data, self.reads)

    def vocabulary(self, *runs: Values, **changes: Any) -> Vocabulary[Any]:
        """Return a vocabulary that is fitted on runs; `changes` are options that are other than the
        subject's.
        """
        options = validated(self.entry, {**self.table, **changes}) if changes else self.options
        with seeded(SEED, "init"):
            built = cast(Vocabulary[Any], self.entry.target(options))
        if runs:
            built.fit(iter(runs))
        return built

    @staticmethod
    def size(vocabulary: Vocabulary[Any]) -> int:
        """Return its size. Raises `Broken` if that is no whole number."""
        size = vocabulary.size
        demand(isinstance(size, int | np.integer), f"the size is {size!r:.60}")
        return int(size)

    @staticmethod
    def text(vocabulary: Vocabulary[Any], ids: NDArray[Any]) -> str:
        """Return the text of ids. Raises `Broken` if it is none."""
        text = vocabulary.text(ids)
        demand(isinstance(text, str), f"text gives {type(text).__name__}")
        return text

    @staticmethod
    def stream(vocabulary: Vocabulary[Any]) -> Callable[[int], str]:
        """Return a new streamer. Raises `Broken` if it cannot be called."""
        streamer = vocabulary.streamer()
        demand(callable(streamer), f"streamer gives {type(streamer).__name__}, not a function")
        return streamer

    @staticmethod
    def restored(vocabulary: Vocabulary[Any], saved: dict[str, Any]) -> Vocabulary[Any]:
        """Return a vocabulary after it took back, by way of JSON, what another one saved. Raises
        `Broken`.
        """
        vocabulary.restore(through_json(saved))
        return vocabulary

    @staticmethod
    def encoded(vocabulary: Vocabulary[Any], values: Values) -> NDArray[Any]:
        """Return what it encodes of a copy of values. Raises `Broken` if that is no array."""
        found = vocabulary.encode(copy.copy(values))
        demand(isinstance(found, np.ndarray), f"encode gives {type(found).__name__}, not an array")
        return found


class SourceSubject(Subject):
    """A source under one set of options."""

    def source(self, move: Callable[[Path], Path] = lambda path: path) -> Source[Any]:
        """Return the source; `move` says where each file that its options name lies instead."""
        home = folder(self.entry)
        options = validate_options(
            self.entry.options, self.table, lambda value, field: str(move(home / value))
        )
        with seeded(SEED, "init"):
            return cast(Source[Any], self.entry.target(options))

    def files(self) -> list[Path]:
        """Return the files, or patterns of them, that its options name. Raises `NotApplicable` if
        they name none.
        """
        found: list[Path] = []
        self.source(lambda path: found.append(path) or path)  # type: ignore[func-returns-value]
        if not found:
            raise NotApplicable("its options name no file")
        return found

    @property
    def offers(self) -> tuple[Element, ...]:
        """What elements it says it can give."""
        offers = self.entry.target.offers
        known = isinstance(offers, tuple) and offers and set(offers) <= set(get_args(Element))
        demand(bool(known), f"offers is {offers!r}, not a tuple of {', '.join(get_args(Element))}")
        return cast(tuple[Element, ...], offers)

    def given(self) -> Iterator[tuple[Element, list[Piece]]]:
        """Give every element that its options hold, with the pieces; what else it offers it refuses
        by `InputError`.

        Raises `Broken` if there is none.
        """
        refusals = []
        for element in self.offers:
            try:
                yield element, self.pieces(self.source(), element)
            except InputError as error:
                refusals.append(f"{element}: {error}")
        demand(
            len(refusals) < len(self.offers),
            "none of what it offers can be read: " + "; ".join(refusals),
        )

    @staticmethod
    def pieces(source: Source[Any], element: Element) -> list[Piece]:
        """Return the pieces that a source gives, each a copy made as it came."""
        return [
            Piece(copy.copy(values), start, dict(columns))
            for values, start, columns in SourceSubject.reader(source, element)
        ]

    @staticmethod
    def reader(source: Source[Any], element: Element) -> Generator[Piece]:
        """Give what a source gives. Raises `Broken` if that is no pieces."""
        given = source.read(element)
        demand(isinstance(given, Iterable), f"read gives {type(given).__name__}, not an iterator")
        for piece in given:
            right = isinstance(piece, Piece) and hasattr(piece.values, "__len__")
            demand(right, f"read gives {type(piece).__name__}, not a Piece")
            columns = piece.columns
            demand(isinstance(columns, Mapping), f"columns are {type(columns).__name__}, no table")
            yield piece

    @staticmethod
    def columns(source: Source[Any]) -> Mapping[Role, tuple[Element, ...]]:
        """Return what a source says of its columns. Raises `Broken` if that is no table of them."""
        given = source.columns()
        demand(isinstance(given, Mapping), f"columns gives {type(given).__name__}, not a table")
        for role, elements in given.items():
            demand(
                role in get_args(Role),
                f"columns names {role!r}, not one of {', '.join(get_args(Role))}",
            )
            known = (
                isinstance(elements, tuple) and elements and set(elements) <= set(get_args(Element))
            )
            demand(bool(known), f"columns says {role} is {elements!r:.60}, not a tuple of elements")
        demand("input" in given, f"columns names {', '.join(given) or 'nothing'}, and no input")
        return given


SUBJECTS |= {
    "encoder": EncoderSubject,
    "loss": LossSubject,
    "vocabulary": VocabularySubject,
    "source": SourceSubject,
}
