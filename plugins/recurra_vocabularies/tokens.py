"""What vocabularies of whole tokens share: a table from token to id, learned by counting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recurra import SymbolOptions, UnknownSymbol, Vocabulary

UNKNOWN = "<unknown>"

O = TypeVar("O", bound=SymbolOptions)  # noqa: E741


class TokenTable(Vocabulary[O]):
    """Ids of tokens, and one more at the end for the unknown one where the policy asks for it."""

    def __init__(self, options: O) -> None:
        super().__init__(options)
        self.left_out: list[int] = []
        self._learn([])

    def _learn(self, tokens: list[str]) -> None:
        """Give each token its id, and the unknown one a name that none of them has."""
        self.tokens = tokens
        self.ids = {token: index for index, token in enumerate(tokens)}
        self.unknown = UNKNOWN
        while self.unknown in self.ids:
            self.unknown = f"<{self.unknown}>"

    @property
    def size(self) -> int:
        """The number of tokens, and one more for the unknown one."""
        count = len(self.tokens)
        return count + 1 if self.options.unknown == "token" and count else count

    def count(
        self, runs: Iterable[Iterable[str]], min_count: int = 1, max_size: int = 0
    ) -> Counter[str]:
        """Learn the tokens that come at least `min_count` times, and return how often each comes.

        Of more than `max_size`, where that is not 0, it takes the most frequent. They are sorted.
        """
        counts: Counter[str] = Counter()
        for run in runs:
            counts.update(run)

        self._learn(_frequent(counts, min_count, max_size))
        known = sum(counts[token] for token in self.tokens)
        total = counts.total()
        self.left_out = [total - known, total] if known < total else []
        return counts

    def take_in(
        self, runs: Iterable[Iterable[str]], min_count: int = 1, max_size: int = 0
    ) -> dict[str, int]:
        """Take the tokens that are new and come often enough, as many as there is room for."""
        known = self.tokens
        counts: Counter[str] = Counter()
        for run in runs:
            counts.update(token for token in run if token not in self.ids)

        room = max(max_size - len(known), 0) if max_size else 0
        if max_size and not room:
            return {}
        new = _frequent(counts, min_count, room)
        self._learn([*known, *new])
        self.left_out = []
        return {token: counts[token] for token in new}

    def notes(self) -> list[str]:
        """Return how much of the data is unknown, where tokens were left out."""
        if not self.left_out:
            return []
        unknown, total = self.left_out
        return [f"{unknown:,} of {total:,} {self.unit}s are unknown, {unknown / total:.1%}"]

    def number(self, tokens: list[str]) -> NDArray[np.int64]:
        """Return the ids of tokens.

        Raises `UnknownSymbol`, or leaves unknown ones out, as the policy says.
        """
        fallback = len(self.tokens) if self.options.unknown == "token" else -1
        numbers = (self.ids.get(token, fallback) for token in tokens)
        ids = np.fromiter(numbers, np.int64, len(tokens))
        missing = ids < 0
        if missing.any():
            if self.options.unknown == "error":
                at = int(missing.argmax())
                raise UnknownSymbol(tokens[at], at)
            ids = ids[~missing]
        return ids

    def names(self, ids: NDArray[Any]) -> list[str]:
        """Return the tokens of ids."""
        size = len(self.tokens)
        numbers = np.asarray(ids).tolist()
        return [self.tokens[i] if i < size else self.unknown for i in numbers]

    def save(self) -> dict[str, Any]:
        """Return the tokens."""
        left_out = {"left_out": [*self.left_out]} if self.left_out else {}
        return {"tokens": [*self.tokens], **left_out}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back the tokens."""
        self._learn(list(saved["tokens"]))
        self.left_out = list(saved.get("left_out", []))


def _frequent(counts: Counter[str], min_count: int, max_size: int) -> list[str]:
    """Return the tokens that come often enough, sorted; of more than `max_size`, if that is not 0,
    the most frequent.
    """
    frequent = [token for token, times in counts.items() if times >= min_count]
    if max_size:
        by_frequency = sorted(frequent, key=lambda token: (-counts[token], token))
        frequent = by_frequency[:max_size]
    return sorted(frequent)
