"""Splits as simple rules are given them: those of a case, and others that give nothing away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import Scale
from recurra.contracts.target import Examples, Target
from recurra.data.labels import UNSEEN
from recurra.data.store import CODE
from recurra.testing.questions import SEASON, Case, marks_of

STEPS = 6
"""Steps of a sequence of numbers that is asked, times those that an answer lies ahead."""
OFTEN = 3
"""How often the commonest answer comes, where each other comes once."""
FINALS = (5.0, 6.0, 8.0)
"""Numbers that come next."""
Answered: TypeAlias = Sequence[tuple[NDArray[Any], int]]
"""Sequences, and the number of the answer to each."""
Splits: TypeAlias = tuple[Examples, Examples]
"""Training, and what is held out."""
GAP = 5
"""Elements that stand between the splits."""


def examples(case: Case, rows: slice, scale: Scale | None) -> Examples:
    """Return some sequences of a case, as a baseline sees them."""
    begin, high = case.store.starts[rows], case.store.ends[rows]
    low = begin if case.asked is None else case.asked[rows]
    labels = case.labels
    if labels is not None and case.codes is None:
        labels = _plain(case, labels[rows])
    return Examples(
        elements=case.reads,
        values=case.store.values,
        low=low,
        high=high,
        begin=begin,
        size=case.vocabulary.size,
        classes=case.answers.size,
        answers=labels,
        season=SEASON,
        scale=scale,
        codes=None if case.codes is None else case.codes.values,
    )


def one_by_one(examples: Examples) -> Examples:
    """Return a split of which each step is one that is asked alone, behind those before it."""
    spans = list(zip(examples.low.tolist(), examples.high.tolist(), strict=True))
    low = np.concatenate([np.arange(first, end) for first, end in spans])
    begin = np.repeat(examples.begin, examples.high - examples.low)
    return replace(examples, low=low, high=low + 1, begin=begin)


def locked(examples: Examples) -> Examples:
    """Return examples that can only be read, as a corpus is that is mapped from its file."""

    def view(array: NDArray[Any]) -> NDArray[Any]:
        locked = array.view()
        locked.flags.writeable = False
        return locked

    return replace(
        examples,
        values=view(examples.values),
        low=view(examples.low),
        high=view(examples.high),
        begin=view(examples.begin),
        answers=None if examples.answers is None else view(examples.answers),
        codes=None if examples.codes is None else view(examples.codes),
    )


def count_of_answers(case: Case) -> int:
    """Return how many different answers there are."""
    return len(FINALS) if case.kind == "numbers" else case.answers.size


def asked_in(case: Case, turn: int) -> NDArray[np.int64]:
    """Return the number of each answer that comes, one of them `OFTEN`: another one each turn."""
    count = count_of_answers(case)
    first_turn = np.array([0] * OFTEN + [*range(1, count)])
    return (first_turn + turn) % count


def turn(case: Case, target: Target[Any], turn: int, strange: Any = 0) -> Splits:
    """Return a training split that has every answer to each sequence, and copies of one, held out.

    Both are parts of one array; before, between and after them stand `strange` elements that are
    nobody's.
    """
    kinds = [_sequence(case, target.reach, salt) for salt in range(3)]
    copied = kinds[0]
    learned = []
    for sequence in kinds:
        learned += [(sequence, answer) for answer in range(count_of_answers(case))]
    copies = [(copied, answer) for answer in asked_in(case, turn).tolist()]
    train = _examples(case, learned, asked_last=False)
    held_out = _examples(case, copies, asked_last=True)

    gap = np.full((GAP, *copied.shape[1:]), strange, copied.dtype)
    values = np.concatenate([gap, train.values, gap, held_out.values, gap])
    second = GAP + len(train.values) + GAP
    codes = None
    if train.codes is not None and held_out.codes is not None:
        nobody = np.zeros(GAP, CODE)
        codes = np.concatenate([nobody, train.codes, nobody, held_out.codes, nobody])
    return _moved(train, values, codes, GAP), _moved(held_out, values, codes, second)


def _moved(part: Examples, values: NDArray[Any], codes: NDArray[Any] | None, by: int) -> Examples:
    """Return examples that stand in a larger array."""
    low, high, begin = part.low + by, part.high + by, part.begin + by
    return replace(part, values=values, codes=codes, low=low, high=high, begin=begin)


def _sequence(case: Case, reach: int, salt: int) -> NDArray[Any]:
    """Return a sequence that is no reason to prefer one answer.

    Of symbols each comes as often as all others, and all sequences end with the same.
    """
    draw = np.random.Generator(np.random.Philox(20 + salt))
    times, size = max(reach, 1), case.vocabulary.size
    if case.asked is not None:
        size = marks_of(case).begin
    if case.reads == "numbers":
        return draw.normal(6, 1, (STEPS * times, size))
    last = size - 1
    symbols = np.append(draw.permutation(last), last)
    return np.tile(symbols, times).astype(np.uint8)


def _examples(case: Case, rows: Answered, *, asked_last: bool) -> Examples:
    """Return sequences with their answers, each of which may be asked its last element alone.

    Where the elements are the answers, the answer is one more of them; where each has a tag, all of
    a sequence have the answer for theirs.
    """
    own = case.labels is None
    parts, answered = [], []
    for sequence, answer in rows:
        element = _element(case, answer)
        part = [sequence, element] if own else [sequence]
        parts.append(np.concatenate(part))
        answered.append(len(element))

    high = np.cumsum([len(part) for part in parts])
    begin = np.concatenate([[0], high[:-1]])
    low = high - 1 if own and asked_last else begin
    if case.asked is not None:
        # What follows the mark before an answer is asked.
        low = high - np.array(answered) + 1
    labels = None if own else _labels(case, [answer for _, answer in rows])
    codes = None
    if case.codes is not None:
        labels = case.labels
        tags = zip(parts, rows, strict=True)
        codes = np.concatenate([np.full(len(part), answer, CODE) for part, (_, answer) in tags])
    return Examples(
        elements=case.reads,
        values=np.concatenate(parts),
        low=low,
        high=high,
        begin=begin,
        size=case.vocabulary.size,
        classes=case.answers.size,
        answers=labels,
        season=SEASON,
        scale=case.scale,
        codes=codes,
    )


def _labels(case: Case, answers: list[int]) -> NDArray[Any]:
    """Return answers to whole sequences, of numbers a row each."""
    if case.kind == "numbers":
        return np.array(FINALS)[answers][:, None]
    return np.array(answers)


def _element(case: Case, answer: int) -> NDArray[Any]:
    """Return an answer as an element, or as elements between marks."""
    if case.kind == "numbers":
        return np.array([[FINALS[answer]]])
    if case.asked is not None:
        marks = marks_of(case)
        return marks.around(case.answer(answer).numpy()[:-1]).astype(np.uint8)
    return np.array([answer], np.uint8)


def with_unseen(examples: Examples) -> Examples:
    """Return a split with sequences more whose label, or tags, training has not shown."""
    assert examples.answers is not None, "a column is asked"
    if examples.codes is not None:
        return _with_unseen_tags(examples, examples.codes, examples.answers)
    places = [examples.low, examples.high, examples.begin]
    low, high, begin = (np.append(place, place[:2]) for place in places)
    answers = np.append(examples.answers, [UNSEEN, UNSEEN])
    return replace(examples, low=low, high=high, begin=begin, answers=answers)


def _with_unseen_tags(examples: Examples, codes: NDArray[Any], answers: NDArray[Any]) -> Examples:
    """Return the same with a copy of the first sequence, whose tags are one more that is unseen."""
    first = slice(int(examples.low[0]), int(examples.high[0]))
    end, count = len(codes), first.stop - first.start
    unseen = np.full(count, len(answers), codes.dtype)
    return replace(
        examples,
        values=np.concatenate([examples.values, examples.values[first]]),
        codes=np.concatenate([codes, unseen]),
        answers=np.append(answers, UNSEEN),
        low=np.append(examples.low, end),
        high=np.append(examples.high, end + count),
        begin=np.append(examples.begin, end),
    )


def empty(examples: Examples) -> Examples:
    """Return a split without a sequence."""
    answers = examples.answers
    if answers is not None and examples.codes is None:
        answers = answers[:0]
    places = [examples.low, examples.high, examples.begin]
    low, high, begin = (place[:0] for place in places)
    return replace(examples, low=low, high=high, begin=begin, answers=answers)


def _plain(case: Case, labels: NDArray[Any]) -> NDArray[Any]:
    """Return the answers to sequences as rules see them: ids, or numbers in their own units."""
    return np.asarray(case.answers.decode(labels)) if case.kind == "numbers" else labels
