"""Characters as symbols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recurra import SymbolOptions, UnknownSymbol, Vocabulary

UNKNOWN = "\ufffd"
POINTS = 0x110000


class CharacterOptions(SymbolOptions):
    """Options of character."""


class Character(Vocabulary[CharacterOptions]):
    """One id for each code point that the text holds, in the order of Unicode.

    The unknown token comes last.
    """

    unit: ClassVar[str] = "character"

    def __init__(self, options: CharacterOptions) -> None:
        super().__init__(options)
        self._learn(np.zeros(0, np.uint32))

    def _learn(self, points: NDArray[np.uint32]) -> None:
        """Give each code point its id, and each other one that of the unknown token, or -1."""
        self.points = points
        self.extra = self.options.unknown == "token"
        unknown = len(points) if self.extra else -1
        self.table = np.full(POINTS, unknown, np.int64)
        self.table[points] = np.arange(len(points))

    @property
    def size(self) -> int:
        """The number of characters, and one more for the unknown token."""
        count = len(self.points)
        return count + 1 if self.extra and count else count

    def fit(self, runs: Iterable[str]) -> None:
        """Take every character of the text."""
        seen = np.zeros(POINTS, bool)
        for run in runs:
            seen[_points(run)] = True
        points = np.flatnonzero(seen)
        self._learn(points.astype(np.uint32))

    def add(self, runs: Iterable[str]) -> dict[str, int]:
        """Take the characters that are new, behind all others, in the order of Unicode."""
        counts: Counter[int] = Counter()
        for run in runs:
            points, times = np.unique(_points(run), return_counts=True)
            counts.update(dict(zip(points.tolist(), times.tolist(), strict=True)))

        new = sorted(counts.keys() - set(self.points.tolist()))
        self._learn(np.append(self.points, np.array(new, np.uint32)))
        return {chr(point): counts[point] for point in new}

    def encode(self, values: str) -> NDArray[np.int64]:
        """Return one id a character.

        Raises `UnknownSymbol`, or leaves unknown ones out, as the policy says.
        """
        ids = self.table[_points(values)]
        missing = ids < 0
        if missing.any():
            if self.options.unknown == "error":
                at = int(missing.argmax())
                raise UnknownSymbol(values[at], at)
            ids = ids[~missing]
        return ids

    def decode(self, ids: NDArray[Any]) -> str:
        """Return the text; the unknown token becomes U+FFFD."""
        table = np.append(self.points, np.uint32(ord(UNKNOWN)))
        points = table[np.asarray(ids, np.int64)]
        raw = points.astype("<u4").tobytes()
        return raw.decode("utf-32-le", "surrogatepass")

    def symbol(self, index: int) -> str:
        """Return the character, or U+FFFD for the unknown token.

        That has a name of its own where the text holds U+FFFD itself.
        """
        unknown = index == len(self.points)
        if unknown and ord(UNKNOWN) in self.points:
            return "<unknown>"
        return self.text(np.array([index]))

    def save(self) -> dict[str, Any]:
        """Return the code points."""
        return {"points": self.points.tolist()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back the code points."""
        self._learn(np.array(saved["points"], np.uint32))


def _points(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text."""
    raw = text.encode("utf-32-le", "surrogatepass")
    return np.frombuffer(raw, np.uint32)
