"""How a split is read for evaluation: each element is scored once, in the state of its own past.

A sequence is streamed from its start with the state carried. A long one is cut into segments of a
fixed size, each primed with the steps before it, which are read and not scored; so are the first
elements of a contiguous split. What is uncut is read whole. Nothing here depends on the batch size
or on the window length of training, and so neither does any figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch

from recurra.data.batches import Batch, Reader
from recurra.data.splits import Split
from recurra.data.store import Ints

SEGMENT = 1 << 12
"""Scored steps of a segment."""
CONTEXT = 1 << 10
"""Steps read before a segment, where there are any."""
AT_ONCE = 1 << 15
"""Steps that are read side by side where segments are not cut."""
PLACES = 64
"""Places of a split at which the first steps are looked at,"""
OPENING = 64
"""and how many steps at each."""

Spans: TypeAlias = tuple[Ints, Ints, Ints, Ints]
"""First input, first scored target, and the position after the last target of each segment.

Then comes the position that no answer of several elements goes past.
"""


def segments(split: Split) -> Spans:
    """Return the segments of a split."""
    first, high = split.first_targets, split.stops
    rows = np.flatnonzero(high > first)
    if split.uncut or split.at_once:
        return split.begin[rows], first[rows], high[rows], high[rows]
    targets = high[rows] - first[rows]
    counts = -(-targets // SEGMENT)

    # Spans of 2 and 3 segments: `owner` is 0 0 1 1 1, and `index` 0 1 0 1 2.
    owner = np.repeat(rows, counts)
    before = np.cumsum(counts) - counts
    index = np.arange(len(owner)) - np.repeat(before, counts)

    target = first[owner] + index * SEGMENT
    stop = np.minimum(target + SEGMENT, high[owner])
    primed = target - split.reach - CONTEXT
    start = np.maximum(primed, split.begin[owner])
    return start, target, stop, split.high[owner]


def forgets(split: Split) -> bool:
    """Tell whether any segment is read after less than all that comes before it in its sequence."""
    if split.uncut or split.at_once:
        return False
    first = split.first_targets
    targets = np.maximum(split.stops - first, 1)

    # The last segment of a span lies farthest from the beginning of its sequence.
    full = (targets - 1) // SEGMENT
    last = first + full * SEGMENT
    start = last - split.reach - CONTEXT
    return bool((start > split.begin).any())


def openings(split: Split) -> tuple[Spans, Spans]:
    """Return up to `PLACES` places of a split, as segments that begin there and segments before.

    The places are evenly spread; the second segments begin with what lies before them. Both score
    the same: up to `OPENING` steps, of which the first is inside a sequence. They are about the
    beginning in the midst of a sequence, as generation from a prompt does; where a sequence begins,
    both states would be the same.
    """
    reach = split.reach
    # The step of the first answer has something before it.
    inside = split.begin + reach + 1
    first = np.maximum(split.first_targets, inside)
    counts = np.maximum(split.stops - first, 0)
    total = int(counts.sum())

    # The answers of all spans, laid end to end, are cut into as many equal parts as there are
    # places; each place is the middle of its part.
    places = min(PLACES, total)
    middles = 2 * np.arange(places) + 1
    index = middles * total // (2 * max(places, 1))
    ends = np.cumsum(counts)
    span = np.searchsorted(ends, index, side="right")

    skipped = ends - counts
    target = first[span] + index - skipped[span]
    high = split.high[span]
    stop = np.minimum(split.stops[span], target + OPENING)
    there = target - reach
    before = np.maximum(split.begin[span], there - CONTEXT)
    return (there, target, stop, high), (before, target, stop, high)


def groups(
    reader: Reader, split: Split, rows: int = 64, window: int = 512
) -> Iterator[Iterator[Batch]]:
    """Give the segments of a split in groups, as `grouped` does."""
    return grouped(reader, segments(split), rows, window)


def grouped(reader: Reader, spans: Spans, rows: int, window: int) -> Iterator[Iterator[Batch]]:
    """Give groups of segments: each gives windows, from one of which to the next state is carried.

    Longer segments come first, so that a group's rows are about as long as each other. With a
    `window` of 0 each is one window, and a group has `AT_ONCE` steps at most, but for one segment
    that has more.
    """
    start, _, stop, _ = spans
    order = np.argsort(start - stop, kind="stable")
    at = 0
    while at < len(order):
        longest = int(stop[order[at]] - start[order[at]])
        count = rows if window else max(1, min(rows, AT_ONCE // longest))
        group = order[at : at + count]
        first, target, last, until = (part[group] for part in spans)
        yield _windows(reader, (first, target, last, until), window or longest)
        at += count


def _windows(reader: Reader, spans: Spans, window: int) -> Iterator[Batch]:
    start, target, stop, until = spans
    steps = stop - reader.reach - start
    for offset in range(0, int(steps.max()), window):
        # A row that has ended reads its last step once more, and scores nothing.
        left = np.clip(steps - offset, 0, window)
        first = start + np.minimum(offset, steps - 1)
        batch = reader.cut(first, np.maximum(left, 1), target, until)
        batch.mask[left == 0] = False

        if offset == 0:
            batch.reset[:, 0] = True
        fresh = torch.full_like(batch.fresh, offset == 0)
        yield batch._replace(fresh=fresh)
