"""Rows that a table leaves out, and whether what comes after them still stands where it stood."""

from __future__ import annotations


class Gaps:
    """Rows that are left out before others of their sequence, which thus move up.

    What is left out at the end moves nothing, nor does the beginning of a table that is one
    sequence: all of it moves together. In groups it does, for they stand beside each other.
    """

    def __init__(self, grouped: bool = False) -> None:
        self.rows: list[str] = []
        self.grouped = grouped
        self.begin()

    def begin(self) -> None:
        """Begin a new sequence."""
        self.waiting: list[str] = []
        self.begun = self.grouped

    def leave(self, place: int | str, what: str = "line") -> None:
        """Leave out what stands at a line: a row, a step of it, or a blank line."""
        self.waiting.append(f"{what} {place}")

    def keep(self) -> None:
        """Keep a row, which stands after those that were left out."""
        if self.begun:
            self.rows += self.waiting
        self.waiting, self.begun = [], True
