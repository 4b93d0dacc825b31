"""What simple rules say of the numbers that answer sequences.

The mean of training; 1-NN and ridge on vectors: numbers are stretched to one length, and symbols
are counted. Of more than `MOST` sequences the rules learn from some, evenly spaced in the order of
the first number that answers them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recurra import Examples
from recurra_targets.deviation import Deviations
from recurra_targets.rules import blocks, spaced
from recurra_targets.vectors import Ridge, Vectors, nearest

Floats = NDArray[np.float64]
Sequences = Sequence[NDArray[Any]]
Rule = Callable[[Sequences], Floats]
"""Gives the numbers `[n, F]` that answer sequences."""

MOST = 2000
"""The most sequences to learn from."""
COUNTED = 4096
"""So many symbols are counted, the most frequent of training."""


def value_rules(train: Examples, held: Examples) -> dict[str, Deviations]:
    """Return what each rule, learned from `train`, comes to on `held`; of nothing, none."""
    assert train.answers is not None and held.answers is not None, "whole sequences are asked"
    if not len(train) or not len(held):
        return {}

    rows = spaced(train.answers[:, 0], MOST)
    sequences = list(train.sequences())
    rules = _rules(train, [sequences[row] for row in rows.tolist()], train.answers[rows])
    rules = {"mean": _constant(train.answers.mean(axis=0))} | rules

    asked = list(held.sequences())
    deviations = {name: Deviations(held.answers.shape[1]) for name in rules}
    for block in blocks(asked):
        part = [asked[row] for row in block.tolist()]
        for name, rule in rules.items():
            deviations[name].add(rule(part), held.answers[block])
    return deviations


def _rules(train: Examples, sequences: Sequences, answers: Floats) -> dict[str, Rule]:
    """Return 1-NN and ridge, learned from sequences and the numbers `[n, F]` that answer them.

    Ridge has one penalty for all numbers, which therefore have the same deviation for it.
    """
    read: Read = (
        Vectors(sequences) if train.elements == "numbers" else Counts(sequences, train.size)
    )
    vectors = read.of(sequences)
    mean, deviation = answers.mean(axis=0), answers.std(axis=0)
    unit = np.where(deviation > 0, deviation, 1.0)
    line = Ridge(vectors, (answers - mean) / unit)
    return {
        "1-NN": lambda asked: answers[nearest(read.of(asked), vectors)],
        "ridge": lambda asked: line.predict(read.of(asked)) * unit + mean,
    }


def _constant(row: Floats) -> Rule:
    return lambda asked: np.broadcast_to(row, (len(asked), len(row)))


class Read(Protocol):
    """How sequences become vectors."""

    def of(self, sequences: Sequences) -> Floats:
        """Return vectors `[n, D]`."""


class Counts:
    """How a sequence of symbols becomes a vector: how often it shows each, and how long it is.

    Each count loses the mean that it has in training, and is divided by its deviation.
    """

    def __init__(self, sequences: Sequences, symbols: int) -> None:
        times = np.bincount(np.concatenate(sequences), minlength=symbols)
        self.place = np.full(symbols, -1)
        counted = np.sort(np.argsort(-times, kind="stable")[:COUNTED])
        self.place[counted] = np.arange(len(counted))
        self.width = len(counted) + 1

        counts = self._counts(sequences)
        deviation = counts.std(axis=0)
        self.mean: Floats = counts.mean(axis=0)
        self.deviation: Floats = np.where(deviation > 0, deviation, np.inf)

    def of(self, sequences: Sequences) -> Floats:
        """Return the vectors `[n, D]` of n sequences."""
        return (self._counts(sequences) - self.mean) / self.deviation

    def _counts(self, sequences: Sequences) -> Floats:
        counts = np.zeros((len(sequences), self.width))
        for row, sequence in zip(counts, sequences, strict=True):
            places = self.place[sequence]
            row[:-1] = np.bincount(places[places >= 0], minlength=self.width - 1)
            row[-1] = len(sequence)
        return counts
