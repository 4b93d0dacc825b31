"""What `recurra generate` takes and prints, where text and forecasts differ: one object each, in
one table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from recurra.cli.show import numbers
from recurra.cli.visible import visible
from recurra.errors import InputError


class Generation(Protocol):
    """A generation of one kind of elements; `prompt` and `values` are the options that give what it
    goes on from.
    """

    def check(self, prompt: str | None, values: str | None, streams: int) -> None:
        """Refuse options that are for the other kind. Raises `InputError` (RC080)."""

    def prompt(self, given: Any, shown: str) -> Any:
        """Return the prompt as plain data: what was given, or is shown."""

    def gathered(self, steps: Iterator[Any], streams: int) -> Any:
        """Return a whole generation as plain data."""

    def write(self, steps: Iterator[Any], prompt: str, streams: int) -> None:
        """Print a generation as it comes."""


class Texts(Generation):
    """Texts, of several streams one after the other."""

    def check(self, prompt: str | None, values: str | None, streams: int) -> None:
        """Refuse numbers."""
        if values is not None:
            fact = "--values is for numbers, and this run generates symbols"
            raise InputError.of("RC080", fact, cure="give --prompt")

    def prompt(self, given: Any, shown: str) -> Any:
        """Return the text that is shown."""
        return shown

    def gathered(self, steps: Iterator[Any], streams: int) -> Any:
        """Return the text, or a list of them."""
        if streams == 1:
            return "".join(steps)
        texts = [""] * streams
        for parts in steps:
            texts = [text + part for text, part in zip(texts, parts, strict=True)]
        return texts

    def write(self, steps: Iterator[Any], prompt: str, streams: int) -> None:
        """Print the prompt and what follows; several streams once they are whole."""
        shown = visible if sys.stdout.isatty() else str  # a file or a pipe gets the very text
        if streams > 1:
            for number, text in enumerate(self.gathered(steps, streams), 1):
                print(f"--- {number}\n{shown(prompt + text)}")
            return
        sys.stdout.write(shown(prompt))
        for text in steps:
            sys.stdout.write(shown(text))
            sys.stdout.flush()
        sys.stdout.write("\n")


class Forecasts(Generation):
    """Numbers, a step a line."""

    def check(self, prompt: str | None, values: str | None, streams: int) -> None:
        """Refuse text, and several streams."""
        if streams > 1:
            raise InputError.of(
                "RC080", "--streams is for symbols: a forecast is the same every time"
            )
        if prompt is not None:
            fact = "--prompt is for text, and this run forecasts numbers"
            raise InputError.of("RC080", fact, cure="give --values 1,2,3")

    def prompt(self, given: Any, shown: str) -> Any:
        """Return the numbers that were given."""
        return given

    def gathered(self, steps: Iterator[Any], streams: int) -> Any:
        """Return the steps."""
        return list(steps)

    def write(self, steps: Iterator[Any], prompt: str, streams: int) -> None:
        """Print the steps alone."""
        for value in steps:
            print(numbers(value).strip("()"), flush=True)


GENERATIONS: Mapping[str, Generation] = {"symbols": Texts(), "numbers": Forecasts()}
"""By what the vocabulary of a run yields."""
