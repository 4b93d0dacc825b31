"""The contract of a source: where sequences come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Generic, NamedTuple, TypeVar

from recurra.contracts.options import Options
from recurra.contracts.vocabulary import Element, Values

O = TypeVar("O", bound=Options)  # noqa: E741


class Piece(NamedTuple):
    """A run of elements that follow each other; `start` tells that a new sequence begins with it."""

    values: Values
    start: bool = True


class Source(ABC, Generic[O]):
    """Gives sequences, piece by piece, so that a corpus larger than memory can pass through.

    `offers` says what elements it can give; it is asked for one of them. Reading twice gives the same pieces.
    """

    offers: ClassVar[tuple[Element, ...]] = ("text",)

    def __init__(self, options: O) -> None:
        self.options = options

    @abstractmethod
    def read(self, element: Element) -> Iterator[Piece]:
        """Give the pieces in order. Raises `InputError` (RC040, RC042) that names the file and the row."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a text that changes whenever what `read` gives would change; must be cheap."""

    def features(self) -> list[str]:
        """Return the names of the columns of numbers, where they have names."""
        return []

    def gaps(self) -> list[str]:
        """Return the rows that the last `read` left out before others of their sequence, as a person would find them.

        A step after such a gap stands at another position than in the data: where positions count, as under a clock,
        the task is refused. A source that leaves nothing out has none.
        """
        return []
