"""Training, validation and test: contiguous for a stream or a series, by whole sequences otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra.data.store import Store
from recurra.errors import InputError
from recurra.randomness import numpy_stream
from recurra.spec.tables import Sequence

SplitName: TypeAlias = Literal["train", "validation", "test"]
SCORED = 2_000_000
"""Predictions of a split that figures are made of, so that looking at a huge one takes bounded time and memory."""

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Spans of the store that belong to one split: span i is `[low[i], high[i])`, of a sequence begun at `begin[i]`.

    What lies between `begin` and `low` belongs to an earlier split, and may be read but not scored.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    begin: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.low)

    @property
    def elements(self) -> int:
        """How many elements the split holds."""
        return int((self.high - self.low).sum())

    @property
    def first_targets(self) -> NDArray[np.int64]:
        """The first element of each span that something comes before, and that can thus be predicted."""
        return np.where(self.low > self.begin, self.low, self.low + 1)

    @property
    def steps(self) -> int:
        """How many elements can be predicted."""
        return int(np.maximum(self.high - self.first_targets, 0).sum())

    def scored(self) -> Split:
        """Return the part that figures are made of: all of it, or the spans up to its `SCORED`-th prediction."""
        steps = np.maximum(self.high - self.first_targets, 0)
        before = np.cumsum(steps) - steps
        keep = before < SCORED
        high = np.minimum(self.high, self.first_targets + SCORED - before)
        return Split(self.low[keep], high[keep], self.begin[keep])


def split(store: Store, sequence: Sequence) -> dict[SplitName, Split]:
    """Return the three splits, the same whatever the seed of a run.

    Raises `InputError` (RC041) if counts do not add up to what there is.
    """
    contiguous = sequence.carry or len(store.starts) == 1
    total = len(store) if contiguous else len(store.starts)
    sizes = _sizes(sequence, total, "elements" if contiguous else "sequences")
    cuts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    if contiguous:
        return {
            name: _between(store, int(low), int(high)) for name, low, high in zip(SPLITS, cuts, cuts[1:], strict=False)
        }
    order = np.arange(total)
    if sizes[1] + sizes[2]:
        order = numpy_stream(0, "split").permutation(total)
    chosen = {name: np.sort(order[low:high]) for name, low, high in zip(SPLITS, cuts, cuts[1:], strict=False)}
    ends = store.ends
    return {name: Split(store.starts[rows], ends[rows], store.starts[rows]) for name, rows in chosen.items()}


def _sizes(sequence: Sequence, total: int, what: str) -> list[int]:
    """Return how many elements, or sequences, each split takes; rounding favours training."""
    if sequence.counted:
        counts = [int(count) for count in sequence.split]
        if sum(counts) != total:
            fact = f"split counts {' + '.join(map(str, counts))} = {sum(counts)} {what}, but there are {total}"
            cure = f"make the first {max(total - counts[1] - counts[2], 0)}, or write shares that add up to 1"
            raise InputError.of("RC041", fact, key="sequence.split", cure=cure)
        return counts
    test = int(total * sequence.split[2] + 1e-9)
    both = int(total * (sequence.split[1] + sequence.split[2]) + 1e-9)
    return [total - both, both - test, test]


def _between(store: Store, low: int, high: int) -> Split:
    """Return the spans of the store between two positions, cut where sequences begin."""
    ends = store.ends
    rows: Any = np.flatnonzero((store.starts < high) & (ends > low))
    return Split(np.maximum(store.starts[rows], low), np.minimum(ends[rows], high), store.starts[rows])


def sampled(rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return at most `limit` of some rows, evenly spaced from the first to the last, and always the same."""
    if len(rows) <= limit:
        return rows
    return rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]


def place_of(store: Store, splits: dict[SplitName, Split], at: int) -> str:
    """Return where a position of the store lies, in words: its split, its sequence and its position there, from 0."""
    sequence = int(np.searchsorted(store.starts, at, side="right"))
    inside = f"position {at - int(store.starts[sequence - 1])}"
    if len(store.starts) > 1:
        inside += f" of sequence {sequence}"
    owner = next((name for name, part in splits.items() if ((part.low <= at) & (at < part.high)).any()), None)
    return f"{inside}, in the {owner} split" if owner else inside
