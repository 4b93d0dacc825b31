"""Naive Bayes on n-grams: a class is known by how often it shows each run of n symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TABLE = 1 << 24
"""The most counts, n-grams times classes: of more n-grams the most frequent are counted."""


def ngrams(sequences: Sequence[NDArray[Any]], n: int, symbols: int) -> tuple[Ints, Ints]:
    """Return the n-grams of sequences, each as one number, and whose they are.

    A sequence stands between n - 1 marks: the 3-grams of "on" are __o _on on_ n__. Sequences
    follow each other in one stream and share the marks between them, too few for an n-gram.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    stream = np.full(len(owner) + (n - 1) * (len(lengths) + 1), symbols)  # no symbol's id
    stream[np.arange(len(owner)) + (n - 1) * (owner + 1)] = np.concatenate(sequences)

    codes = np.zeros(len(stream) - n + 1, np.int64)
    for place in range(n):
        codes = codes * (symbols + 1) + stream[place : place + len(codes)]
    return codes, np.repeat(np.arange(len(lengths)), lengths + n - 1)


class NaiveBayes:
    """p(c | s) ~ p(c) prod_g p(g | c), over the n-grams g of a sequence s that training has.

    p(c) is the share of class c in training, and p(g | c) = (k(c, g) + 1) / (k(c) + V), with
    k(c, g) how often its sequences show g, k(c) the sum over all g, and V the number of different
    n-grams of training. A class that training lacks has no chance.
    """

    def __init__(
        self,
        sequences: Sequence[NDArray[Any]],
        answers: Ints,
        n: int,
        symbols: int,
        classes: int,
    ) -> None:
        """Learn from m sequences of ids below `symbols`, and their classes `[m]`."""
        self.n, self.symbols, self.answers = n, symbols, answers
        codes, owner = ngrams(sequences, n, symbols)
        known, times = np.unique(codes, return_counts=True)
        by_frequency = np.argsort(-times, kind="stable")
        self.known = np.sort(known[by_frequency[: TABLE // classes]])  # V

        self.grams, self.owner = self._look_up(codes, owner)
        cells = answers[self.owner] * len(self.known) + self.grams
        counts = np.bincount(cells, minlength=classes * len(self.known))
        self.counts = counts.reshape(classes, len(self.known))  # k(c, g), C V
        self.totals = self.counts.sum(axis=1)  # k(c), C
        self.members = np.bincount(answers, minlength=classes)  # C
        self.logs = np.log1p(self.counts)

    def chances(self, sequences: Sequence[NDArray[Any]]) -> Floats:
        """Return log p(c | s), `[m, C]`, of m sequences."""
        grams, owner = self._look_up(*ngrams(sequences, self.n, self.symbols))
        lengths = np.bincount(owner, minlength=len(sequences))
        with np.errstate(divide="ignore"):
            prior = np.log(self.members / len(self.answers))
        chances = self._sums(grams, owner, len(sequences)) + prior
        chances -= lengths[:, None] * np.log(self.totals + len(self.known))
        return np.asarray(chances - np.logaddexp.reduce(chances, axis=1, keepdims=True))

    def left_out(self) -> Floats:
        """Return log p(c | s), `[m, C]`, of its own sequences, each by what all others teach.

        Each row lacks the constant that makes its chances add up to 1. What a sequence has added
        to the counts is taken off. An n-gram that it alone shows is unknown to the others: it is
        not one of their V, and is not asked.
        """
        m, width = len(self.answers), len(self.known)
        cells, times = np.unique(self.owner * width + self.grams, return_counts=True)
        owner, grams = cells // width, cells % width
        others = self.counts[self.answers[owner], grams] - times
        alone = self.counts.sum(axis=0)[grams] == times

        def total(values: NDArray[Any]) -> Floats:
            return np.asarray(np.bincount(owner, values, minlength=m), np.float64)

        lengths, different = total(times * ~alone), width - total(alone)
        with np.errstate(divide="ignore"):
            # Of a class that is not its own, the others know as much as all do.
            chances = self._sums(self.grams, self.owner, m) + np.log(self.members)
            size = np.maximum(self.totals + different[:, None], 1)
            chances -= lengths[:, None] * np.log(size)

            own = np.log(self.members[self.answers] - 1) + total(times * np.log1p(others))
            size = np.maximum(self.totals[self.answers] - total(times) + different, 1)
            own -= lengths * np.log(size)
        chances[np.arange(m), self.answers] = own
        return chances

    def _look_up(self, codes: Ints, owner: Ints) -> tuple[Ints, Ints]:
        """Return the places of n-grams in `known`, and whose they are, less the unknown ones."""
        place = np.minimum(np.searchsorted(self.known, codes), len(self.known) - 1)
        known = self.known[place] == codes
        return place[known], owner[known]

    def _sums(self, grams: Ints, owner: Ints, m: int) -> Floats:
        """Return the sums of log(k(c, g) + 1) over the n-grams of each sequence, `[m, C]`."""
        sums = [np.bincount(owner, logs[grams], minlength=m) for logs in self.logs]
        return np.stack(sums, axis=1)
