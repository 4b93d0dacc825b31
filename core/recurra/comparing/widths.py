"""The width at which something costs nearest to a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

SCANNED = 128
"""Widths in a row of which one is allowed, where any is: heads and other parts divide a width."""
WIDEST = 1 << 16
"""The widest that is looked at."""

Cost = Callable[[int], "float | None"]
"""What a width costs; nothing of a width that is not allowed. It must not fall as widths grow."""


class Width(NamedTuple):
    """A width, what it costs, and how far that is from a budget, as a share of it."""

    width: int
    cost: float
    error: float
    least: float = 0.0
    """The least that any width was seen to cost."""


def nearest_width(cost: Cost, budget: float, widest: int = WIDEST, around: int = 0) -> Width | None:
    """Return the width that costs nearest to a budget, the narrower of two; none if none is
    allowed.

    Each width is asked for once at most, and none of more than twice what the budget needs. Of a
    cost that is measured, and may fall a little as widths grow, so many allowed ones `around` that
    are looked at too, on either side.
    """
    costs: dict[int, float | None] = {}

    def known(width: int) -> float | None:
        if width not in costs:
            costs[width] = cost(width)
        return costs[width]

    def first(widths: Iterator[int]) -> int | None:
        return next((width for width in widths if known(width) is not None), None)

    def value(width: int) -> float:
        found = known(width)
        assert found is not None
        return found

    below, above, width = None, None, 1
    while above is None and width <= widest:
        end = min(widest, width + SCANNED)
        found = first(iter(range(width, end + 1)))
        if found is None:
            break
        if value(found) >= budget:
            above = found
        else:
            below = found
            width = max(2 * width, found + 1)
    if below is not None and above is None:
        # The last step went beyond the widest, which may still be nearer.
        last = first(iter(range(widest, max(below, widest - SCANNED), -1)))
        if last is not None and value(last) >= budget:
            above = last
        elif last is not None:
            below = last

    while below is not None and above is not None:
        between = first(_outward(below, above))
        if between is None:
            break
        if value(between) >= budget:
            above = between
        else:
            below = between

    def nearest() -> int | None:
        asked = [each for each in costs if costs[each] is not None]
        return min(asked, key=lambda each: (abs(value(each) - budget), each), default=None)

    best = nearest()
    if best is None:
        return None
    for step in (-1, 1):
        end = max(0, best - SCANNED) if step < 0 else min(widest, best + SCANNED) + 1
        left = around
        for width in range(best + step, end, step):
            left -= left > 0 and known(width) is not None
            if not left:
                break
    best = nearest()
    assert best is not None
    least = min(each for each in costs.values() if each is not None)
    return Width(best, value(best), value(best) / budget - 1, least)


def _outward(low: int, high: int) -> Iterator[int]:
    """Give the widths between two, from the middle outward, as far as one is allowed there."""
    middle = (low + high) // 2
    for distance in range(min(SCANNED, high - low)):
        for width in sorted({middle - distance, middle + distance}):
            if low < width < high:
                yield width
