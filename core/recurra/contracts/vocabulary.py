"""The contract of a vocabulary: how raw elements become ids or numbers, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.options import Options
from recurra.contracts.transform import Transform

Element: TypeAlias = Literal["text", "tokens", "numbers"]
"""What a source can give: characters, whole tokens, or rows of numbers."""

Values: TypeAlias = Any
"""A run of elements: a `str`, a `list[str]` or an array `[n, F]` of float64.

They are text, tokens or numbers.
"""

O = TypeVar("O", bound=Options)  # noqa: E741


def broken_text(text: str) -> int:
    """Return where a text first holds half of a surrogate pair, or -1.

    No file can hold such a text.
    """
    if text.isascii():
        return -1
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return -1


class UnknownSymbol(Exception):
    """A symbol that the vocabulary does not hold, met under the policy "error".

    `position` counts from the start.
    """

    def __init__(self, symbol: str, position: int) -> None:
        super().__init__(f"unknown symbol {symbol!r} at position {position}")
        self.symbol, self.position = symbol, position


class Vocabulary(ABC, Generic[O]):
    """Turns raw elements into ids (or numbers) and back.

    Attributes of a class: `reads`, what it takes of a source; `yields`, symbols or numbers; `unit`,
    what one symbol is called in a metric (bits per *character*). `fit` sees every run of the source
    once (numbers: of the training split alone). `save` gives all that `restore` needs, as plain
    JSON.
    """

    reads: ClassVar[Element] = "text"
    yields: ClassVar[Literal["symbols", "numbers"]] = "symbols"
    unit: ClassVar[str] = "symbol"
    takes_missing: ClassVar[bool] = False
    """Whether numbers may be missing, which are no numbers then: `fit` and the transforms leave
    them out, and `encode` and `decode` leave them as they are (came with API 1.1).
    """
    missing: tuple[int, ...] | None = None
    """The columns that lack numbers in training, as the core has found; nothing where none may be
    missing at all (came with API 1.1).
    """

    def __init__(self, options: O) -> None:
        self.options = options

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of symbols; for numbers, of features."""

    @property
    def lossless(self) -> bool:
        """Whether decoding gives back all that it was fitted on.

        One that folds or leaves out anything says no.
        """
        return True

    def prepare(self, names: Sequence[str], beside: Sequence[str] = ()) -> None:
        """Take the names of the columns of numbers, before it is fitted.

        `names` are those of its features, "0", "1" and so on where they have none; those `beside`
        are of covariates of numbers. May raise `InputError`. It is not called where it is restored:
        what it needs of them is to be saved (came with API 1.1).
        """

    @abstractmethod
    def fit(self, runs: Iterable[Values]) -> None:
        """Learn from runs of elements; one pass, constant memory."""

    def add(self, runs: Iterable[Values]) -> dict[str, int]:
        """Learn the symbols of runs that it lacks; return how often each comes, by its name.

        What was known keeps its id, but for one symbol that stands for all unknown ones: it may
        stay the last. It is called where a run begins from another on other data; without it new
        symbols are refused there (came with API 1.1).
        """
        raise NotImplementedError

    @abstractmethod
    def encode(self, values: Values) -> NDArray[Any]:
        """Return ids `[n]`, or numbers `[n, F]`; raises `UnknownSymbol` under that policy."""

    @abstractmethod
    def decode(self, ids: NDArray[Any]) -> Values:
        """Return the elements of ids, or numbers in the data's own units."""

    @abstractmethod
    def save(self) -> dict[str, Any]:
        """Return what was learned, as plain JSON."""

    @abstractmethod
    def restore(self, saved: dict[str, Any]) -> None:
        """Take back what `save` gave."""

    def transforms(self) -> Sequence[Transform]:
        """Return what its numbers go through further, series by series; nothing by default.

        They are always the same objects. They are fitted after it; `save` and `restore` are to take
        what they have learned along.
        """
        return ()

    def of_covariates(self) -> Vocabulary[Any]:
        """Return a new one, not fitted, for numbers that are read beside those of this one.

        It scales each column by all of training, and is prepared with their names; what it says of
        `transforms` is not asked, nor anything ever decoded. It is asked of one that was prepared,
        or restored. By default it has the same options (came with API 1.1).
        """
        return type(self)(self.options)

    def notes(self) -> list[str]:
        """Return what the report is to tell of what it learned: how much of the data is unknown.

        It came with API 1.1.
        """
        return []

    def fingerprint(self) -> str:
        """Return what changes when a file that it learns from does; nothing where there is none.

        It came with API 1.1.
        """
        return ""

    def parse(self, text: str) -> Values:
        """Return the elements of a prompt that a person typed."""
        return text

    def text(self, ids: NDArray[Any]) -> str:
        """Return ids as a person reads them."""
        return str(self.decode(ids))

    def symbol(self, index: int) -> str:
        """Return one symbol as it is shown to people."""
        return self.text(np.array([index]))

    def streamer(self) -> Callable[[int], str]:
        """Return a function that takes ids one by one and gives their text as it becomes whole."""
        return lambda index: self.text(np.array([index]))
