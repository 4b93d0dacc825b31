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
    numbers = np.arange(len(lengths))
    owner = np.repeat(numbers, lengths)

    # The mark is the first id that is no symbol's; before a symbol stand the marks of its own
    # sequence and of all before it.
    marks = n - 1
    stream = np.full(len(owner) + marks * (len(lengths) + 1), symbols)
    place = np.arange(len(owner)) + marks * (owner + 1)
    stream[place] = np.concatenate(sequences)

    # An n-gram is a number of n digits to the base of all ids.
    codes = np.zeros(len(stream) - n + 1, np.int64)
    for digit in range(n):
        codes = codes * (symbols + 1) + stream[digit : digit + len(codes)]
    return codes, np.repeat(numbers, lengths + n - 1)


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
        different, times = np.unique(codes, return_counts=True)
        by_frequency = np.argsort(-times, kind="stable")
        most_frequent = by_frequency[: TABLE // classes]
        self.known_codes = np.sort(different[most_frequent])  # V
        width = len(self.known_codes)

        # A pair of class and n-gram is one number, which is counted.
        self.grams, self.owner = self._look_up(codes, owner)
        cells = answers[self.owner] * width + self.grams
        counts = np.bincount(cells, minlength=classes * width)
        self.counts = counts.reshape(classes, width)  # k(c, g), C V

        self.totals = self.counts.sum(axis=1)  # k(c), C
        self.members = np.bincount(answers, minlength=classes)  # C
        self.logs = np.log1p(self.counts)

    def chances(self, sequences: Sequence[NDArray[Any]]) -> Floats:
        """Return log p(c | s), `[m, C]`, of m sequences."""
        codes, owner = ngrams(sequences, self.n, self.symbols)
        grams, owner = self._look_up(codes, owner)
        lengths = np.bincount(owner, minlength=len(sequences))
        with np.errstate(divide="ignore"):
            prior = np.log(self.members / len(self.answers))
        chances = self._sums(grams, owner, len(sequences)) + prior
        chances -= lengths[:, None] * np.log(self.totals + len(self.known_codes))
        total = np.logaddexp.reduce(chances, axis=1, keepdims=True)
        return np.asarray(chances - total)

    def left_out(self) -> Floats:
        """Return log p(c | s), `[m, C]`, of its own sequences, each by what all others teach.

        Each row lacks the constant that makes its chances add up to 1. What a sequence has added
        to the counts is taken off. An n-gram that it alone shows is unknown to the others: it is
        not one of their V, and is not asked.
        """
        m, width = len(self.answers), len(self.known_codes)

        # One entry for each n-gram of each sequence: how often it stands there, how often its
        # class shows it elsewhere, and whether nothing else shows it.
        cells, times = np.unique(self.owner * width + self.grams, return_counts=True)
        owner, grams = cells // width, cells % width
        others = self.counts[self.answers[owner], grams] - times
        in_all = self.counts.sum(axis=0)
        alone = in_all[grams] == times

        def total(values: NDArray[Any]) -> Floats:
            return np.asarray(np.bincount(owner, values, minlength=m), np.float64)

        lengths = total(times * ~alone)
        different = width - total(alone)
        with np.errstate(divide="ignore"):
            # Of a class that is not its own, the others know as much as all do.
            chances = self._sums(self.grams, self.owner, m) + np.log(self.members)
            size = np.maximum(self.totals + different[:, None], 1)
            chances -= lengths[:, None] * np.log(size)

            # Of its own class, they know what is left without it.
            own = np.log(self.members[self.answers] - 1) + total(times * np.log1p(others))
            size = np.maximum(self.totals[self.answers] - total(times) + different, 1)
            own -= lengths * np.log(size)

        chances[np.arange(m), self.answers] = own
        return chances

    def _look_up(self, codes: Ints, owner: Ints) -> tuple[Ints, Ints]:
        """Return the places of known n-grams in `known_codes`, and whose they are."""
        place = np.searchsorted(self.known_codes, codes)
        place = np.minimum(place, len(self.known_codes) - 1)
        is_known = self.known_codes[place] == codes
        return place[is_known], owner[is_known]

    def _sums(self, grams: Ints, owner: Ints, m: int) -> Floats:
        """Return the sums of log(k(c, g) + 1) over the n-grams of each sequence, `[m, C]`."""
        sums = [np.bincount(owner, logs[grams], minlength=m) for logs in self.logs]
        return np.stack(sums, axis=1)
