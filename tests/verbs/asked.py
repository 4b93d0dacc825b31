"""Small runs of every kind that can be asked for answers, each trained once, and new sequences to
ask them of.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from conftest import SERIES
from trials import LABELS, PROSE, about, write

import recurra
from recurra import RecurraError
from recurra.job.run import Run

PLAIN = {"lineterminator": "\n", "quoting": csv.QUOTE_ALL}
"""A dialect that no text can break."""
NUMBERS = (('"character"', '"numeric"'), ('"one_hot"', '"identity"'))
"""What makes a task of numbers of one of symbols."""
LETTERS = 'ab,"\n'
CLASSES = ['one, "1"', "zwei\r2"]
FOLDS = ["train", "train", "test", "validation"]
ENCODER = {"encoder.kind": "calendar", "encoder.periods": [4.0]}
"""One that counts steps, so that an answer depends on where its sequence begins."""
NEXT = ["prose", "series"]
LABELLED = ["words", "both", "strokes"]
KINDS = [*NEXT, *LABELLED]
"""Symbols and numbers that go on; a class for symbols, for symbols read both ways, and for ragged
numbers.
"""


@cache
def made_in(home: Path) -> Made:
    """Return the runs of a folder: all tests of a process share them."""
    return Made(home)


class Made:
    """The runs of a folder, by name, each trained when it is first asked for."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runs: dict[str, Run] = {}

    def __getitem__(self, name: str) -> Run:
        if name not in self.runs:
            self.runs[name] = self.train(name)
        return self.runs[name]

    def train(self, name: str) -> Run:
        """Train a run anew, on data that is written anew."""
        folder = self.home / name
        folder.mkdir(parents=True, exist_ok=True)
        text, changes = globals()[f"_{name}"](folder)
        quick = {
            "device.path": "native",
            "training.steps": 6,
            "training.optimizer": {"kind": "adam", "lr": 0.1},
            "seed": 7,
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RECURRA_CACHE", str(self.home / "cache"))
            return recurra.run(write(folder, text), {**quick, **changes}, runs=folder / "runs")


def _prose(folder: Path) -> tuple[str, dict[str, Any]]:
    lines = [
        "the cat sat, ",
        "on the mat and the dog sat ",
        'on "the" log;\r',
        "the frog\r\n",
        "on the other hand",
    ] * 3
    text = about(
        PROSE, "inline", texts=lines, folds=["train", "train", "train", "test", "test"] * 3
    )
    return text.replace("split = [0.7, 0.2, 0.1]\n", ""), {"encoder.kind": "convolution"}


def _series(folder: Path) -> tuple[str, dict[str, Any]]:
    stream = Random(1)
    steps = [(f"s{index // 8}", stream.uniform(0, 5), index % 3) for index in range(64)]
    table(folder / "data.csv", ["place", "high", "low"], steps)
    text = about(SERIES, "csv", path="data.csv", columns=["high", "low"], group="place")
    return text, {**ENCODER, "generation.length": 3}


def _words(folder: Path) -> tuple[str, dict[str, Any]]:
    stream = Random(2)
    words = ["".join(stream.choices(LETTERS, k=stream.randint(1, 9))) for _ in range(48)]
    rows = [(word, CLASSES["a" in word], FOLDS[index % 4]) for index, word in enumerate(words)]
    table(folder / "data.csv", ["word", "way", "part"], rows)
    text = about(LABELS, "csv", path="data.csv", columns=["word"], label="way", fold="part")
    return text.replace("split = [0.6, 0.2, 0.2]\n", ""), {}


def _both(folder: Path) -> tuple[str, dict[str, Any]]:
    return LABELS, {"cell.bidirectional": True, "sequence.length": 9, "cell.kind": "lstm"}


def _strokes(folder: Path) -> tuple[str, dict[str, Any]]:
    rows = [
        {"x": points, "way": CLASSES[len(points) % 2], "part": FOLDS[index % 4]}
        for index, points in enumerate(drawn("strokes", 48))
    ]
    lines(folder / "data.jsonl", rows)
    text = about(LABELS, "jsonl", path="data.jsonl", columns=["x"], label="way", fold="part")
    for old, new in (*NUMBERS, ("split = [0.6, 0.2, 0.2]\n", ""), ('"attention"', '"last"')):
        text = text.replace(old, new)
    return text, ENCODER


def _verses(folder: Path) -> tuple[str, dict[str, Any]]:
    (folder / "data.txt").write_bytes(b"to and fro\r\nback and\nforth\rto\n\n" * 6)
    return about(PROSE, "text", path="data.txt", each="line"), {"generation.prompt": "to"}


def _voices(folder: Path) -> tuple[str, dict[str, Any]]:
    for index in range(24):
        path = folder / "voices" / "xy"[index % 2] / f"{index}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ab" * (index % 5) + "xy"[index % 2])
    return about(LABELS, "text", path="voices/*/*.txt", labels="folder"), {}


def drawn(name: str, count: int, longest: int = 12) -> list[Any]:
    """Return new sequences for a run, of many lengths."""
    stream = Random(count)
    lengths = [stream.randint(1, longest) for _ in range(count)]
    if name in ("series", "strokes"):
        return [
            [[stream.uniform(-1, 5), stream.uniform(0, 2)] for _ in range(length)]
            for length in lengths
        ]
    letters = {"prose": "the catsondg", "words": LETTERS, "both": "ab"}[name]
    return ["".join(stream.choices(letters, k=length)) for length in lengths]


def table(path: Path, names: list[str], rows: Iterable[Iterable[Any]]) -> Path:
    """Write a csv file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **PLAIN).writerows([names, *rows])
    return path


def lines(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write a file of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def said(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what an answer says, without the name of its sequence."""
    return {name: value for name, value in answer.items() if name != "row"}


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Check that two answers say the same: numbers to rounding, all else as it is."""
    assert said(one).keys() == said(other).keys()
    for name, value in said(one).items():
        if isinstance(value, float | list):
            np.testing.assert_allclose(np.array(value), np.array(other[name]), rtol=1e-4, atol=1e-6)
        else:
            assert value == other[name]


@contextmanager
def refusal(*words: str) -> Iterator[pytest.ExceptionInfo[RecurraError]]:
    """Check that an error of ours is raised, whose text holds every word."""
    with pytest.raises(RecurraError) as caught:
        yield caught
    for word in words:
        assert word in str(caught.value), f"no {word!r} in: {caught.value}"
