"""What simple rules answer to the same prompts: a figure without one beside it says little.

The most frequent answer of training, and that of the nearest prompt, by the Levenshtein distance:
of several that are as near, the first. Their cost is bounded, and the name of a rule says how: of
more than `ASKED` prompts some are asked, evenly spaced; and where comparing prompts would make more
than `CELLS` cells of all tables, some of training are known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from recurra import Examples, Metrics
from recurra_targets.answers import Answers, Ids, edits_to, filled

Rule: TypeAlias = Callable[[Ids], Ids]
"""Gives the answer to a prompt."""

CELLS = 1 << 28
"""About the most cells of tables of distances that are made for a split."""
ASKED = 10_000
"""The most prompts that rules are asked."""
FEWEST = 20
"""Prompts of training that are known at least."""
ROWS = 16
"""As if so many symbols were asked at least: the table of what is known is held in memory."""


def completion_rules(train: Examples, held: Examples) -> dict[str, Metrics]:
    """Return exact_match and edit_distance of each rule on `held`; of nothing, none."""
    lesson, exam = list(pairs(train)), list(pairs(held, ASKED))
    if not lesson or not exam:
        return {}

    prompts, answers = map(list, zip(*lesson, strict=True))
    known = _affordable(prompts, [prompt for prompt, _ in exam])
    nearest = "nearest prompt"
    if len(known) < len(lesson):
        nearest = f"nearest of {len(known):,} prompts"

    rules: dict[str, Rule] = {
        "most frequent answer": _most_frequent(answers),
        nearest: _nearest([prompts[row] for row in known], [answers[row] for row in known]),
    }
    some = f", {len(exam):,} asked" if len(exam) < len(held) else ""
    return {f"{name}{some}": _figures(rule, exam) for name, rule in rules.items()}


def pairs(examples: Examples, most: int = 0) -> Iterator[tuple[Ids, Ids]]:
    """Give each prompt and its answer, without the marks behind them.

    They are at most so many, evenly spaced; with 0 all.
    """
    count = len(examples)
    spans = np.stack([examples.begin, examples.low, examples.high], axis=1)
    for row in _spaced(count, min(most or count, count)):
        begin, low, high = spans[row].tolist()
        prompt = np.asarray(examples.values[begin : low - 1], np.int64)
        answer = np.asarray(examples.values[low : high - 1], np.int64)
        yield prompt, answer


def _most_frequent(answers: list[Ids]) -> Rule:
    """Answer as training does most often; of several so frequent, as it does first."""
    counts = Counter(answer.tobytes() for answer in answers)
    (common, _), *_ = counts.most_common(1)
    answer = np.frombuffer(common, np.int64)
    return lambda prompt: answer


def _nearest(prompts: list[Ids], answers: list[Ids]) -> Rule:
    """Answer as to the nearest prompt."""
    table = filled(prompts)
    lengths = np.array([len(prompt) for prompt in prompts], np.int64)

    def answer(prompt: Ids) -> Ids:
        distances = edits_to(prompt, table, lengths)
        return answers[int(distances.argmin())]

    return answer


def _affordable(prompts: list[Ids], asked: list[Ids]) -> list[int]:
    """Return the places of the prompts of training that are compared."""
    longest = 1 + max(map(len, prompts))
    cells = longest * max(sum(len(prompt) for prompt in asked), ROWS)
    return _spaced(len(prompts), min(len(prompts), max(FEWEST, CELLS // cells)))


def _spaced(count: int, most: int) -> list[int]:
    """Return so many of some places, evenly spaced."""
    places: list[int] = np.linspace(0, count - 1, most).astype(np.int64).tolist()
    return places


def _figures(rule: Rule, exam: list[tuple[Ids, Ids]]) -> Metrics:
    """Return the figures of a rule."""
    sums = Answers()
    for prompt, answer in exam:
        sums.add(rule(prompt), True, answer)
    return sums.metrics()
