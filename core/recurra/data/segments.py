"""How a split is read for evaluation: every element scored once, in the state that its own past
gives it.

A sequence is streamed from its start with the state carried. A long one is cut into segments of a
fixed size, each primed with the steps before it, which are read and not scored; so are the first
elements of a contiguous split. Nothing here depends on the batch size or on the window length of
training, and so neither does any figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.data.batches import Batch, Reader
from recurra.data.splits import Split

SEGMENT = 1 << 12
"""Scored steps of a segment."""
CONTEXT = 1 << 10
"""Steps read before a segment, where there are any."""
PLACES = 64
"""Places of a split at which the first steps are looked at,"""
OPENING = 64
"""and how many steps at each."""

Spans: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""First input, first scored target, and the position after the last target of each segment."""


def segments(split: Split) -> Spans:
    """Return the segments of a split."""
    first, high = split.first_targets, split.high
    rows = np.flatnonzero(high > first)
    counts = -(-(high[rows] - first[rows]) // SEGMENT)
    owner = np.repeat(rows, counts)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    target = first[owner] + index * SEGMENT
    stop = np.minimum(high[owner], target + SEGMENT)
    start = np.maximum(split.begin[owner], target - split.reach - CONTEXT)
    return start, target, stop


def forgets(split: Split) -> bool:
    """Tell whether any segment is read after less than all that comes before it in its sequence."""
    targets = np.maximum(split.high - split.first_targets, 1)
    # Where the last segment of each span begins.
    last = split.first_targets + (targets - 1) // SEGMENT * SEGMENT
    return bool((last - split.reach - CONTEXT > split.begin).any())


def openings(split: Split) -> tuple[Spans, Spans]:
    """Return up to `PLACES` places of a split, evenly spread, as segments that begin there, and
    after what lies before.

    Both score the same: up to `OPENING` steps, of which the first is inside a sequence. They are
    about the beginning in the midst of a sequence, as generation from a prompt does; where a
    sequence begins, both states would be the same.
    """
    reach = split.reach
    # An answer whose step has something before it.
    first = np.maximum(split.first_targets, split.begin + reach + 1)
    counts = np.maximum(split.high - first, 0)
    total = int(counts.sum())
    places = min(PLACES, total)
    index = (2 * np.arange(places) + 1) * total // (2 * max(places, 1))
    ends = np.cumsum(counts)
    span = np.searchsorted(ends, index, side="right")

    target = first[span] + index - (ends - counts)[span]
    stop = np.minimum(split.high[span], target + OPENING)
    before = np.maximum(split.begin[span], target - reach - CONTEXT)
    return (target - reach, target, stop), (before, target, stop)


def groups(
    reader: Reader, split: Split, rows: int = 64, window: int = 512
) -> Iterator[Iterator[Batch]]:
    """Give the segments of a split in groups, as `grouped` does."""
    return grouped(reader, segments(split), rows, window)


def grouped(reader: Reader, spans: Spans, rows: int, window: int) -> Iterator[Iterator[Batch]]:
    """Give groups of segments; each is an iterator of windows whose state is carried from one to
    the next.

    Longer segments come first, so that a group's rows are about as long as each other.
    """
    start, target, stop = spans
    order = np.argsort(start - stop, kind="stable")
    for at in range(0, len(order), rows):
        chosen = order[at : at + rows]
        yield _windows(reader, start[chosen], target[chosen], stop[chosen], window)


def _windows(
    reader: Reader,
    start: NDArray[np.int64],
    target: NDArray[np.int64],
    stop: NDArray[np.int64],
    window: int,
) -> Iterator[Batch]:
    steps = stop - reader.reach - start
    for offset in range(0, int(steps.max()), window):
        left = np.clip(steps - offset, 0, window)
        batch = reader.cut(start + np.minimum(offset, steps - 1), np.maximum(left, 1), target)
        batch.mask[left == 0] = False
        if offset == 0:
            batch.reset[:, 0] = True
        yield batch._replace(fresh=torch.full_like(batch.fresh, offset == 0))
