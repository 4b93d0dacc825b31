"""Sums of two numbers, as text."""

from collections.abc import Iterator
from typing import ClassVar

from recurra import Element, Piece, Source
from recurra_keepsake.options import SumsOptions


class Sums(Source[SumsOptions]):
    """Gives lines such as `12+7=19`, each a sequence of its own, in two pieces."""

    offers: ClassVar[tuple[Element, ...]] = ("text",)

    def read(self, element: Element) -> Iterator[Piece]:
        """Give each line: its question starts a sequence, its answer goes on with it."""
        for line in range(self.options.lines):
            one, other = line * 7 % self.options.bound, line * 11 % self.options.bound
            yield Piece(f"{one}+{other}=")
            yield Piece(f"{one + other}\n", start=False)

    def fingerprint(self) -> str:
        """Return what decides the sums: the options."""
        return f"sums: {self.options.model_dump_json()}"
