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
        sequences = [self.sequences[row] for row in rows.tolist()]
        return Lesson(sequences, self.answers[rows])


def label_rules(train: Examples, held: Examples) -> dict[str, Metrics]:
    """Return the figures of each rule on `held`, learned from `train`; of nothing, none.

    Each has accuracy, balanced_accuracy and macro_f1, and log_loss where it gives chances. A held
    sequence whose class training lacks is left out: no rule can know it.
    """
    lesson = _lesson(train, np.arange(train.classes))
    exam = _lesson(held, np.unique(lesson.answers))
    if not len(exam.answers):
        return {}

    rules = {"majority": majority(lesson, train)}
    rules |= RULES[train.elements](lesson, train)
    return {name: _scores(rule, exam, train.classes) for name, rule in rules.items()}


def majority(lesson: Lesson, train: Examples) -> Rule:
    """Say the commonest class; the chances are the shares of the classes."""
    members = np.bincount(lesson.answers, minlength=train.classes)
    with np.errstate(divide="ignore"):  # a class that training lacks is never asked
        shares = np.log(members / len(lesson.answers))

    def answer(sequences: Sequences) -> tuple[Ints, Floats]:
        n = len(sequences)
        commonest = np.full(n, np.argmax(members))
        return commonest, np.broadcast_to(shares, (n, len(shares)))

    return answer


def number_rules(lesson: Lesson, train: Examples) -> dict[str, Rule]:
    """Say the class of the nearest sequence, and the one of which a linear rule says most."""
    lesson = lesson.only(spaced(lesson.answers, NEIGHBOURS))
    to_vectors = Vectors(lesson.sequences)
    learned = to_vectors.of(lesson.sequences)

    # Ridge answers a 1 for the class of a sequence, and a 0 for each other one.
    classes, place = np.unique(lesson.answers, return_inverse=True)
    one_hot = np.eye(len(classes))[place]
    line = Ridge(learned, one_hot)

    def neighbour(sequences: Sequences) -> tuple[Ints, None]:
        vectors = to_vectors.of(sequences)
        return lesson.answers[nearest(vectors, learned)], None

    def ridge(sequences: Sequences) -> tuple[Ints, None]:
        scores = line.predict(to_vectors.of(sequences))
        return classes[np.argmax(scores, axis=1)], None

    return {"1-NN": neighbour, "ridge": ridge}


def symbol_rules(lesson: Lesson, train: Examples) -> dict[str, Rule]:
    """Say the likeliest class by n-grams."""
    if train.classes > CLASSES:
        return {}
    lesson = lesson.only(affordable(lesson, train.classes))

    def learned(n: int) -> NaiveBayes:
        return NaiveBayes(lesson.sequences, lesson.answers, n, train.size, train.classes)

    # How often it is right of sequences that it has not learned: a larger n may only remember more.
    def right(bayes: NaiveBayes) -> int:
        predicted = np.argmax(bayes.left_out(), axis=1)
        return int((predicted == lesson.answers).sum())

    best = max(map(learned, ORDERS), key=right)

    def answer(sequences: Sequences) -> tuple[Ints, Floats]:
        chances = best.chances(sequences)
        return np.argmax(chances, axis=1), chances

    return {f"naive bayes {best.n}-gram": answer}


RULES = {"numbers": number_rules, "symbols": symbol_rules}


def _lesson(examples: Examples, classes: Ints) -> Lesson:
    """Return the sequences whose class is one of these."""
    assert examples.answers is not None, "whole sequences are asked"
    every = Lesson(list(examples.sequences()), examples.answers)
    rows = np.flatnonzero(np.isin(examples.answers, classes))
    return every.only(rows)


def spaced(answers: NDArray[Any], most: int) -> Ints:
    """Return at most so many rows, evenly spaced in the order of answers: a class has its share."""
    order = np.argsort(answers, kind="stable")
    count = min(most, len(order))
    places = np.linspace(0, len(order) - 1, count).astype(np.int64)
    return np.sort(order[places])


def affordable(lesson: Lesson, classes: int) -> Ints:
    """Return rows with about as many symbols as may be learned from, one a class at least."""
    symbols = min(SYMBOLS, SCORES // classes)
    total = sum(map(len, lesson.sequences))
    most = len(lesson.answers) * symbols // total
    _, first_of_class = np.unique(lesson.answers, return_index=True)
    return np.union1d(spaced(lesson.answers, most), first_of_class)


def _scores(rule: Rule, exam: Lesson, classes: int) -> Metrics:
    """Return the figures of a rule."""
    pairs = Pairs(classes)
    chances_of_answers = []
    for rows in blocks(exam.sequences):
        part = exam.only(rows)
        predicted, chances = rule(part.sequences)
        pairs.add(part.answers, predicted)
        if chances is not None:
            of_answers = chances[np.arange(len(rows)), part.answers]
            chances_of_answers.append(of_answers)

    metrics = pairs.metrics()
    if chances_of_answers:
        mean = np.concatenate(chances_of_answers).mean()
        metrics["log_loss"] = 0.0 - float(mean)
    return metrics


def blocks(sequences: Sequences) -> Iterator[Ints]:
    """Give the rows of sequences that are answered at a time."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    rows = np.arange(len(ends))

    # Neither quotient ever falls: their sum changes where either says that a block begins.
    block = ends // ELEMENTS + rows // ROWS
    begins = np.flatnonzero(np.diff(block)) + 1
    yield from np.split(rows, begins)
