"""Characters as symbols."""

from __future__ import annotations

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
    """One id for each code point that the text holds, in the order of Unicode; the unknown token
    comes last.
    """

    unit: ClassVar[str] = "character"

    def __init__(self, options: CharacterOptions) -> None:
        super().__init__(options)
        self._learn(np.zeros(0, np.uint32))

    def _learn(self, points: NDArray[np.uint32]) -> None:
        self.points = points
        self.extra = self.options.unknown == "token"
        self.table = np.full(POINTS, len(points) if self.extra else -1, np.int64)
        self.table[points] = np.arange(len(points))

    @property
    def size(self) -> int:
        """The number of characters, and one more for the unknown token."""
        return len(self.points) + (self.extra and len(self.points) > 0)

    def fit(self, runs: Iterable[str]) -> None:
        """Take every character of the text."""
        seen = np.zeros(POINTS, bool)
        for run in runs:
            seen[_points(run)] = True
        self._learn(np.flatnonzero(seen).astype(np.uint32))

    def encode(self, values: str) -> NDArray[np.int64]:
        """Return one id a character; raises `UnknownSymbol`, or leaves unknown ones out, as the
        policy says.
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
        points = np.append(self.points, np.uint32(ord(UNKNOWN)))[np.asarray(ids, np.int64)]
        return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")

    def symbol(self, index: int) -> str:
        """Return the character; the unknown token has a name of its own where the text holds U+FFFD
        itself.
        """
        unknown = index == len(self.points)
        return (
            "<unknown>" if unknown and ord(UNKNOWN) in self.points else self.text(np.array([index]))
        )

    def save(self) -> dict[str, Any]:
        """Return the code points."""
        return {"points": self.points.tolist()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back the code points."""
        self._learn(np.array(saved["points"], np.uint32))


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
