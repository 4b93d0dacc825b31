"""Missing numbers of a sequence, on the line between those before and after them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from recurra_sources.mending import too_long

if TYPE_CHECKING:
    from recurra_sources.pieces import Step

NOTHING_BEFORE = "stands here, nor before it in its sequence"
NOTHING_AFTER = "stands here, nor after it in its sequence"
"""What is wrong with nothing, where no line can be drawn to it."""


@dataclass
class _Waiting:
    """A row that waits for numbers: how many it lacks, and whether one of them will never come."""

    step: Step
    lacks: int = 0
    faulty: bool = False


@dataclass
class _Column:
    """A column of the sequence at hand.

    It has its last number, the rows since that lack one, and why these cannot be filled, if so.
    """

    last: float = 0.0
    lacking: list[_Waiting] = field(default_factory=list)
    fault: str = NOTHING_BEFORE


Fault: TypeAlias = Callable[["Step", int, str], None]
"""What takes note of a cell that cannot be filled: its row, its column, and why."""


class Interpolation:
    """Fills what is missing in each sequence, each column as if the others were not there.

    Steps wait from the first that lacks a number to the one that brings it. What has no number
    before or after it in its sequence is a fault, and so is a gap of more than `longest` steps,
    where that is not 0.
    """

    def __init__(self, longest: int, fault: Fault) -> None:
        self.longest, self.fault = longest, fault
        self.waiting: deque[_Waiting] = deque()
        self.columns: list[_Column] = []

    def filled(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Give the steps with every number; those of a fault are left out."""
        group: str | None = None
        for step in steps:
            if step.many is not None:
                # The rows before and behind are whole, too.
                yield step
                continue
            if step.ahead:
                # Nothing of its sequence comes behind it that could fill anything.
                yield from self._end()
                yield step
                continue
            if step.group != group or not self.columns:
                yield from self._end()
                group = step.group
                self.columns = [_Column() for _ in step.values]
            row = _Waiting(step)
            self.waiting.append(row)
            for index, column in enumerate(self.columns):
                self._note(row, index, column)
            yield from self._whole()
        yield from self._end()

    def _note(self, row: _Waiting, index: int, column: _Column) -> None:
        """Take note of one cell of the last row: a number that fills those before, or none."""
        number = row.step.values[index]
        if number is not None:
            self._fill(index, column, number)
            return

        row.lacks += 1
        column.lacking.append(row)
        if not column.fault and self.longest and len(column.lacking) > self.longest:
            column.fault = too_long(self.longest)
        if column.fault:
            self._refuse(index, column)

    def _fill(self, index: int, column: _Column, number: float) -> None:
        """Fill what a column lacks before a number."""
        parts = len(column.lacking) + 1
        for part, row in enumerate(column.lacking, 1):
            row.step.values[index] = _between(column.last, number, part / parts)
            row.lacks -= 1
        column.lacking.clear()
        column.last, column.fault = number, ""

    def _refuse(self, index: int, column: _Column) -> None:
        """Take note that the rows that lack a number of a column cannot be filled."""
        for row in column.lacking:
            row.lacks -= 1
            row.faulty = True
            self.fault(row.step, index, column.fault)
        column.lacking.clear()

    def _end(self) -> Iterator[Step]:
        """End a sequence: what it still lacks does not come."""
        for index, column in enumerate(self.columns):
            column.fault = NOTHING_AFTER
            self._refuse(index, column)
        yield from self._whole()

    def _whole(self) -> Iterator[Step]:
        """Give the first of the rows that wait, while they are whole."""
        while self.waiting and not self.waiting[0].lacks:
            row = self.waiting.popleft()
            if not row.faulty:
                yield row.step


def _between(first: float, last: float, share: float) -> float:
    """Return a number on the line from one to another, which is finite as both are."""
    way = last - first
    if math.isinf(way):
        return first * (1 - share) + last * share
    return first + way * share
