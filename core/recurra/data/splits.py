"""Training, validation and test: as the data says, or drawn from it.

They are contiguous for a stream or a series; else each holds whole sequences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from recurra.data.store import Ints, Store
from recurra.errors import InputError
from recurra.randomness import numpy_stream
from recurra.spec.tables import Sequence

SplitName: TypeAlias = Literal["train", "validation", "test", "all"]
SCORED = 2_000_000
"""Predictions of a split that figures are made of.

So it takes bounded time and memory to look at a huge one.
"""

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
"""The splits, as a `fold` of the data is called too."""

PARTS: tuple[SplitName, ...] = (*SPLITS, "all")
"""What figures are made of: a split, or all of the data."""

Rows: TypeAlias = Ints
"""Sequences, by their place in the data."""


class Move(NamedTuple):
    """Some of the share of a label goes from one split to another."""

    label: int
    source: int
    target: int


@dataclass(frozen=True)
class Split:
    """Spans of the store that belong to one split.

    Span i is `[low[i], high[i])`, of a sequence begun at `begin[i]`. What lies between `begin` and
    `low` belongs to an earlier split, and may be read but not scored. An answer lies `reach` steps
    past the one that gives it; where a `whole` sequence is answered once, there are as many as
    sequences. The first `lag` elements of a sequence are the answer to nothing. One that is `uncut`
    is read from the beginning of each sequence to its end. One that is `at_once` holds sequences
    whose steps are answered, and each is read in one window. A step is answered by one element, or
    by all of those `ahead` that lie in the span; where the `last` origin alone counts, it is the
    last step with all of them in it, or the first that may be one.
    """

    low: Ints
    high: Ints
    begin: Ints
    reach: int = 1
    whole: bool = False
    lag: int = 0
    uncut: bool = False
    at_once: bool = False
    ahead: int = 0
    last: bool = False

    def __len__(self) -> int:
        return len(self.low)

    @property
    def elements(self) -> int:
        """How many elements the split holds."""
        low = self.begin if self.uncut else self.low
        return int((self.high - low).sum())

    @property
    def first_targets(self) -> Ints:
        """The first element of each span that lies far enough past another to be its answer."""
        skipped = max(self.reach, self.lag)
        first = np.maximum(self.low, self.begin + skipped)
        return np.maximum(first, self.high - self.ahead) if self.last else first

    @property
    def stops(self) -> Ints:
        """The position after the last element of each span that is the first answer of a step."""
        return np.minimum(self.high, self.first_targets + 1) if self.last else self.high

    @property
    def steps(self) -> int:
        """How many sequences or steps are answered."""
        if self.whole:
            return len(self)
        return int(self._span_steps().sum())

    def _span_steps(self) -> Ints:
        """Return how many steps of each span are answered."""
        steps: Ints = np.maximum(self.stops - self.first_targets, 0)
        return steps

    def scored(self) -> Split:
        """Return the part that figures are made of: all, or the spans up to prediction `SCORED`.

        A sequence that is read in one window is in it to its end.
        """
        if self.whole:
            return self
        steps = self._span_steps()
        before = np.cumsum(steps) - steps
        whole = self.uncut or self.at_once
        left = np.where(whole, steps, SCORED - before)
        some = before < SCORED
        high = self.high if self.last else np.minimum(self.high, self.first_targets + left)
        return replace(self, low=self.low[some], high=high[some], begin=self.begin[some])


Splits: TypeAlias = dict[SplitName, Split]
"""The splits by their names."""


def split(
    store: Store,
    sequence: Sequence,
    reach: int = 1,
    whole: bool = False,
    by_class: bool = True,
    asked: Ints | None = None,
    at_once: bool = False,
    ahead: int = 0,
    last: bool = False,
) -> Splits:
    """Return the three splits, the same whatever the seed of a run.

    An answer lies `reach` steps past the one that gives it, or is one of a `whole` sequence, or
    follows sequence i from `asked[i]` on. Where
    the data says of each sequence in which split it is, so it is. Else by `split_by` one line of
    all steps is cut into stretches, or each sequence is, or whole sequences are drawn, `by_class`
    of each label its share. Sequences that are `at_once` are read in one window each. Elements
    `ahead` answer a step together, or the `last` such of each span alone. Raises
    `InputError` (RC041) if counts do not add up to what there is, and if the data gives nothing to
    training.
    """
    splits = _split(store, sequence, reach, whole, by_class, asked, at_once)
    more: dict[str, Any] = {"at_once": at_once, "ahead": ahead, "last": last}
    return {name: replace(part, **more) for name, part in splits.items()}


def everything(
    store: Store,
    reach: int,
    whole: bool = False,
    asked: Ints | None = None,
    at_once: bool = False,
    ahead: int = 0,
    last: bool = False,
) -> Split:
    """Return all sequences, each from its beginning to its end, as `split` takes its arguments."""
    starts, uncut = store.starts, asked is not None
    low = starts if asked is None else asked
    part = Split(low, store.ends, starts, reach, whole, uncut=uncut, at_once=at_once)
    return replace(part, ahead=ahead, last=last)


def called(name: SplitName) -> str:
    """Return what a split is called in a sentence."""
    return "all of the data" if name == "all" else f"the {name} split"


def _split(
    store: Store,
    sequence: Sequence,
    reach: int,
    whole: bool,
    by_class: bool,
    asked: Ints | None,
    at_once: bool,
) -> Splits:
    """Return the three splits, as `split` says."""
    folds = store.columns.get("fold")
    if folds is not None:
        return _of_rows(store, _by_fold(folds), reach, whole, asked)
    if sequence.split_by == "time":
        return _over_time(store, sequence, reach)
    if _is_contiguous(store, sequence, whole or at_once or asked is not None):
        return _over_positions(store, sequence, reach)

    total = len(store.starts)
    sizes = _sizes(sequence, total, "sequences")
    labels = store.columns.get("label")
    if labels is not None and by_class:
        rows = _stratified(labels, sizes)
    else:
        rows = _drawn(total, sizes)
    return _of_rows(store, rows, reach, whole, asked)


def _is_contiguous(store: Store, sequence: Sequence, whole: bool) -> bool:
    """Tell whether one line of all steps is cut, rather than whole sequences drawn."""
    if sequence.split_by != "auto":
        return sequence.split_by == "position"
    one_line = sequence.carry or len(store.starts) == 1
    return one_line and not whole


def _over_positions(store: Store, sequence: Sequence, reach: int) -> Splits:
    """Return the splits that are stretches of one line of all steps."""
    sizes = _sizes(sequence, len(store), "elements")
    splits: Splits = {}
    low = 0
    for name, size in zip(SPLITS, sizes, strict=True):
        high = low + size
        stretch = _between(store, low, high)
        splits[name] = replace(stretch, reach=reach)
        low = high
    return splits


def _over_time(store: Store, sequence: Sequence, reach: int) -> Splits:
    """Return the splits that hold a part of each sequence: training sees the first, test the last.

    A sequence that is too short for a part gives it nothing; one that is no longer than what is
    counted for the others is training's.
    """
    lengths = store.ends - store.starts
    least = sum(sequence.held) if sequence.counted and sequence.takes_rest else 0
    if least >= lengths.max():
        held = [int(count) for count in sequence.held]
        raise _no_rest(held, int(lengths.max()), "steps of the longest sequence")
    # Sequences of one length are cut alike.
    different, which = np.unique(lengths, return_inverse=True)
    sizes = [
        _sizes(sequence, length, "steps of a sequence") if length > least else [length, 0, 0]
        for length in different.tolist()
    ]

    splits: Splits = {}
    low = store.starts
    for name, size in zip(SPLITS, np.array(sizes)[which].T, strict=True):
        high = low + size
        some = high > low
        splits[name] = Split(low[some], high[some], store.starts[some], reach)
        low = high
    return splits


def _of_rows(
    store: Store, parts: list[Rows], reach: int, whole: bool, asked: Ints | None
) -> Splits:
    """Return the splits that hold whole sequences."""
    ends = store.ends
    splits: Splits = {}
    for name, rows in zip(SPLITS, parts, strict=True):
        first = store.starts[rows]
        uncut = asked is not None
        low = first if asked is None else asked[rows]
        splits[name] = Split(low, ends[rows], first, reach, whole, uncut=uncut)
    return splits


def _by_fold(folds: list[str]) -> list[Rows]:
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
    cuts = np.cumsum(sizes)[:-1]
    return [np.sort(part) for part in np.split(order, cuts)]


def _stratified(labels: list[str], sizes: list[int]) -> list[Rows]:
    """Return the sequences of each split: its share of those of each label, drawn at random."""
    order = numpy_stream(0, "split").permutation(len(labels))
    names = sorted(set(labels))
    ids = {name: index for index, name in enumerate(names)}
    label = np.array([ids[name] for name in labels])

    of_each = np.bincount(label)
    shares = _shared(of_each, sizes)
    last = np.cumsum(shares, axis=1)  # L S

    # The sequences lie label by label, at random within each. Of 5 with a label, shared out as
    # 3 1 1, `last` is 3 4 5: those at places 0 1 2 are past no end, and go to the first split; the
    # one at place 3 is past one, and goes to the second.
    line = order[np.argsort(label[order], kind="stable")]
    own = label[line]
    before = np.cumsum(of_each) - of_each
    place = np.arange(len(line)) - before[own]
    passed = place[:, None] >= last[own]
    owner = passed.sum(axis=1)
    return [np.sort(line[owner == index]) for index in range(len(sizes))]


def _shared(of_each: Ints, sizes: list[int]) -> Ints:
    """Return how many of each label each split takes, `[L, S]`: its share, rounded up or down.

    So it can be that each label is dealt out, and each split full. What a share has over a whole
    number is moved round in circles, which change no sum, each until one share more is whole (Cox
    1987, "A constructive procedure for unbiased controlled rounding",
    doi:10.1080/01621459.1987.10478456).
    """
    total = int(of_each.sum())
    products = of_each[:, None] * np.array(sizes)
    whole, rest = np.divmod(products, total)

    # Counted in parts of `total`: what is all of it is one more.
    over: list[list[int]] = rest.tolist()
    pending: list[int] = []
    for row in range(len(over)):
        pending.append(row)
        while moves := _circle(over, pending, total):
            _turn(over, moves, total)
        pending = [label for label in pending if _broken(over[label], total)]

    more = np.array(over) // total
    shares: Ints = whole + more
    return shares


def _turn(over: list[list[int]], moves: list[Move], total: int) -> None:
    """Make the moves of a circle, as much in each as makes the first of the shares whole."""
    part = total
    for label, source, target in moves:
        room = total - over[label][target]
        part = min(part, over[label][source], room)
    for label, source, target in moves:
        over[label][source] -= part
        over[label][target] += part


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
            a, b = both[:2]
            return [Move(first, a, b), Move(second, b, a)]

    pairs = {tuple(splits): row for row, splits in broken.items()}
    ring = ((0, 1), (1, 2), (0, 2))
    if not all(pair in pairs for pair in ring):
        return []
    one, two, three = (pairs[pair] for pair in ring)
    return [Move(one, 0, 1), Move(two, 1, 2), Move(three, 2, 0)]


def _broken(shares: list[int], total: int) -> list[int]:
    """Return in which splits the share of a label is no whole number."""
    return [index for index, share in enumerate(shares) if 0 < share < total]


def _sizes(sequence: Sequence, total: int, what: str) -> list[int]:
    """Return how many elements, or sequences, each split takes; rounding favours training."""
    validation, test = sequence.held
    if sequence.counted:
        held = [int(validation), int(test)]
        left = total - sum(held)
        if sequence.takes_rest and left <= 0:
            raise _no_rest(held, total, what)
        counts = [left if share == "rest" else int(share) for share in sequence.split]
        if sum(counts) != total:
            raise _miscounted(counts, total, what)
        return counts

    tested = int(total * test + 1e-9)
    unseen = int(total * (validation + test) + 1e-9)
    return [total - unseen, unseen - tested, tested]


def _miscounted(counts: list[int], total: int, what: str) -> InputError:
    """Return the error of counts that do not add up to what there is."""
    added = " + ".join(map(str, counts))
    left = max(total - counts[1] - counts[2], 0)
    fact = f"split counts {added} = {sum(counts)} {what}, but there are {total}"
    cure = f'make the first {left}, or "rest", or write shares that add up to 1'
    return InputError.of("RC041", fact, key="sequence.split", cure=cure)


def _no_rest(held: list[int], total: int, what: str) -> InputError:
    """Return the error of counts that leave training nothing."""
    added = " + ".join(map(str, held))
    fact = f"split counts {added} leave training nothing of {total} {what}"
    return InputError.of("RC041", fact, key="sequence.split", cure="count fewer, or give more")


def _between(store: Store, low: int, high: int) -> Split:
    """Return the spans of the store between two positions, cut where sequences begin."""
    ends = store.ends
    touched = (store.starts < high) & (ends > low)
    rows = np.flatnonzero(touched)
    begin = store.starts[rows]
    return Split(np.maximum(begin, low), np.minimum(ends[rows], high), begin)


def sampled(rows: Rows, limit: int) -> Rows:
    """Return at most `limit` of some rows, evenly spaced, and always the same.

    The first and the last are among them.
    """
    if len(rows) <= limit:
        return rows
    places = np.linspace(0, len(rows) - 1, limit).round()
    return rows[places.astype(np.int64)]


def place_of(store: Store, splits: Splits, at: int) -> str:
    """Return in words where a position of the store lies: its place in its sequence, from 0.

    The sequence is named where there are several, and the split where one holds the position.
    """
    sequence = int(np.searchsorted(store.starts, at, side="right"))
    begin = int(store.starts[sequence - 1])
    inside = f"position {at - begin}"
    if len(store.starts) > 1:
        inside += f" of sequence {sequence}"

    for name in SPLITS:
        part = splits[name]
        holds = (part.low <= at) & (at < part.high)
        if holds.any():
            return f"{inside}, in the {name} split"
    return inside
