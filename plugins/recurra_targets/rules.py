"""What simple rules reach on the same sequences: a figure without one beside it says little.

All: majority, the commonest class of training. Numbers: 1-NN and ridge, on sequences stretched to
one length. Symbols: naive Bayes on n-grams, with the n that is right most often in training, each
sequence by what all others teach. Rules learn from training alone, and answer before it is known
what came. Their cost is bounded: of more than `NEIGHBOURS` sequences of numbers, or more symbols
than `SYMBOLS` and `SCORES` say, they learn from some, evenly spaced in each class; and among more
than `CLASSES` classes there is no naive Bayes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra import Examples, Metrics
from recurra_targets.bayes import NaiveBayes
from recurra_targets.measured import Pairs
from recurra_targets.vectors import Ridge, Vectors, nearest

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Sequences: TypeAlias = Sequence[NDArray[Any]]

Rule: TypeAlias = Callable[[Sequences], tuple[Ints, Floats | None]]
"""Gives the classes `[n]` of sequences, and the logs of all chances `[n, C]` where it has them."""

NEIGHBOURS = 2000
"""The most sequences of numbers to learn from."""

SYMBOLS = 1 << 22
"""About the most symbols to learn from."""

SCORES = 1 << 25
"""About the most symbols to learn from, times classes."""

CLASSES = 4096
"""The most classes for naive Bayes."""

ORDERS = (1, 2, 3)
"""The n of n-grams among which naive Bayes chooses."""

ROWS, ELEMENTS = 1024, 1 << 20
"""So many sequences are answered at a time, or fewer that hold about so many elements."""


@dataclass(frozen=True)
class Lesson:
    """Sequences with their classes, `[n]`."""

    sequences: Sequences
    answers: Ints

    def only(self, rows: NDArray[Any]) -> Lesson:
        """Return some of them."""
        return Lesson([self.sequences[row] for row in rows.tolist()], self.answers[rows])


def label_rules(train: Examples, held: Examples) -> dict[str, Metrics]:
    """Return the figures of each rule on `held`, learned from `train`; of nothing, none.

    Each has accuracy, balanced_accuracy and macro_f1, and log_loss where it gives chances. A held
    sequence whose class training lacks is left out: no rule can know it.
    """
    lesson = _lesson(train, np.arange(train.classes))
    exam = _lesson(held, np.unique(lesson.answers))
    if not len(exam.answers):
        return {}
    rules = {"majority": majority(lesson, train)} | RULES[train.elements](lesson, train)
    return {name: _scores(rule, exam, train.classes) for name, rule in rules.items()}


def majority(lesson: Lesson, train: Examples) -> Rule:
    """Say the commonest class; the chances are the shares of the classes."""
    members = np.bincount(lesson.answers, minlength=train.classes)
    with np.errstate(divide="ignore"):  # a class that training lacks is never asked
        shares = np.log(members / len(lesson.answers))

    def answer(sequences: Sequences) -> tuple[Ints, Floats]:
        n = len(sequences)
        return np.full(n, np.argmax(members)), np.broadcast_to(shares, (n, len(shares)))

    return answer


def number_rules(lesson: Lesson, train: Examples) -> dict[str, Rule]:
    """Say the class of the nearest sequence, and the one of which a linear rule says most."""
    lesson = lesson.only(_spaced(lesson.answers, NEIGHBOURS))
    read = Vectors(lesson.sequences)
    known = read.of(lesson.sequences)
    classes, place = np.unique(lesson.answers, return_inverse=True)
    line = Ridge(known, np.eye(len(classes))[place])

    def neighbour(sequences: Sequences) -> tuple[Ints, None]:
        return lesson.answers[nearest(read.of(sequences), known)], None

    def ridge(sequences: Sequences) -> tuple[Ints, None]:
        return classes[np.argmax(line.predict(read.of(sequences)), axis=1)], None

    return {"1-NN": neighbour, "ridge": ridge}


def symbol_rules(lesson: Lesson, train: Examples) -> dict[str, Rule]:
    """Say the likeliest class by n-grams."""
    if train.classes > CLASSES:
        return {}
    lesson = lesson.only(_affordable(lesson, train.classes))

    def learned(n: int) -> NaiveBayes:
        return NaiveBayes(lesson.sequences, lesson.answers, n, train.size, train.classes)

    def right(bayes: NaiveBayes) -> int:
        return int((np.argmax(bayes.left_out(), axis=1) == lesson.answers).sum())

    best = max(map(learned, ORDERS), key=right)

    def answer(sequences: Sequences) -> tuple[Ints, Floats]:
        chances = best.chances(sequences)
        return np.argmax(chances, axis=1), chances

    return {f"naive bayes {best.n}-gram": answer}


RULES = {"numbers": number_rules, "symbols": symbol_rules}


def _lesson(examples: Examples, classes: Ints) -> Lesson:
    """Return the sequences whose class is one of these."""
    assert examples.answers is not None, "whole sequences are asked"
    rows = np.flatnonzero(np.isin(examples.answers, classes))
    return Lesson(list(examples.sequences()), examples.answers).only(rows)


def _spaced(answers: Ints, most: int) -> Ints:
    """Return at most so many rows, evenly spaced in the order of classes: each has its share."""
    order = np.argsort(answers, kind="stable")
    some = np.linspace(0, len(order) - 1, min(most, len(order))).astype(np.int64)
    return np.sort(order[some])


def _affordable(lesson: Lesson, classes: int) -> Ints:
    """Return rows with about as many symbols as may be learned from, one a class at least."""
    total = sum(map(len, lesson.sequences))
    most = len(lesson.answers) * min(SYMBOLS, SCORES // classes) // total
    first = np.unique(lesson.answers, return_index=True)[1]
    return np.union1d(_spaced(lesson.answers, most), first)


def _scores(rule: Rule, exam: Lesson, classes: int) -> Metrics:
    """Return the figures of a rule."""
    pairs, chances_of_answers = Pairs(classes), []
    for rows in _blocks(exam.sequences):
        part = exam.only(rows)
        predicted, chances = rule(part.sequences)
        pairs.add(part.answers, predicted)
        if chances is not None:
            chances_of_answers.append(chances[np.arange(len(rows)), part.answers])

    metrics = pairs.metrics()
    if chances_of_answers:
        metrics["log_loss"] = 0.0 - float(np.concatenate(chances_of_answers).mean())
    return metrics


def _blocks(sequences: Sequences) -> Iterator[Ints]:
    """Give the rows of sequences that are answered at a time."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    block = ends // ELEMENTS + np.arange(len(ends)) // ROWS  # neither ever falls
    yield from np.split(np.arange(len(ends)), np.flatnonzero(np.diff(block)) + 1)
