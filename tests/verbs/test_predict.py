"""Answers to sequences given in Python: each is of its sequence alone, and says what a session says
step by step.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from asked import CLASSES, KINDS, LABELLED, NEXT, Made, drawn, made_in, refusal, said, same
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_in(tmp_path_factory.getbasetemp() / "asked")


# An answer is of its sequence, and of nothing beside it


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_a_sequence_is_answered_alone_as_among_others(
    name: str, data: st.DataObject, made: Made
) -> None:
    """Whatever stands before and after a sequence, and in whatever order, its answer is the
    same.
    """
    pool = drawn(name, 40, longest=data.draw(st.sampled_from([2, 30])))
    rows = [
        pool[index] for index in data.draw(st.lists(st.integers(0, 39), min_size=1, max_size=6))
    ]
    together = list(made[name].predict(rows))
    assert [answer["row"] for answer in together] == [
        str(number) for number in range(1, len(rows) + 1)
    ]
    for row, answer in zip(rows, together, strict=True):
        (alone,) = made[name].predict([row])
        same(alone, answer)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((name, 520) for name in LABELLED),
        *(pytest.param(name, 1100, marks=pytest.mark.slow) for name in KINDS),
    ],
)
def test_many_sequences_and_long_ones_are_answered_as_alone(
    name: str, count: int, made: Made
) -> None:
    """More rows than are read side by side, and rows of more steps than one window, short ones
    between them.
    """
    few = drawn(name, 3)
    few += [(few[0] * 600)[:length] for length in (511, 513, 1030)]
    alone = [next(made[name].predict([row])) for row in few]
    order = [*range(6), *Random(3).choices(range(3), k=count), 5, 4]
    for index, answer in zip(order, made[name].predict(few[index] for index in order), strict=True):
        same(alone[index], answer)


@pytest.mark.parametrize("name", KINDS)
def test_a_run_read_back_answers_alike(name: str, made: Made) -> None:
    """`recurra.load` gives a run that says the same, bit for bit, and says so again."""
    rows = drawn(name, 9)
    before = list(made[name].predict(rows))
    assert (
        list(recurra.load(made[name].path).predict(rows))
        == before
        == list(made[name].predict(rows))
    )


def test_answers_come_before_the_rows_end(made: Made) -> None:
    """Of many rows the first are answered before the last are taken."""

    def many() -> Iterator[str]:
        for number in range(5000):
            yield "ab"[number % 2]
        raise AssertionError("all rows are taken before there is an answer")

    found = list(itertools.islice(made["both"].predict(many()), 700))
    assert [answer["row"] for answer in found] == [str(number) for number in range(1, 701)]


def test_no_rows_have_no_answers(made: Made) -> None:
    """Nothing is asked, and nothing is said."""
    assert list(made["both"].predict([])) == list(made["prose"].predict(iter(()), horizon=2)) == []


@pytest.mark.parametrize("name", ["strokes", "series"])
def test_numbers_may_come_in_any_clothes(name: str, made: Made) -> None:
    """Lists, tuples and arrays of the same numbers are one sequence."""
    rows = drawn(name, 3)
    whole = list(made[name].predict(rows))
    assert list(made[name].predict(map(np.array, rows))) == whole
    assert list(made[name].predict([tuple(map(tuple, row)) for row in rows])) == whole
    (one,) = made[name].predict([[[1, 2]]])
    assert one == next(made[name].predict([np.array([[1, 2]], np.int8)]))


# Classes


@pytest.mark.parametrize("name", LABELLED)
def test_chances_are_of_all_classes(name: str, made: Made) -> None:
    """They sum to 1, each class has one, and what is predicted has the greatest."""
    run = made[name]
    names = run.predictor().columns()
    assert names == [
        "predicted",
        *(f"p:{label}" for label in sorted(CLASSES if name != "both" else "ab")),
    ]
    for answer in run.predict(drawn(name, 30)):
        assert list(answer) == ["row", *names]
        chances = {
            label.removeprefix("p:"): chance
            for label, chance in said(answer).items()
            if label != "predicted"
        }
        assert math.fsum(chances.values()) == pytest.approx(1, abs=1e-12)
        assert min(chances.values()) >= 0
        assert answer["predicted"] == max(chances, key=chances.__getitem__)


@pytest.mark.parametrize("name", ["words", "strokes"])
def test_the_figures_of_a_run_are_those_of_its_answers(name: str, made: Made) -> None:
    """Accuracy and log loss of the test split are what the answers to its sequences come to."""
    run = made[name]
    rows, labels = zip(*_labelled(run, name), strict=True)
    answers = list(run.predict(rows))
    metrics = run.result["metrics"]
    right = [answer["predicted"] == label for answer, label in zip(answers, labels, strict=True)]
    nats = [-math.log(answer[f"p:{label}"]) for answer, label in zip(answers, labels, strict=True)]
    assert metrics["accuracy"] == pytest.approx(sum(right) / len(right))
    assert metrics["log_loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-4)


def _labelled(run: recurra.Run, name: str) -> list[tuple[Any, str]]:
    """Return the sequences of the test split, each with its label, as a plain reading gives
    them.
    """
    folder = run.path.parents[2]
    if name == "words":
        with (folder / "data.csv").open(encoding="utf-8", newline="") as file:
            return [(word, label) for word, label, part in csv.reader(file) if part == "test"]
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    return [(row["x"], row["way"]) for row in rows if row["part"] == "test"]


# What comes next


@pytest.mark.parametrize("length", [2, 3, 520])
def test_nats_are_what_a_session_says_step_by_step(length: int, made: Made) -> None:
    """The mean of -log p of each symbol after the first, by the chances of a session that is fed
    one by one.
    """
    text = "".join(Random(length).choices("the catsondg", k=length))
    session, costs = made["prose"].session(), []
    for letter, after in itertools.pairwise(text):
        chances = session.feed(letter).chances()[0]
        costs.append(-math.log(float(chances[int(made["prose"].vocabulary.encode(after)[0])])))
    (answer,) = made["prose"].predict([text])
    assert answer["nats"] == pytest.approx(sum(costs) / len(costs), rel=1e-4)


def test_a_single_symbol_has_cost_nothing(made: Made) -> None:
    """Of the first symbol nothing was said, so that nothing is its cost."""
    assert said(*made["prose"].predict(["t"])) == {"nats": None}


def test_nats_of_the_test_split_are_the_figure_of_the_run(made: Made) -> None:
    """Weighed by how many symbols each was asked for."""
    rows = ["the frog\r\n", "on the other hand"] * 3
    answers = made["prose"].predict(rows)
    costs = [answer["nats"] * (len(row) - 1) for answer, row in zip(answers, rows, strict=True)]
    mean = sum(costs) / sum(len(row) - 1 for row in rows)
    assert made["prose"].result["metrics"]["nats"] == pytest.approx(mean, rel=1e-4)


@given(text=st.text("the catsondg", min_size=1, max_size=20), horizon=st.integers(1, 8))
@settings(max_examples=8, deadline=None)
def test_a_text_goes_on_as_a_session_fed_by_hand(text: str, horizon: int, made: Made) -> None:
    """Each symbol is the likeliest after all before it."""
    session, going = made["prose"].session().feed(text), ""
    for _ in range(horizon):
        going += made["prose"].vocabulary.symbol(int(session.chances()[0].argmax()))
        session.feed(going[-1])
    (answer,) = made["prose"].predict([text], horizon=horizon)
    assert list(answer) == ["row", "predicted", "nats"] and answer["predicted"] == going


@pytest.mark.parametrize("length", [1, 7, 200])
def test_a_forecast_is_that_of_a_session_fed_by_hand(length: int, made: Made) -> None:
    """Each forecast is of all that came, and of the forecasts before it."""
    row = drawn("series", 1)[0] * length
    session = made["series"].session()
    for step in row[:length]:
        session.feed([step])
    by_hand = [session.forecast_step().tolist() for _ in range(4)]
    (answer,) = made["series"].predict([row[:length]], horizon=4)
    np.testing.assert_allclose(answer["predicted"], by_hand, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NEXT)
def test_a_nearer_horizon_is_the_beginning_of_a_farther_one(name: str, made: Made) -> None:
    """How far is foreseen changes nothing of what is."""
    rows = drawn(name, 3)
    far = [answer["predicted"] for answer in made[name].predict(rows, horizon=5)]
    for horizon in range(1, 6):
        near = [answer["predicted"] for answer in made[name].predict(rows, horizon=horizon)]
        assert near == [predicted[:horizon] for predicted in far]


def test_how_far_is_foreseen(made: Made) -> None:
    """Numbers as far as the task generates, where it is left out, text not at all; 0 is nothing in
    both.
    """
    rows = drawn("series", 2)
    assert made["series"].task.generation.length == 3
    assert list(made["series"].predict(rows)) == list(made["series"].predict(rows, horizon=3))
    assert [said(answer) for answer in made["series"].predict(rows, horizon=0)] == [
        {"predicted": []}
    ] * 2
    assert list(made["prose"].predict(["the"])) == list(made["prose"].predict(["the"], horizon=0))
    assert made["prose"].predictor().columns() == ["nats"]
    assert made["prose"].predictor(2).columns() == ["predicted", "nats"]
    assert (
        made["series"].predictor(0).columns()
        == made["series"].predictor(2).columns()
        == ["predicted"]
    )


def test_what_does_not_go_on_has_no_horizon(made: Made) -> None:
    """It is refused before any row is taken, 0 too."""
    for horizon in (0, 2):
        with refusal("horizon is for what goes on", "RC080"):
            made["words"].predict(iter(drawn("words", 1)), horizon=horizon)


@pytest.mark.parametrize("horizon", [-1, 1.5, "3", True, math.inf])
def test_a_horizon_is_a_whole_number(horizon: Any, made: Made) -> None:
    """What came and what is allowed are told."""
    with refusal(f"horizon cannot be {horizon!r}", "allowed: a whole number from 0", "RC080"):
        made["prose"].predict(["the"], horizon=horizon)


# What cannot be answered


HALF = "a\ud800b"
WRONG: list[tuple[str, Any, str]] = [
    ("both", "abz", "holds 'z' (U+007A) at position 2, not in the vocabulary"),
    ("both", "", "is empty"),
    ("both", HALF, "half of a surrogate pair (U+D800) at position 1"),
    ("both", 3, "must be text"),
    ("both", None, "must be text"),
    ("both", b"ab", "must be text"),
    ("both", ["a", "b"], "must be text"),
    ("both", np.array(["a"]), "must be text"),
    ("prose", "the zoo", "holds 'z' (U+007A) at position 4"),
    ("prose", "", "is empty"),
    ("strokes", [], "is empty"),
    ("strokes", np.zeros((0, 2)), "is empty"),
    ("strokes", [[1, math.nan]], "a number that is not finite"),
    ("strokes", [[1, -math.inf]], "a number that is not finite"),
    ("strokes", [[1, 1e200]], "above 1e+140"),
    (
        "strokes",
        [[1, 1e100]],
        "the number at step 0 of the sequence is beyond all numbers of torch.float32",
    ),
    ("strokes", [[1, 2, 3]], "each step takes 2 numbers, but each of the sequence has 3"),
    ("strokes", [1, 2], "each step takes 2 numbers, but each of the sequence has 1"),
    ("strokes", [[[1, 2]]], "each step takes 2 numbers, but each of the sequence has lists"),
    ("strokes", [[1, 2], [1]], "its steps differ in width"),
    ("strokes", [["1", "2"]], "must be a list of numbers, 2 a step"),
    ("strokes", [[True, False]], "must be a list of numbers, 2 a step"),
    ("strokes", [[None, 2]], "must be a list of numbers, 2 a step"),
    ("strokes", "1,2", "must be a list of them"),
    ("series", [], "is empty"),
    ("series", [[1, 2], [3]], "its steps differ in width"),
]


@pytest.mark.parametrize(("name", "row", "words"), WRONG)
def test_what_cannot_be_read_is_told_with_its_row(
    name: str, row: Any, words: str, made: Made
) -> None:
    """Between rows that are right, a wrong one is named by its number."""
    right = drawn(name, 1)
    with refusal("row 2: ", "the sequence", words):
        list(made[name].predict([*right, row, *right]))


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_a_bad_row_may_be_skipped(name: str, data: st.DataObject, made: Made) -> None:
    """It then holds its error and no answer, and all others are answered as without it."""
    bad = [(row, words) for kind, row, words in WRONG if kind == name] or [
        ("", "is empty"),
        ("bad", "'d'"),
    ]
    good = drawn(name, 20)
    wrong = st.sampled_from(range(len(bad))).map(lambda index: -1 - index)
    order = data.draw(st.lists(st.one_of(st.integers(0, 19), wrong), max_size=8))
    rows = [good[index] if index >= 0 else bad[-1 - index][0] for index in order]

    answers = list(made[name].predict(rows, skip_bad=True))
    whole = iter(list(made[name].predict(good[index] for index in order if index >= 0)))
    for number, (index, answer) in enumerate(zip(order, answers, strict=True), 1):
        assert answer["row"] == str(number)
        if index >= 0:
            same(answer, next(whole))
        else:
            assert list(said(answer)) == ["error"] and bad[-1 - index][1] in answer["error"]
    columns = made[name].predictor(skip_bad=True).columns()
    assert columns == [*made[name].predictor().columns(), "error"]


def test_errors_of_the_rows_themselves_are_not_swallowed(made: Made) -> None:
    """What goes wrong where rows are made is no row, with `skip_bad` too."""

    def broken() -> Iterator[str]:
        yield "a"
        raise OSError("the wire is cut")

    for skip in (False, True):
        with pytest.raises(OSError, match="the wire is cut"):
            list(made["both"].predict(broken(), skip_bad=skip))


@pytest.mark.parametrize(
    ("given", "words"),
    [({}, "give rows, or a file"), ({"rows": ["a"], "file": "a.csv"}, "give rows, or a file"),
     ({"rows": "ab"}, "got: 'ab'"), ({"rows": b"ab"}, "got: b'ab'"), ({"rows": 3}, "got: 3"),
     ({"file": 3}, "got: 3"), ({"file": "a.csv"}, "reads no file")],
)  # fmt: skip
def test_what_is_no_rows_is_refused_at_once(given: dict[str, Any], words: str, made: Made) -> None:
    """Not when the first answer is taken."""
    with refusal(words, "RC080"):
        made["both"].predict(**given)


@pytest.mark.parametrize("name", KINDS)
def test_answers_are_computed_as_the_task_says(name: str, made: Made) -> None:
    """With its determinism while one is computed, and with the caller's own when it is given."""
    run, within = made[name], []
    cell = next(iter(run.network.cells))
    hook = cell.register_forward_hook(
        lambda *_: within.append(torch.get_deterministic_debug_mode())
    )
    try:
        for _ in run.predict(drawn(name, 3)):
            assert torch.get_deterministic_debug_mode() == 0
    finally:
        hook.remove()
    assert within and set(within) == {2}, "strict, the default"
