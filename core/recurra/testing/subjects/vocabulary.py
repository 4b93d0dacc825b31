"""What a check of a vocabulary is given."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import Element, Values, Vocabulary
from recurra.errors import InputError
from recurra.randomness import seeded
from recurra.testing import hard_data
from recurra.testing.answers import demand, through_json
from recurra.testing.check import NotApplicable
from recurra.testing.option_sets import validated
from recurra.testing.subjects.reader import IDS, Reads
from recurra.testing.subjects.subject import SEED, Subject

ELEMENTS: tuple[Element, ...] = get_args(Element)


class VocabularySubject(Subject[Vocabulary[Any]]):
    """A vocabulary under one set of options."""

    @property
    def reads(self) -> Element:
        """What it takes of a source."""
        reads: Element = self.entry.target.reads
        fact = f"reads is {reads!r}, not one of {', '.join(ELEMENTS)}"
        demand(reads in ELEMENTS, fact)
        return reads

    @property
    def symbols(self) -> bool:
        """Whether it gives symbols, and not numbers."""
        yields: Reads = self.entry.target.yields
        demand(yields in get_args(Reads), f"yields is {yields!r}, not symbols or numbers")
        return IDS[yields]

    def yielding(self, kind: Reads) -> None:
        """Raise `NotApplicable` if the vocabulary yields the other kind."""
        if self.symbols != IDS[kind]:
            raise NotApplicable(f"it yields {'symbols' if self.symbols else 'numbers'}")

    def writing(self) -> None:
        """Raise `NotApplicable` if no text comes of what the vocabulary yields."""
        self.yielding("symbols")
        if self.reads == "numbers":
            raise NotApplicable("it reads numbers")

    def needs_lossless(self) -> None:
        """Raise `NotApplicable` if the vocabulary declares that it leaves out or folds anything."""
        if not self.vocabulary().lossless:
            raise NotApplicable("it declares that it is not lossless")

    def data(self) -> list[Values]:
        """Return hard runs of what it reads.

        Those of numbers are above 0, where it refuses others by `InputError`.
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
        """Return a vocabulary that is fitted on runs.

        `changes` are options that are other than the subject's.
        """
        options = self.options
        if changes:
            options = validated(self.entry, {**self.table, **changes})

        with seeded(SEED, "init"):
            vocabulary: Vocabulary[Any] = self.entry.target(options)
        if runs:
            vocabulary.fit(iter(runs))
        return vocabulary

    @staticmethod
    def size(vocabulary: Vocabulary[Any]) -> int:
        """Return its size. Raises `Broken` if that is no whole number."""
        size = vocabulary.size
        fact = f"the size is {size!r:.60}"
        demand(isinstance(size, int | np.integer), fact)
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
    def restored(vocabulary: Vocabulary[Any], saved: object) -> Vocabulary[Any]:
        """Return a vocabulary after it took back, by way of JSON, what another one saved.

        Raises `Broken` where that is no JSON.
        """
        vocabulary.restore(through_json(saved))
        return vocabulary

    @staticmethod
    def encoded(vocabulary: Vocabulary[Any], values: Values) -> NDArray[Any]:
        """Return what it encodes of a copy of values. Raises `Broken` if that is no array."""
        ids = vocabulary.encode(copy.copy(values))
        fact = f"encode gives {type(ids).__name__}, not an array"
        demand(isinstance(ids, np.ndarray), fact)
        return ids
