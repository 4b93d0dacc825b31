"""What simple rules answer to the same prompts: a figure without one beside it says little.

The most frequent answer of training, and that of the nearest prompt, by the Levenshtein distance:
of several that are as near, the first. Its cost is bounded: where prompts to compare make more than
`CELLS` cells of all tables, it knows some prompts of training alone, evenly spaced, and the name of
the rule says how many.
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
FEWEST = 20
"""Prompts of training that are known at least."""


def completion_rules(train: Examples, held: Examples) -> dict[str, Metrics]:
    """Return exact_match and edit_distance of each rule on `held`; of nothing, none."""
    lesson, exam = list(pairs(train)), list(pairs(held))
    if not lesson or not exam:
        return {}

    prompts, answers = map(list, zip(*lesson, strict=True))
    known = _affordable(prompts, [prompt for prompt, _ in exam])
    name = "nearest prompt"
    if len(known) < len(lesson):
        name = f"nearest of {len(known):,} prompts"

    rules: dict[str, Rule] = {
        "most frequent answer": _most_frequent(answers),
        name: _nearest([prompts[row] for row in known], [answers[row] for row in known]),
    }
    return {name: _figures(rule, exam) for name, rule in rules.items()}


def pairs(examples: Examples) -> Iterator[tuple[Ids, Ids]]:
    """Give each prompt and its answer, without the marks behind them."""
    spans = zip(examples.begin.tolist(), examples.low.tolist(), examples.high.tolist(), strict=True)
    for begin, low, high in spans:
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
    cells = longest * sum(len(prompt) for prompt in asked)
    most = min(len(prompts), max(FEWEST, CELLS // max(cells, 1)))
    places = np.linspace(0, len(prompts) - 1, most).astype(np.int64)
    return [int(place) for place in places]


def _figures(rule: Rule, exam: list[tuple[Ids, Ids]]) -> Metrics:
    """Return the figures of a rule."""
    sums = Answers()
    for prompt, answer in exam:
        sums.add(rule(prompt), True, answer)
    return sums.metrics()
