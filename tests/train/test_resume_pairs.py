"""Any two settings together: a run that is left at any step and taken up is the unbroken one."""

from __future__ import annotations

import csv
import json
import random
import tomllib
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from trials import ANSWERS, LABELS, PROSE, SERIES, TAGS, Stopper, about, write

import recurra
from recurra.runs.comparing import compare
from recurra.train import optimizer as optimizers
from recurra.train.events import Progress

STEPS = 10
"""Updates of a case."""

Row = dict[str, str]
"""A case: the name of a setting for each of the things that vary."""


def text_file(folder: Path) -> str:
    """Return the prose, read from a file."""
    (folder / "prose.txt").write_text(read_text(PROSE, "text") * 2, encoding="utf-8")
    return about(PROSE, "text", path="prose.txt")


def read_text(task: str, key: str) -> Any:
    """Return a key of the source of a task."""
    return tomllib.loads(task)["source"][key]


def label_table(folder: Path) -> str:
    """Return the sequences with labels, read from a table."""
    texts, labels = (read_text(LABELS, key) for key in ("texts", "labels"))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    return about(LABELS, "csv", path="labels.csv", columns=["text"], label="label")


def answer_lines(folder: Path) -> str:
    """Return the sequences with answers, read from lines of JSON."""
    texts, answers = (read_text(ANSWERS, key) for key in ("texts", "answers"))
    rows = [{"q": q, "a": a} for q, a in zip(texts, answers, strict=True)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return about(ANSWERS, "jsonl", path="answers.jsonl", columns=["q"], answer="a")


def series_table(folder: Path) -> str:
    """Return some series, read from a table."""
    rows = [(name, at * at % 7 + at) for name in "abcde" for at in range(20)]
    with (folder / "series.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "y"), *rows])
    return about(SERIES, "csv", path="series.csv", columns=["y"], group="id")


def horizon(folder: Path) -> str:
    """Return the series of which each step is asked for several to come."""
    return SERIES.replace("[sequence]", '[target]\nkind = "horizon"\nlength = 3\n\n[sequence]', 1)


SUBJECTS = {
    "prose": lambda folder: PROSE,
    "prose of a file": text_file,
    "labels": lambda folder: LABELS,
    "labels of a table": label_table,
    "answers": lambda folder: ANSWERS,
    "answers of lines": answer_lines,
    "tags": lambda folder: TAGS,
    "series": lambda folder: SERIES,
    "series of a table": series_table,
    "horizon": horizon,
}
"""Tasks of each source and target."""

SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "schedule": {
        "constant": {},
        "cosine": {"training.schedule": {"kind": "cosine", "warmup_steps": 3, "final": 0.1}},
        "linear": {"training.schedule": {"kind": "linear"}},
        "plateau": {"training.schedule": {"kind": "plateau", "patience": 0}},
    },
    "optimizer": {
        kind: {"training.optimizer": {"kind": kind, "lr": 0.02}}
        for kind in sorted(optimizers.known())
    }
    | {"momentum": {"training.optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.9}}},
    "cell": {
        "gru": {},
        "two lstm": {"cell.kind": "lstm", "cell.num_layers": 2},
        "minlstm": {"cell.kind": "minlstm"},
    },
    "carry": {
        "none": {},
        "carry": {"sequence.carry": True},
        "restart": {"sequence.carry": True, "sequence.restart": 0.4},
    },
    "dropout": {"none": {}, "dropout": {"cell.dropout": 0.4}},
    "stopping": {
        "none": {},
        "patience": {"training.patience": 3, "training.validate_every": 2},
        "validations": {"training.validate_every": 3},
    },
    "accumulate": {"one": {}, "three": {"training.accumulate": 3}},
    "checkpoints": {
        "validations": {},
        "every step": {"training.checkpoint_every": 1},
        "seldom": {"training.checkpoint_every": 4, "training.keep_checkpoints": 1},
    },
}
"""What varies beside the task."""

VARY = {"subject": list(SUBJECTS), **{name: list(each) for name, each in SETTINGS.items()}}


def changes(row: Row) -> dict[str, Any]:
    """Return what a case changes of its task."""
    merged: dict[str, Any] = {"training.steps": STEPS, "training.batch_size": 2}
    for name, each in SETTINGS.items():
        merged |= each[row[name]]
    return merged


WHOLE = ("labels", "labels of a table", "answers", "answers of lines")
"""Tasks that answer whole sequences, of which no state is carried."""


def fits(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Tell whether two settings can stand in one task."""
    named = dict((one, other))
    carries = named.get("carry", "none") != "none"
    return not (carries and named.get("subject") in (*WHOLE, "horizon", "tags"))


TRIES = 4
"""Rows of which the one that covers most is taken."""


@cache
def rows() -> tuple[Row, ...]:
    """Return cases in which every two settings that fit come together, by a greedy search."""
    pairs = {
        frozenset(((a, x), (b, y)))
        for a, b in combinations(VARY, 2)
        for x, y in product(VARY[a], VARY[b])
        if fits((a, x), (b, y))
    }
    drawn = random.Random(16)
    made: list[Row] = []
    while pairs:
        best: Row = {}
        gain: set[frozenset[tuple[str, str]]] = set()
        waiting = sorted(map(sorted, pairs))
        for _ in range(TRIES):
            row = dict(drawn.choice(waiting))
            for name in drawn.sample(sorted(VARY), len(VARY)):
                if name in row:
                    continue
                items = row.items()
                able = [v for v in VARY[name] if all(fits((name, v), item) for item in items)]
                new = {
                    v: sum(frozenset(((name, v), i)) in pairs for i in row.items()) for v in able
                }
                most = max(new.values())
                row[name] = drawn.choice([v for v in able if new[v] == most])
            covered = pairs & {frozenset(two) for two in combinations(row.items(), 2)}
            if len(covered) > len(gain):
                best, gain = row, covered
        pairs -= gain
        made.append({name: best[name] for name in VARY})
    return tuple(made)


class Left(BaseException):
    """Stands for the end of the process: nothing of recurra catches it."""


class Leaver(Stopper):
    """Leaves training right after a step, with nothing more written."""

    def __init__(self, at: int) -> None:
        super().__init__(())
        self.at = at

    def stepped(self, progress: Progress) -> None:
        if progress.step == self.at:
            raise Left


def left_and_taken_up(task: Path, row: Row, runs: Path, at: list[int]) -> Path:
    """Train a case, left after each of some steps and taken up by what its folder holds."""
    home = runs / "task"
    for step in (*at, 0):
        try:
            begun = home.is_dir() and recurra_index(home)
            if begun:
                recurra.resume(home, observer=Leaver(step))
            else:
                recurra.run(task, changes(row), runs=runs, observer=Leaver(step))
        except Left:
            continue
        break
    return max(home.iterdir(), key=lambda path: int(path.name))


def recurra_index(home: Path) -> bool:
    """Tell whether the newest run has a checkpoint."""
    newest = max(home.iterdir(), key=lambda path: int(path.name))
    return (newest / "checkpoints").is_dir() and any((newest / "checkpoints").glob("step-*"))


DEFAULT = 2
"""Cases that are tried by default; the others are under `-m slow`."""


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id="-".join(row.values()), marks=[pytest.mark.slow] * (n >= DEFAULT))
        for n, row in enumerate(rows())
    ],
)
def test_two_settings_together_change_no_bit(row: Row, tmp_path: Path) -> None:
    """Left after three drawn steps, and taken up each time, a run leaves the same bytes."""
    task = write(tmp_path, SUBJECTS[row["subject"]](tmp_path))
    recurra.run(task, changes(row), runs=tmp_path / "whole")
    steps = sorted(random.Random(str(row)).sample(range(1, STEPS), 3))
    left = left_and_taken_up(task, row, tmp_path / "left", steps)
    assert not compare(tmp_path / "whole" / "task" / "1", left).differences


def test_the_cases_cover_every_two_settings() -> None:
    """All pairs of settings come together in some case, and those left out cannot."""
    covered = {frozenset(two) for row in rows() for two in combinations(row.items(), 2)}
    for a, b in combinations(VARY, 2):
        for x, y in product(VARY[a], VARY[b]):
            assert (frozenset(((a, x), (b, y))) in covered) == fits((a, x), (b, y))
