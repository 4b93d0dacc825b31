"""Whole tokens as symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recurra import Element, SymbolOptions
from recurra_vocabularies.tokens import TokenTable


class CategoryOptions(SymbolOptions):
    """Options of category."""


class Category(TokenTable[CategoryOptions]):
    """One id for each token that the source gives, in the order of their names."""

    reads: ClassVar[Element] = "tokens"
    unit: ClassVar[str] = "token"

    def fit(self, runs: Iterable[list[str]]) -> None:
        """Take every token."""
        self.count(runs)

    def add(self, runs: Iterable[list[str]]) -> dict[str, int]:
        """Take the tokens that are new, behind all others, in the order of their names."""
        return self.take_in(runs)

    def parse(self, text: str) -> list[str]:
        """Return the tokens of a prompt: they stand between white space."""
        return text.split()

    def encode(self, values: list[str]) -> NDArray[Any]:
        """Return one id a token."""
        return self.number(list(values))

    def decode(self, ids: NDArray[Any]) -> list[str]:
        """Return the tokens."""
        return self.names(ids)

    def text(self, ids: NDArray[Any]) -> str:
        """Return the tokens with spaces between."""
        return " ".join(self.names(ids))

    def streamer(self) -> Callable[[int], str]:
        """Return a function that gives each token after a space."""

        def give(index: int) -> str:
            (token,) = self.names(np.array([index]))
            return " " + token

        return give
