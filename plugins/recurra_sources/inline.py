"""Sequences written in the task file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import model_validator

from recurra import Element, Field, InputError, Options, Piece, Source
from recurra_sources.names import half_pair


class InlineOptions(Options):
    """Options of inline: exactly one of the five."""

    text: str | None = Field(None, description="one sequence of text")
    texts: list[str] | None = Field(None, description="several sequences of text")
    tokens: list[str] | None = Field(None, description="one sequence of whole tokens")
    values: list[float] | list[list[float]] | None = Field(
        None, description="one series: a number a step, or a list of numbers a step for several features"
    )
    series: list[list[float]] | None = Field(None, description="several series of one number a step")

    @model_validator(mode="after")
    def _exactly_one(self) -> InlineOptions:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of text, texts, tokens, values and series; got {given or 'none'}")
        rows = self.values or []
        widths = {len(row) if isinstance(row, list) else 1 for row in rows}
        if 0 in widths:
            raise ValueError("values: every step must have one number or more; one has none")
        if len(widths) > 1:
            raise ValueError(f"values: every step must have the same number of features; got {sorted(widths)}")
        return self


class Inline(Source[InlineOptions]):
    """Gives what the task file holds."""

    offers: ClassVar[tuple[Element, ...]] = ("text", "tokens", "numbers")

    def read(self, element: Element) -> Iterator[Piece]:
        """Give each sequence as one piece."""
        options = self.options
        held: dict[Element, list[Any]] = {
            "text": [options.text] if options.text is not None else list(options.texts or []),
            "tokens": [options.tokens] if options.tokens is not None else [],
            "numbers": [options.values] if options.values is not None else list(options.series or []),
        }
        chosen = held[element]
        if not chosen and not any(value == [] for value in (options.texts, options.series)):
            other = next(name for name, value in held.items() if value)
            raise InputError.of(
                "RC030", f"the inline source holds {other}, but the vocabulary reads {element}", key="source"
            )
        for sequence in chosen:
            if not sequence:
                continue
            if element == "numbers":
                yield Piece(np.array(sequence, np.float64).reshape(len(sequence), -1))
            else:
                _check_whole("".join(sequence))
                yield Piece(sequence if isinstance(sequence, str) else [*sequence])

    def fingerprint(self) -> str:
        """Return a hash of what the task file holds."""
        return hashlib.sha256(self.options.model_dump_json().encode("utf-8", "surrogatepass")).hexdigest()


def _check_whole(text: str) -> None:
    """Raise `InputError` (RC042) for half a surrogate pair, which Python lets a text hold."""
    at = half_pair(text)
    if at is not None:
        fact = f"the inline source holds {ascii(text[at])}, half a surrogate pair"
        cure = "mend the text where it was cut: such a half is no character"
        raise InputError.of("RC042", fact, key="source", cure=cure)
