"""Small trials of all that training carries from step to step, and what a run leaves."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conftest import SERIES

import recurra
from recurra.errors import Interrupted
from recurra.job.run import Run
from recurra.job.train import Silent
from recurra.train.events import Progress

STEPS = 12

PROSE = """\
schema = 1

[source]
kind = "inline"
text = "the cat sat on the mat and the dog sat on the log; the frog, on the other hand, sat in the bog."

[vocabulary]
kind = "character"

[sequence]
length = 5
split = [0.7, 0.2, 0.1]

[encoder]
kind = "one_hot"

[cell]
kind = "gru"
hidden_size = 6

[loss]
kind = "cross_entropy"

[training]
steps = 12
batch_size = 3
optimizer = { kind = "adam", lr = 0.02 }

[generation]
prompt = "the "
length = 8
temperature = 1.0
"""  # noqa: E501

LABELS = """\
schema = 1

[source]
kind = "inline"
texts = [
    "aab", "bba", "abaa", "babb", "a", "b", "aabba", "abbab", "aaab", "bbba", "ab", "ba", "abab",
    "baba", "aa", "bb", "abbaabbab", "baabbaaba", "aaaaaaaba", "bbbbbbbab", "aba", "bab", "abbb",
    "baaa",
]
labels = [
    "a", "b", "a", "b", "a", "b", "a", "b", "a", "b", "a", "b",
    "a", "b", "a", "b", "b", "a", "a", "b", "a", "b", "b", "a",
]

[vocabulary]
kind = "character"

[target]
kind = "label"
pooling = "attention"

[sequence]
length = 4
split = [0.6, 0.2, 0.2]
""" + PROSE[PROSE.index("\n[encoder]") : PROSE.index("\n[generation]")].replace(
    "batch_size = 3", "batch_size = 4"
)
"""Sequences of many lengths, some longer than a window, and a class for each."""

ANSWERS = """\
schema = 1

[source]
kind = "inline"
texts = ["ab", "ba", "abc", "c", "", "cab", "bca", "aabb", "abab", "ccba", "acb", "cc", "ba", "abca"]
answers = ["ba", "ab", "cba", "c", "", "bac", "acb", "bbaa", "baba", "abcc", "bca", "cc", "ab", "acba"]

[vocabulary]
kind = "character"

[target]
kind = "completion"

[sequence]
length = 3
split = [0.6, 0.2, 0.2]
""" + LABELS[LABELS.index("\n[encoder]") :]  # noqa: E501
"""Sequences of many lengths, with their answers behind them."""

TAGS = """\
schema = 1

[source]
kind = "inline"
tokens = [
    ["a", "b", "c"], ["b"], ["c", "a", "a", "b"], ["a", "a"], ["b", "c", "b", "a", "c", "a", "b"],
    ["c", "c", "a"], ["a", "b"], ["b", "b", "a", "c"], ["c"], ["a", "c", "b"],
]
tags = [
    ["O", "B-x", "I-x"], ["B-y"], ["O", "O", "B-x", "I-x"], ["B-x", "B-x"],
    ["O", "B-y", "I-y", "I-y", "O", "O", "B-x"], ["O", "O", "B-y"], ["B-x", "I-x"],
    ["B-y", "I-y", "O", "O"], ["O"], ["B-x", "O", "B-y"],
]

[vocabulary]
kind = "category"

[target]
kind = "tags"
scheme = "BIO"

