"""The sequences of a split that a network answers worst, of all that several processes see."""

from __future__ import annotations

import heapq
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.data.batches import Whole
from recurra.job.data import Data
from recurra.job.figures import Said, Wrong
from recurra.world import World

MOST_WRONG = 5
"""Sequences that are named whose answer the network thought least likely."""


class Miss(NamedTuple):
    """A sequence that was answered wrongly, and the chance that the right answer was given.

    Its `row` is its place in the data; the answers are ids.
    """

    chance: float
    row: int
    came: int
    predicted: int


class Far(NamedTuple):
    """A sequence, how far its numbers lie from those that came, and these, scaled.

    Its `row` is its place in the data.
    """

    away: float
    row: int
    predicted: list[float]


class FarthestOff:
    """The sequences whose numbers lie farthest from what the network says, scaled, of all shown."""

    def __init__(self, loss: Loss[Any]) -> None:
        self.loss = loss
        self.rows: list[Far] = []

    def look(self, batch: Whole, output: Tensor) -> None:
        """Take note of those that are farthest off."""
        point = self.loss.point(output).double()
        answers = batch.y.double()
        away = (point - answers).square().sum(dim=-1)
        columns = (away, batch.rows, point)
        rows = map(Far, *(column.tolist() for column in columns))
        self.rows = heapq.nlargest(MOST_WRONG, [*self.rows, *rows])

    def joined(self, world: World) -> FarthestOff:
        """Return those of all that several processes are shown."""
        every = FarthestOff(self.loss)
        every.rows = heapq.nlargest(MOST_WRONG, chain(*world.gathered(self.rows)))
        return every

    def listed(self, data: Data) -> list[Wrong]:
        """Return where they stand, what came and what was answered, in the data's own units."""
        labels = data.reader.labels
        assert labels is not None, "whole sequences are asked"
        return [
            {
                "sequence": far.row + 1,
                "came": _own(data, labels[far.row]),
                "predicted": _own(data, far.predicted),
            }
            for far in self.rows
        ]


class MostWrong:
    """The sequences whose answer the network gave the least chance, of all that it is shown."""

    def __init__(self, loss: Loss[Any]) -> None:
        self.loss = loss
        self.misses: list[Miss] = []

    def look(self, batch: Whole, output: Tensor) -> None:
        """Take note of those that were answered wrongly."""
        point = self.loss.point(output)
        chances = point.double().softmax(dim=-1)
        of_what_came = chances.gather(1, batch.y[:, None])[:, 0]
        columns = (of_what_came, batch.rows, batch.y, point.argmax(dim=-1))
        answers = map(Miss, *(column.tolist() for column in columns))
        misses = [answer for answer in answers if answer.came != answer.predicted]
        self.misses = heapq.nsmallest(MOST_WRONG, self.misses + misses)

    def joined(self, world: World) -> MostWrong:
        """Return those of all that several processes are shown."""
        every = MostWrong(self.loss)
        every.misses = heapq.nsmallest(MOST_WRONG, chain(*world.gathered(self.misses)))
        return every

    def listed(self, data: Data) -> list[Wrong]:
        """Return where they stand, and what was answered; the first sequence has number 1."""
        name = data.answers.symbol
        return [
            {
                "sequence": miss.row + 1,
                "came": name(miss.came),
                "predicted": name(miss.predicted),
                "chance": miss.chance,
            }
            for miss in self.misses
        ]


def _own(data: Data, scaled: Any) -> Said:
    """Return the numbers that answer a sequence, in the data's own units; one alone is no list."""
    numbers: list[float] = data.answers.decode(np.array([scaled]))[0].tolist()
    return numbers[0] if len(numbers) == 1 else numbers


WRONG: dict[str, type[MostWrong] | type[FarthestOff]] = {
    "symbols": MostWrong,
    "numbers": FarthestOff,
}
"""What looks for the worst answers to whole sequences, by what these are."""
