"""Training, validation and test: as the data says, contiguous for a stream or a series, else by
whole sequences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra.data.store import Store
from recurra.errors import InputError
from recurra.randomness import numpy_stream
from recurra.spec.tables import Sequence

SplitName: TypeAlias = Literal["train", "validation", "test"]
SCORED = 2_000_000
"""Predictions of a split that figures are made of, so that looking at a huge one takes bounded time
and memory.
"""

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
"""The splits, as a `fold` of the data is called too."""

Rows: TypeAlias = NDArray[np.int64]
"""Sequences, by their place in the data."""
Move: TypeAlias = tuple[int, int, int]
"""What is taken of a label from one split and given to another: the label, and the two splits."""


@dataclass(frozen=True)
class Split:
    """Spans of the store that belong to one split: span i is `[low[i], high[i])`, of a sequence
    begun at `begin[i]`.

    What lies between `begin` and `low` belongs to an earlier split, and may be read but not scored.
    An answer lies `reach` steps past the one that gives it; where a `whole` sequence is answered
    once, there are as many as sequences. The first `lag` elements of a sequence are the answer to
    nothing.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    begin: NDArray[np.int64]
    reach: int = 1
    whole: bool = False
    lag: int = 0

    def __len__(self) -> int:
        return len(self.low)

    @property
    def elements(self) -> int:
        """How many elements the split holds."""
        return int((self.high - self.low).sum())

    @property
    def first_targets(self) -> NDArray[np.int64]:
        """The first element of each span that lies far enough past another to be its answer."""
        return np.maximum(self.low, self.begin + max(self.reach, self.lag))

    @property
    def steps(self) -> int:
        """How many answers there are."""
        return len(self) if self.whole else int(np.maximum(self.high - self.first_targets, 0).sum())

    def scored(self) -> Split:
        """Return the part that figures are made of: all of it, or the spans up to its `SCORED`-th
        prediction.
        """
        if self.whole:
            return self
        steps = np.maximum(self.high - self.first_targets, 0)
        before = np.cumsum(steps) - steps
        keep = before < SCORED
        high = np.minimum(self.high, self.first_targets + SCORED - before)
        return replace(self, low=self.low[keep], high=high[keep], begin=self.begin[keep])


def split(
    store: Store, sequence: Sequence, reach: int = 1, whole: bool = False, by_class: bool = True
) -> dict[SplitName, Split]:
    """Return the three splits, the same whatever the seed of a run.

    An answer lies `reach` steps past the one that gives it, or is one of a `whole` sequence. Where
    the data says of each sequence in which split it is, so it is. Else by `split_by` one line of
    all steps is cut into stretches, or each sequence is, or whole sequences are drawn, `by_class`
    of each label its share. Raises `InputError` (RC041) if counts do not add up to what there is,
    and if the data gives nothing to training.
    """
    if (folds := store.columns.get("fold")) is not None:
        return _of_rows(store, _given(folds), reach, whole)
    if sequence.split_by == "time":
        return _over_time(store, sequence, reach)
    line = sequence.carry or len(store.starts) == 1
    contiguous = sequence.split_by == "position" or (
        sequence.split_by == "auto" and line and not whole
    )
    total = len(store) if contiguous else len(store.starts)
    sizes = _sizes(sequence, total, "elements" if contiguous else "sequences")
    if contiguous:
        cuts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return {
            name: replace(_between(store, int(low), int(high)), reach=reach)
            for name, low, high in zip(SPLITS, cuts, cuts[1:], strict=False)
        }
    labels = store.columns.get("label")
    drawn = _drawn(total, sizes) if labels is None or not by_class else _stratified(labels, sizes)
    return _of_rows(store, drawn, reach, whole)


def _over_time(store: Store, sequence: Sequence, reach: int) -> dict[SplitName, Split]:
    """Return the splits that hold a part of each sequence: first what training sees, last what
    tests it.

    A sequence that is too short for a part gives it nothing.
    """
    sizes = np.array(
        [_sizes(sequence, int(steps), "steps of a sequence") for steps in store.ends - store.starts]
    )
    cuts = store.starts[:, None] + np.concatenate(
        [np.zeros((len(sizes), 1), np.int64), sizes.cumsum(axis=1)], axis=1
    )
    found: dict[SplitName, Split] = {}
    for index, name in enumerate(SPLITS):
        low, high = cuts[:, index], cuts[:, index + 1]
        some = high > low
        found[name] = Split(low[some], high[some], store.starts[some], reach)
    return found


def _of_rows(store: Store, drawn: list[Rows], reach: int, whole: bool) -> dict[SplitName, Split]:
    """Return the splits that hold whole sequences."""
    ends = store.ends
    return {
        name: Split(store.starts[rows], ends[rows], store.starts[rows], reach, whole)
        for name, rows in zip(SPLITS, drawn, strict=True)
    }


def _given(folds: list[str]) -> list[Rows]:
    """Return the sequences of each split, as the data says. Raises `InputError` (RC041)."""
    fold = np.array(folds)
    rows = [np.flatnonzero(fold == name) for name in SPLITS]
    if not len(rows[0]):
        fact = f"the data puts none of its {len(folds)} sequences into training"
        cure = 'give some the fold "train", or leave fold out'
        raise InputError.of("RC041", fact, key="source", cure=cure)
    return rows