[sequence]
length = 3
split = [0.6, 0.2, 0.2]
""" + LABELS[LABELS.index("\n[encoder]") :].replace("batch_size = 4", "batch_size = 2")
"""Sequences of many lengths, with a tag for each of their tokens."""

TRIALS: dict[str, tuple[str, dict[str, Any]]] = {
    "windows": (PROSE, {}),
    "lanes": (PROSE, {"sequence.carry": True, "sequence.restart": 0.4, "cell.kind": "lstm"}),
    "dropout": (PROSE, {"cell.dropout": 0.4, "cell.num_layers": 2}),
    "accumulation": (
        PROSE,
        {"training.accumulate": 2, "sequence.carry": True, "cell.dropout": 0.2},
    ),
    "cosine": (PROSE, {"training.schedule": {"kind": "cosine", "warmup_steps": 3, "final": 0.1}}),
    "plateau": (
        PROSE,
        {
            "training.schedule": {"kind": "plateau", "patience": 0, "factor": 0.5},
            "training.validate_every": 2,
            "training.optimizer.lr": 1.0,
        },
    ),
    "momentum": (
        PROSE,
        {"training.optimizer": {"kind": "sgd", "lr": 0.5, "momentum": 0.9, "nesterov": True}},
    ),
    "early stopping": (
        PROSE,
        {
            "training.optimizer.lr": 3.0,
            "training.validate_every": 1,
            "training.patience": 3,
            "training.clip_norm": 1.0,
        },
    ),
    "sparse checkpoints": (PROSE, {"training.checkpoint_every": 5, "training.validate_every": 3}),
    "labels": (
        LABELS,
        {
            "cell.dropout": 0.3,
            "cell.num_layers": 2,
            "training.checkpoint_every": 5,
            "training.validate_every": 3,
        },
    ),
    "answers": (
        ANSWERS,
        {"cell.dropout": 0.3, "training.checkpoint_every": 5, "training.monitor": "exact_match"},
    ),
    "tags": (
        TAGS,
        {"cell.dropout": 0.3, "training.checkpoint_every": 5, "training.monitor": "span_f1"},
    ),
    "series": (
        SERIES,
        {"training.steps": STEPS, "training.optimizer": {"kind": "adamw", "lr": 0.02}},
    ),
}


class Stopper(Silent):
    """Presses Ctrl-C after given steps."""

    def __init__(self, stops: Iterable[int]) -> None:
        self.stops = set(stops)

    def stepped(self, progress: Progress) -> None:
        """Ask for the end, once a step."""
        if progress.step in self.stops:
            self.stops.discard(progress.step)
            signal.raise_signal(signal.SIGINT)


def about(task: str, kind: str, /, **options: Any) -> str:
    """Return a task with another source: JSON's strings and lists of numbers are TOML's too."""
    settings = {"kind": kind, **options}
    rows = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()]
    head, _, rest = task.partition("[source]\n")
    return head + "[source]\n" + "\n".join(rows) + "\n\n" + rest[rest.index("\n[") + 1 :]


def write(folder: Path, text: str, name: str = "task.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def trained(folder: Path, name: str, stops: Iterable[int] = (), **more: Any) -> Run:
    """Train a trial, stopped after some steps and resumed each time."""
    text, changes = TRIALS[name]
    stopper = Stopper(stops)
    runs = folder / "runs"
    try:
        return recurra.run(write(folder, text), {**changes, **more}, runs=runs, observer=stopper)
    except Interrupted:
        pass

    while True:
        try:
            return recurra.resume(runs / "task", observer=stopper)
        except Interrupted:
            continue


def left(run: Run) -> dict[str, Any]:
    """Return all that a run has left but its timings and its place.

    These are checkpoints, metrics, samples and result.
    """
    remains: dict[str, Any] = {}
    for path in sorted((run.path / "checkpoints").rglob("*")):
        if path.suffix == ".safetensors":
            remains[str(path.relative_to(run.path))] = path.read_bytes()
        elif path.name == "state.json":
            state = json.loads(path.read_text())
            state["progress"].pop("seconds")
            state.pop("pace")
            remains[str(path.relative_to(run.path))] = state

    for name in ("metrics.jsonl", "samples.txt", "task.toml", "vocabulary.json", "data.json"):
        if (run.path / name).exists():  # of what generates nothing there are no samples
            remains[name] = (run.path / name).read_bytes()

    result = json.loads((run.path / "result.json").read_text())
    remains["result"] = {
        k: v for k, v in result.items() if k not in ("run", "seconds", "tokens_per_second")
    }
    remains["index"] = run.folder.checkpoints.index()
    return remains


def differences(one: Run, other: Run) -> list[str]:
    """Return the names of what differs between two runs."""
    a, b = left(one), left(other)
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def as_before(folder: Path) -> None:
    """Make a run's folder one of before there were hashes.

    Its files may then be those of an older version.
    """
    (folder / "hashes.json").unlink()
    path = folder / "environment.json"
    environment = json.loads(path.read_text(encoding="utf-8"))
    del environment["format"]
    path.write_text(json.dumps(environment), encoding="utf-8")
