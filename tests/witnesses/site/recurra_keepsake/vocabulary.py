"""Characters, the most frequent first."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recurra import UnknownSymbol, Vocabulary
from recurra_keepsake.options import CommonOptions

UNKNOWN = "\ufffd"


class Common(Vocabulary[CommonOptions]):
    """One id for each character: 0 for the most frequent, and so on; the unknown one comes last."""

    unit: ClassVar[str] = "character"

    def __init__(self, options: CommonOptions) -> None:
        super().__init__(options)
        self._learn([])

    def _learn(self, symbols: list[str]) -> None:
        self.symbols = symbols
        self.ids = {symbol: index for index, symbol in enumerate(symbols)}
        self.extra = self.options.unknown == "token" and bool(symbols)

    @property
    def size(self) -> int:
        """The number of characters, and one more for the unknown one where the policy asks for
        it.
        """
        return len(self.symbols) + self.extra

    def fit(self, runs: Iterable[str]) -> None:
        """Count the characters, run by run; equally frequent ones stand in the order of Unicode."""
        counts: Counter[str] = Counter()
        for run in runs:
            counts.update(run)
        ordered = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        self._learn(ordered[: self.options.max_size or None])

    def encode(self, values: str) -> NDArray[np.int64]:
        """Return one id a character; raises `UnknownSymbol`, or leaves unknown ones out, as the
        policy says.
        """
        other = len(self.symbols) if self.extra else -1
        ids = np.fromiter((self.ids.get(symbol, other) for symbol in values), np.int64, len(values))
        unknown = np.flatnonzero(ids < 0)
        if len(unknown) and self.options.unknown == "error":
            raise UnknownSymbol(values[unknown[0]], int(unknown[0]))
        return ids[ids >= 0]

    def decode(self, ids: NDArray[Any]) -> str:
        """Return the text of ids; the unknown character becomes U+FFFD."""
        return "".join(
            self.symbols[i] if i < len(self.symbols) else UNKNOWN for i in np.asarray(ids).tolist()
        )

    def save(self) -> dict[str, Any]:
        """Return the code points in the order of their ids: plain JSON, all that `restore`
        needs.
        """
        return {"points": [ord(symbol) for symbol in self.symbols]}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back the characters."""
        self._learn([chr(point) for point in saved["points"]])
