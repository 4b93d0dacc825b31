"""Words as symbols."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import model_validator

from recurra import Field, SymbolOptions, Unsuited
from recurra_vocabularies.boundaries import segments
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
    boundaries: Literal["simple", "unicode"] = Field(
        "simple",
        description=(
            "where words end: simple, at spaces and punctuation; unicode, as UAX #29 has it, which"
            " needs the package regex"
        ),
    )

    @model_validator(mode="after")
    def _regex_is_there(self) -> WordOptions:
        if self.boundaries == "unicode" and find_spec("regex") is None:
            cure = 'pip install "recurra[text]", or take "simple"'
            raise ValueError(f"boundaries: unicode needs the package regex: {cure}")
        return self


class Word(TokenTable[WordOptions]):
    """Words and punctuation marks with the single space before them, other white space by itself.

    A word is a run of letters, digits and `_`, or, by the boundaries of Unicode, what UAX #29 takes
    for one: "can't" and "3.14" are one, marks and joiners stay with their letter, and an emoji is
    whole. No dictionary is asked: each Chinese character is a word, and so is each hiragana and
    each letter of Thai, with its marks.

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
        if self.options.lowercase:
            text = text.lower()
        return segments(text) if self.options.boundaries == "unicode" else TOKEN.findall(text)

    def fit(self, runs: Iterable[str]) -> None:
        """Count the words.

        Warns (`Unsuited`) if the text is in a script that puts no spaces between them.
        """
        words = (self.split(run) for run in runs)
        counts = self.count(words, self.options.min_count, self.options.max_size)
        fault = unsuited(counts) if self.options.boundaries == "simple" else ""
        if fault:
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
