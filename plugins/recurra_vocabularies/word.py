"""Words as symbols."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray

from recurra import Field, SymbolOptions, Unsuited
from recurra_vocabularies.scripts import unsuited
from recurra_vocabularies.tokens import TokenTable

TOKEN = re.compile(r" ?\w+| ?[^\w\s]|\s")


class WordOptions(SymbolOptions):
    """Options of word."""

    unknown: Literal["error", "token", "skip"] = Field(
        "token",
        description=(
            "what to do with a word that is not known: refuse it, use one token for all, leave"
            " it out"
        ),
    )
    min_count: int = Field(1, ge=1, description="words that come less often are unknown")
    max_size: int = Field(0, ge=0, description="keep only the most frequent words; 0 is all")
    lowercase: bool = Field(
        False, description="fold the text to lower case, which decoding cannot undo"
    )


class Word(TokenTable[WordOptions]):
    """Words and punctuation marks with the single space before them, other white space by itself.

    Decoding joins the tokens and gives the very text back, but for unknown words and folded case.
    """

    unit: ClassVar[str] = "word"

    @property
    def lossless(self) -> bool:
        """Whether every word is kept, in its own case."""
        options = self.options
        return not (options.lowercase or options.min_count > 1 or options.max_size)

    def split(self, text: str) -> list[str]:
        """Return the tokens of a text; joined, they are the text."""
        return TOKEN.findall(text.lower() if self.options.lowercase else text)

    def fit(self, runs: Iterable[str]) -> None:
        """Count the words.

        Warns (`Unsuited`) if the text is in a script that puts no spaces between them.
        """
        words = (self.split(run) for run in runs)
        counts = self.count(words, self.options.min_count, self.options.max_size)
        if fault := unsuited(counts):
            warnings.warn(fault, Unsuited, stacklevel=2)

    def add(self, runs: Iterable[str]) -> dict[str, int]:
        """Take the words that are new and come often enough, as many as there is room for."""
        words = (self.split(run) for run in runs)
        return self.take_in(words, self.options.min_count, self.options.max_size)

    def encode(self, values: str) -> NDArray[Any]:
        """Return one id a token."""
        return self.number(self.split(values))

    def decode(self, ids: NDArray[Any]) -> str:
        """Return the text."""
        return "".join(self.names(ids))