def _drawn(total: int, sizes: list[int]) -> list[Rows]:
    """Return the sequences of each split, drawn from all."""
    order = np.arange(total)
    if sizes[1] + sizes[2]:
        order = numpy_stream(0, "split").permutation(total)
    return [np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def _stratified(labels: list[str], sizes: list[int]) -> list[Rows]:
    """Return the sequences of each split: its share of those of each label, drawn at random."""
    order = numpy_stream(0, "split").permutation(len(labels))
    ids = {name: index for index, name in enumerate(sorted(set(labels)))}
    label = np.array([ids[name] for name in labels])
    of_each = np.bincount(label)
    last = np.cumsum(_shared(of_each, sizes), axis=1)  # L S: the place after the last of each split

    line = order[np.argsort(label[order], kind="stable")]  # label by label, at random within each
    place = np.arange(len(line)) - (np.cumsum(of_each) - of_each)[label[line]]
    owner = (place[:, None] >= last[label[line]]).sum(axis=1)
    return [np.sort(line[owner == index]) for index in range(len(sizes))]


def _shared(of_each: NDArray[np.int64], sizes: list[int]) -> NDArray[np.int64]:
    """Return how many of each label each split takes, `[L, S]`: its share, rounded up or down.

    So it can be that each label is dealt out, and each split full. What a share has over a whole
    number is moved round in circles, which change no sum, each until one share more is whole (Cox
    1987, "A constructive procedure for unbiased controlled rounding",
    doi:10.1080/01621459.1987.10478456).
    """
    total = int(of_each.sum())
    whole, rest = np.divmod(of_each[:, None] * np.array(sizes), total)
    over: list[list[int]] = rest.tolist()  # parts of `total`; what is all of it is one more
    pending: list[int] = []
    for row in range(len(over)):
        pending.append(row)
        while moves := _circle(over, pending, total):
            part = min(min(over[label][a], total - over[label][b]) for label, a, b in moves)
            for label, a, b in moves:
                over[label][a] -= part
                over[label][b] += part
        pending = [label for label in pending if _broken(over[label], total)]
    shares: NDArray[np.int64] = whole + np.array(over) // total
    return shares


def _circle(over: list[list[int]], rows: list[int], total: int) -> list[Move]:
    """Return moves after which each split has what it had before; none where there is no circle.

    Two labels whose shares are both broken in the same two splits make one, and so do three of
    which each shares another split with the next. Of three splits there are no others, and four
    labels always hold such a pair.
    """
    broken = {row: _broken(over[row], total) for row in rows}
    for first, second in combinations(rows, 2):
        both = [split for split in broken[first] if split in broken[second]]
        if len(both) > 1:
            return [(first, both[0], both[1]), (second, both[1], both[0])]
    pairs = {tuple(splits): row for row, splits in broken.items()}
    ring = ((0, 1), (1, 2), (0, 2))
    if not all(pair in pairs for pair in ring):
        return []
    return [(pairs[0, 1], 0, 1), (pairs[1, 2], 1, 2), (pairs[0, 2], 2, 0)]


def _broken(shares: list[int], total: int) -> list[int]:
    """Return in which splits the share of a label is no whole number."""
    return [index for index, share in enumerate(shares) if 0 < share < total]


def _sizes(sequence: Sequence, total: int, what: str) -> list[int]:
    """Return how many elements, or sequences, each split takes; rounding favours training."""
    if sequence.counted:
        counts = [int(count) for count in sequence.split]
        if sum(counts) != total:
            fact = (
                f"split counts {' + '.join(map(str, counts))} = {sum(counts)} {what}, but there are"
                f" {total}"
            )
            cure = (
                f"make the first {max(total - counts[1] - counts[2], 0)}, or write shares that add"
                " up to 1"
            )
            raise InputError.of("RC041", fact, key="sequence.split", cure=cure)
        return counts
    test = int(total * sequence.split[2] + 1e-9)
    both = int(total * (sequence.split[1] + sequence.split[2]) + 1e-9)
    return [total - both, both - test, test]


def _between(store: Store, low: int, high: int) -> Split:
    """Return the spans of the store between two positions, cut where sequences begin."""
    ends = store.ends
    rows: Any = np.flatnonzero((store.starts < high) & (ends > low))
    return Split(
        np.maximum(store.starts[rows], low), np.minimum(ends[rows], high), store.starts[rows]
    )


def sampled(rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return at most `limit` of some rows, evenly spaced from the first to the last, and always the
    same.
    """
    if len(rows) <= limit:
        return rows
    return rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]


def place_of(store: Store, splits: dict[SplitName, Split], at: int) -> str:
    """Return where a position of the store lies, in words: its split, its sequence and its position
    there, from 0.
    """
    sequence = int(np.searchsorted(store.starts, at, side="right"))
    inside = f"position {at - int(store.starts[sequence - 1])}"
    if len(store.starts) > 1:
        inside += f" of sequence {sequence}"
    owner = next(
        (name for name, part in splits.items() if ((part.low <= at) & (at < part.high)).any()), None
    )
    return f"{inside}, in the {owner} split" if owner else inside
