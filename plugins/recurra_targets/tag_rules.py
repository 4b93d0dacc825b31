"""What simple rules reach of the tags of steps: a figure without one beside it says little.

All: majority, the commonest tag of training. Symbols: the commonest tag of each symbol, and the
commonest after the longest run of symbols, up to `LONGEST` of them and the step's own the last,
that training shows; what training lacks gives way to the next shorter run. Numbers: ridge on those
of the step alone. Rules learn from training alone; ridge, of more than `NEIGHBOURS` steps, from
some, evenly spaced in each class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra import Examples, Metrics
from recurra_targets.measured import Pairs
from recurra_targets.rules import NEIGHBOURS, Ints, spaced
from recurra_targets.vectors import Ridge

LONGEST = 8
"""The most symbols of a window."""


@dataclass(frozen=True)
class Steps:
    """Steps of sequences: what is read at each, `[N, ...]`, and its tag `[N]`, -1 where unknown.

    `place` is how many of its sequence are here before each. Those that are not `asked` are only
    read.
    """

    read: NDArray[Any]
    tags: Ints
    place: Ints
    asked: NDArray[np.bool_]


def tag_rules(train: Examples, held: Examples) -> dict[str, Metrics]:
    """Return the figures of each rule on `held`, learned from `train`; of nothing, none.

    Each has accuracy, balanced_accuracy and macro_f1. A step whose tag training lacks is left out:
    no rule can know it.
    """
    lesson, exam = _steps(train), _steps(held)
    known = exam.asked & np.isin(exam.tags, np.unique(lesson.tags[lesson.asked]))
    if not known.any():
        return {}

    members = np.bincount(lesson.tags[lesson.asked], minlength=train.classes)
    commonest = np.full(len(exam.tags), np.argmax(members))
    rules = {"majority": commonest}
    rules |= RULES[train.elements](lesson, exam, commonest, train)
    return {name: _scores(said[known], exam.tags[known], train) for name, said in rules.items()}


def symbol_rules(lesson: Steps, exam: Steps, commonest: Ints, train: Examples) -> dict[str, Ints]:
    """Say the commonest tag of a symbol, and of the longest run of symbols that training shows."""
    said = commonest
    by_symbol = commonest
    for n, (shown, met) in enumerate(_runs(lesson, exam, train.size), 1):
        said = _commonest(shown, lesson, met, said, train.classes)
        if n == 1:
            by_symbol = said
    return {"majority a symbol": by_symbol, f"window of {LONGEST} symbols": said}


def number_rules(lesson: Steps, exam: Steps, commonest: Ints, train: Examples) -> dict[str, Ints]:
    """Say the tag of which a linear rule says most."""
    asked = np.flatnonzero(lesson.asked)
    rows = asked[spaced(lesson.tags[asked], NEIGHBOURS)]
    numbers = lesson.read[rows].astype(np.float64)
    middle, spread = numbers.mean(axis=0), numbers.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)

    classes, place = np.unique(lesson.tags[rows], return_inverse=True)
    line = Ridge((numbers - middle) / spread, np.eye(len(classes))[place])
    scores = line.predict((exam.read - middle) / spread)
    return {"ridge": classes[np.argmax(scores, axis=1)]}


RULES = {"symbols": symbol_rules, "numbers": number_rules}


def _steps(part: Examples) -> Steps:
    """Return all steps of a split, with those before that a window reads."""
    first = np.maximum(part.begin, part.low - LONGEST + 1)
    spans = list(zip(first.tolist(), part.high.tolist(), strict=True))
    before = (part.low - first).tolist()
    place = [np.arange(high - low) for low, high in spans]
    asked = [count >= known for count, known in zip(place, before, strict=True)]

    empty = np.zeros(0, np.int64)
    read = [np.asarray(part.values[low:high]) for low, high in spans]
    tags = [part.tags(low, high) for low, high in spans]
    all_tags = np.concatenate([empty, *tags])
    return Steps(
        read=np.concatenate(read) if read else part.values[:0],
        tags=all_tags,
        place=np.concatenate([empty, *place]),
        asked=np.concatenate([empty > 0, *asked]) & (all_tags >= 0),
    )


def _runs(lesson: Steps, exam: Steps, size: int) -> Iterator[tuple[Ints, Ints]]:
    """Give for n = 1, 2, ... the run of n symbols that ends at each step, by its number.

    Those of the exam have the numbers that the lesson gives them, and -1 where it shows no such
    run; so has each step with fewer symbols before it.
    """
    shown, met = lesson.read.astype(np.int64), exam.read.astype(np.int64)
    symbols = shown, met
    for n in range(1, LONGEST + 1):
        if n > 1:
            shown = _longer(shown, symbols[0], lesson.place, n, size)
            met = _longer(met, symbols[1], exam.place, n, size)
        runs = np.unique(shown[shown >= 0])
        shown, met = _looked_up(runs, shown), _looked_up(runs, met)
        yield shown, met


def _looked_up(known: Ints, wanted: Ints) -> Ints:
    """Return the places of numbers among known ones, which rise, and -1 for one that is none."""
    if not len(known):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, at, -1)


def _longer(run: Ints, symbols: Ints, place: Ints, n: int, size: int) -> Ints:
    """Return runs of n symbols: that of one less before each step, and the step's own symbol."""
    before = np.append(-1, run[:-1])
    there = (place >= n - 1) & (before >= 0)
    return np.where(there, before * size + symbols, -1)


def _commonest(shown: Ints, lesson: Steps, met: Ints, otherwise: Ints, classes: int) -> Ints:
    """Return the commonest tag of each run that was met, and where it was not shown, `otherwise`.

    Of several that are equally common it is the first.
    """
    learned = lesson.asked & (shown >= 0)
    pairs = shown[learned] * classes + lesson.tags[learned]
    cells, times = np.unique(pairs, return_counts=True)
    runs, tags = cells // classes, cells % classes

    # By run, and within it by how often: the first of each run is its commonest.
    order = np.lexsort((tags, -times, runs))
    known, first = np.unique(runs[order], return_index=True)
    best = np.append(tags[order][first], -1)
    at = _looked_up(known, met)
    return np.where(at >= 0, best[at], otherwise)


def _scores(said: Ints, came: Ints, train: Examples) -> Metrics:
    """Return the figures of a rule."""
    pairs = Pairs(train.classes)
    pairs.add(came, said)
    return pairs.metrics()
