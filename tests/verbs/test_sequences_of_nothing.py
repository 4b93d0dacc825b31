"""Sequences without an element: left aside or told, never a division by nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from trials import ANSWERS, LABELS, PROSE, TAGS, about, write

import recurra
from recurra.errors import InputError

TEXTS = ["abab", "", "baba", "abba", "", "baab", "ab", "aab", "ba", "bb"] * 2


@pytest.mark.parametrize("kind", ["next", "answers", "tags", "label"])
def test_training_leaves_them_aside_or_tells_them(kind: str, tmp_path: Path) -> None:
    """Whatever is asked: figures are numbers, or the sequence is named."""
    texts = {
        "next": about(PROSE, "inline", texts=TEXTS),
        "answers": about(ANSWERS, "inline", texts=TEXTS, answers=TEXTS[::-1]),
        "tags": about(
            TAGS, "inline", tokens=[list(text) for text in TEXTS],
            tags=[["O", "B-x", "O", "O"][: len(text)] for text in TEXTS],
        ),
        "label": about(LABELS, "inline", texts=TEXTS, labels=["a", "b"] * 10),
    }  # fmt: skip
    changes = {"training.steps": 2, "training.batch_size": 2}
    if kind == "next":
        changes |= {"generation.prompt": "a"}
    try:
        run = recurra.run(write(tmp_path, texts[kind]), changes, runs=tmp_path / "runs")
    except InputError as error:
        assert kind == "label" and "labels[1]" in str(error)
        return
    assert all(math.isfinite(value) for value in run.result["metrics"].values())


def test_a_run_that_is_given_nothing_says_so(tmp_path: Path) -> None:
    """A session reads nothing and stays; what would be made of nothing is refused."""
    run = recurra.run(write(tmp_path, PROSE), {"training.steps": 1}, runs=tmp_path / "runs")
    session = run.session()
    session.feed("the")
    before = session.output.tolist()
    session.feed("")
    assert session.output.tolist() == before
    with pytest.raises(InputError, match="nothing"):
        list(run.generate("", length=2))
    with pytest.raises(InputError):
        list(run.predict([""]))
