"""What `recurra generate` takes and prints, where text and forecasts differ.

Each is an object, and both stand in one table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from recurra.cli.show import numbers
from recurra.cli.visible import visible
from recurra.errors import InputError


class Generation(Protocol):
    """A generation of one kind of elements.

    `prompt` and `values` are the options that give what it goes on from; `steps` are texts, or
    numbers, one for each step. Of several streams a step has a list of texts.
    """

    def check(self, prompt: str | None, values: str | None, streams: int) -> None:
        """Refuse options that are for the other kind. Raises `InputError` (RC080)."""

    def prompt(self, numbers: Any, text: str) -> Any:
        """Return the prompt as plain data: the numbers of `values`, or a text."""

    def gathered(self, steps: Iterator[Any], streams: int) -> dict[str, Any]:
        """Return what is `generated` as plain data, with the bounds of intervals by their names."""

    def write(self, steps: Iterator[Any], prompt: str, streams: int) -> None:
        """Print a generation as it comes."""


class Texts(Generation):
    """Texts, of several streams one after the other."""

    def check(self, prompt: str | None, values: str | None, streams: int) -> None:
        """Refuse numbers."""
        if values is not None:
            fact = "--values is for numbers, and this run generates symbols"
            raise InputError.of("RC080", fact, cure="give --prompt")

    def prompt(self, numbers: Any, text: str) -> Any:
        """Return the text."""
        return text

    def gathered(self, steps: Iterator[Any], streams: int) -> dict[str, Any]:
        """Return the text, or a list of them."""
        texts = self._texts(steps, streams)
        return {"generated": texts[0] if streams == 1 else texts}

    def _texts(self, steps: Iterator[Any], streams: int) -> list[str]:
        """Return the text of each stream."""
        if streams == 1:
            return ["".join(steps)]

        # Each step holds one part of every stream: these are its rows, and the texts its columns.
        texts = [""] * streams
        for parts in steps:
            pairs = zip(texts, parts, strict=True)
            texts = [text + part for text, part in pairs]
        return texts

    def write(self, steps: Iterator[Any], prompt: str, streams: int) -> None:
        """Print the prompt and what follows; several streams once they are whole."""
        escape = visible if sys.stdout.isatty() else str  # a file or a pipe gets the very text

        if streams > 1:
            for number, text in enumerate(self._texts(steps, streams), 1):
                print(f"--- {number}")
                print(escape(prompt + text))
            return

        sys.stdout.write(escape(prompt))
        for text in steps:
            sys.stdout.write(escape(text))
            sys.stdout.flush()
        sys.stdout.write("\n")


class Forecasts(Generation):
    """Numbers, a step a line."""

    def check(self, prompt: str | None, values: str | None, streams: int) -> None:
        """Refuse text, and several streams."""
        if streams > 1:
            fact = "--streams is for symbols: a forecast is the same every time"
            raise InputError.of("RC080", fact)
        if prompt is not None:
            fact = "--prompt is for text, and this run forecasts numbers"
            raise InputError.of("RC080", fact, cure="give --values 1,2,3")

    def prompt(self, numbers: Any, text: str) -> Any:
        """Return the numbers."""
        return numbers

    def gathered(self, steps: Iterator[Any], streams: int) -> dict[str, Any]:
        """Return the steps."""
        listed = list(steps)
        if not listed or not isinstance(listed[0], dict):
            return {"generated": listed}
        columns = {name: [step[name] for step in listed] for name in listed[0]}
        return {"generated": columns.pop("predicted"), "bounds": columns}

    def write(self, steps: Iterator[Any], prompt: str, streams: int) -> None:
        """Print the steps alone, and behind each the bounds of its intervals."""
        for value in steps:
            told = value if isinstance(value, dict) else {"predicted": value}
            row = numbers(told["predicted"]).strip("()")
            bounds = [f"{name} {numbers(told[name])}" for name in told if name != "predicted"]
            print("  ".join([row, *bounds]), flush=True)


GENERATIONS: Mapping[str, Generation] = {"symbols": Texts(), "numbers": Forecasts()}
"""By what the vocabulary of a run yields."""
