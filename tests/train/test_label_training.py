"""Training on labels learns what the input says of them, and nothing else; an answer is only ever
scored.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from trials import LABELS, about, write

import recurra
from recurra import InputError
from recurra.job.data import Data, load_data
from recurra.job.run import Run
from recurra.resolve import resolve
from recurra.train.evaluate import answered

FOLDS = ["train"] * 120 + ["validation"] * 20 + ["test"] * 60
QUICK = {
    "device.path": "native",
    "training.steps": 60,
    "training.batch_size": 12,
    "sequence.length": 8,
}


def drawn(seed: int = 1) -> tuple[list[str], list[str]]:
    """Return texts of up to 12 letters, and of which of two each has more."""
    stream = Random(seed)
    texts = ["".join(stream.choices("abc", k=stream.randint(1, 12))) for _ in FOLDS]
    return texts, ["a" if text.count("a") > text.count("b") else "b" for text in texts]


def task(texts: list[str], labels: list[str], folds: list[str] = FOLDS) -> str:
    """Return a task that asks for labels, whose data says in which split each is."""
    text = about(LABELS, "inline", texts=texts, labels=labels, folds=folds)
    return text.replace("split = [0.6, 0.2, 0.2]\n", "")


def outputs(run: Run, data: Data) -> torch.Tensor:
    """Return the outputs of a run for every sequence of some data, in their order."""
    rows, found = [], []
    for part in data.splits.values():
        for batch, output in answered(run.network, data.reader, part):
            rows += batch.rows.tolist()
            found.append(output)
    return torch.cat(found)[torch.tensor(rows).argsort()]


def test_answers_are_only_scored(tmp_path: Path) -> None:
    """Other labels in the data move no prediction of a trained run; those held out move no weight
    either.
    """
    texts, labels = drawn()
    turned = Random(0).sample(labels, len(labels))
    held = [
        label if fold == "train" else "ab"[label == "a"]
        for label, fold in zip(labels, FOLDS, strict=True)
    ]
    paths = [write(tmp_path, task(texts, each), f"{name}.toml") for name, each in
             {"as it is": labels, "turned": turned, "held": held}.items()]  # fmt: skip

    run, other = (recurra.run(path, QUICK, runs=tmp_path / "runs") for path in (paths[0], paths[2]))
    assert run.result["metrics"]["accuracy"] > 0.85
    weights, others = (
        each.folder.checkpoints.load("last").tensors["weights"] for each in (run, other)
    )
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())

    asked = [load_data(resolve(path, QUICK)) for path in paths]
    assert all(torch.equal(outputs(run, data), outputs(run, asked[0])) for data in asked)


def test_labels_that_say_nothing_are_not_learned(tmp_path: Path) -> None:
    """Trained on labels dealt out anew, a run is right about half the time where it has not seen
    the answer.
    """
    texts, labels = drawn()
    changes = {**QUICK, "training.validate_every": 1000}
    path = write(tmp_path, task(texts, Random(3).sample(labels, len(labels))))
    found = recurra.run(path, changes, runs=tmp_path / "runs").result
    assert 0.3 < found["metrics"]["accuracy"] < 0.7


NUMBERS = """\
schema = 1
source = { kind = "jsonl", path = "waves.jsonl", columns = ["x"], label = "way" }
vocabulary = { kind = "numeric" }
target = { kind = "label", pooling = "mean" }
sequence = { split = [0.75, 0.0, 0.25] }
encoder = { kind = "identity" }
cell = { kind = "gru", hidden_size = 8 }
loss = { kind = "cross_entropy" }
training = { steps = 60, batch_size = 10, optimizer = { kind = "adam", lr = 0.03 } }
device = { path = "native" }
"""


@pytest.mark.parametrize("width", [1, 2])
def test_numbers_in_and_classes_out(width: int, tmp_path: Path) -> None:
    """Series of any length, each on a line of its own, are told apart by whether they rise or
    fall.
    """
    stream = Random(2)
    lines = []
    for index in range(80):
        begin, slope = stream.uniform(-1, 1), (1 if index % 2 else -1) * stream.uniform(0.5, 1)
        steps = [begin + slope * at + stream.gauss(0, 0.2) for at in range(stream.randint(3, 9))]
        x = steps if width == 1 else [[step, stream.random()] for step in steps]
        lines.append(json.dumps({"x": x, "way": "up" if index % 2 else "down"}) + "\n")
    (tmp_path / "waves.jsonl").write_text("".join(lines))
    run = recurra.run(write(tmp_path, NUMBERS), runs=tmp_path / "runs")
    assert run.result["metrics"]["accuracy"] > 0.9
    assert run.answers.save() == {"classes": ["down", "up"]}
    assert run.result["confusion"]["classes"] == ["down", "up"]
    assert recurra.load(run.path).evaluate()["metrics"] == run.result["metrics"]


# What the data says of its splits


def test_a_fold_of_the_data_is_the_split(tmp_path: Path) -> None:
    """What is validated and tested is what the data says, and the run keeps no other word of it."""
    texts, labels = drawn()
    data = load_data(resolve(write(tmp_path, task(texts, labels)), QUICK))
    assert {name: len(part) for name, part in data.splits.items()} == {
        "train": 120,
        "validation": 20,
        "test": 60,
    }
    assert data.splits["validation"].begin.tolist() == data.store.starts[120:140].tolist()
    assert data.held_out() == "test"


def test_folds_are_for_what_comes_next_too(tmp_path: Path) -> None:
    """Whole sequences are read by their fold, also where each step is answered by the next."""
    text = task(["abab", "baba", "ab"], ["x", "y", "x"], ["test", "train", "train"]).replace(
        '"label"\npooling', '"next"\n#'
    )
    data = load_data(resolve(write(tmp_path, text), {"training.batch_size": 1}))
    assert {name: part.steps for name, part in data.splits.items()} == {
        "train": 4,
        "validation": 0,
        "test": 3,
    }


@pytest.mark.parametrize(
    ("folds", "changes", "code", "words"),
    [
        (FOLDS, {"sequence.split": [0.5, 0.0, 0.5]}, "RC014",
            "sequence.split: .* gives each sequence its fold"),
        (["test"] * 200, {}, "RC041", "none of its 200 sequences into training"),
        (["dev"] * 200, {}, "RC013", r"source.folds(.|\n)*allowed: .*validation"),
        (["train"] * 199, {}, "RC014", "one fold for each sequence; got 199, and texts holds 200"),
        (["train"] * 200, {"training.patience": 2}, "RC014", "patience needs a validation split"),
        (["train"] * 200, {"training.monitor": "accuracy"}, "RC014", "monitor is for validation"),
    ],
)  # fmt: skip
def test_folds_that_do_not_fit_are_refused(
    folds: list[str], changes: dict[str, Any], code: str, words: str, tmp_path: Path
) -> None:
    """Two words on one thing, a fold that is none, and nothing to train on; each with its place."""
    with pytest.raises(InputError, match=words) as caught:
        recurra.check(write(tmp_path, task(*drawn(), folds)), QUICK | changes)
    assert {problem.code for problem in caught.value.problems} == {code}


def test_carry_is_refused_beside_folds(tmp_path: Path) -> None:
    """With carry a split is one stretch of the data."""
    text = task(*drawn()).replace('kind = "label"\npooling = "attention"', 'kind = "next"')
    with pytest.raises(
        InputError, match=r"sequence.carry: .* its fold, and with carry .* one stretch(.|\n)*RC014"
    ):
        recurra.check(write(tmp_path, text), {"sequence.carry": True})


def test_a_split_without_an_answer_is_refused(tmp_path: Path) -> None:
    """Where training has shown none of the labels of a split, nothing of it could be scored."""
    texts, labels = drawn()
    labels = [
        label if fold != "validation" else "c" for label, fold in zip(labels, FOLDS, strict=True)
    ]
    with pytest.raises(
        InputError,
        match=r"validation split, .* no sequence whose label training has shown(.|\n)*RC041",
    ):
        recurra.check(write(tmp_path, task(texts, labels)), QUICK)
