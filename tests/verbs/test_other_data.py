"""A run is measured on other data by what it has learned, and nothing is learned of that data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import recurra
from recurra import InputError
from recurra.cli.main import app
from recurra.job.run import Run

SERIES = np.sin(np.arange(90) / 3) * 2 + 5
TRAINED: dict[str, Any] = {
    "cell": {"kind": "gru", "hidden_size": 4},
    "training": {"steps": 3, "batch_size": 2, "optimizer": {"kind": "adam", "lr": 0.01}},
    "device": {"path": "native"},
}
NUMBERS: dict[str, Any] = {
    **TRAINED,
    "vocabulary": {"kind": "numeric"},
    "encoder": {"kind": "identity"},
    "loss": {"kind": "mse"},
    "sequence": {"length": 8, "split": [0.7, 0.1, 0.2]},
    "generation": {"length": 4},
}
TEXT = "abacadabra, the cab is a bad cab. " * 6


def table(path: Path, values: Any, column: str = "x") -> str:
    """Write a column of numbers as csv; return where it lies."""
    rows = "".join(f"{value!r}\n" for value in np.asarray(values).tolist())
    path.write_text(f"{column}\n{rows}", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of a csv file."""
    folder = tmp_path_factory.mktemp("numbers")
    path = table(folder / "own.csv", SERIES)
    source = {"kind": "csv", "path": path, "columns": ["x"]}
    return recurra.run({**NUMBERS, "name": "numbers", "source": source}, runs=folder / "runs")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of a text file."""
    folder = tmp_path_factory.mktemp("text")
    path = folder / "own.txt"
    path.write_text(TEXT, encoding="utf-8")
    task = {
        **TRAINED,
        "name": "text",
        "source": {"kind": "text", "path": str(path)},
        "vocabulary": {"kind": "character"},
        "sequence": {"length": 8, "split": [0.8, 0.1, 0.1]},
        "encoder": {"kind": "one_hot"},
        "loss": {"kind": "cross_entropy"},
    }
    return recurra.run(task, runs=folder / "runs")


def test_data_that_moved_is_the_same_data(numbers: Run, tmp_path: Path) -> None:
    """The same numbers elsewhere give the figures of the run's own test split."""
    moved = table(tmp_path / "moved.csv", SERIES)
    assert numbers.evaluate(None, {"source.path": moved}) == numbers.evaluate("test")


def test_numbers_are_scaled_as_the_run_did(numbers: Run, tmp_path: Path) -> None:
    """What is said one step ahead of a short file is what the network says by hand."""
    other = SERIES[:20] * 1.5
    figures = numbers.evaluate(None, {"source.path": table(tmp_path / "other.csv", other)})
    assert figures["split"] == "all"
    assert figures["predictions"] == len(other) - 1
    session, errors = numbers.session(), []
    for before, came in zip(other[:-1], other[1:], strict=True):
        session.feed([[before]])
        said = numbers.vocabulary.decode(session.expected().cpu().numpy())
        errors.append(abs(float(said[0, 0]) - came))
    assert figures["metrics"]["mae"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert figures["forecast"]["steps"] == 4

    # The naive rule learns nothing, and drift is that of the run's training.
    naive = np.abs(np.diff(other)).mean()
    assert figures["baselines"]["naive"]["mae"] == pytest.approx(naive)
    slope = np.diff(SERIES[:63]).mean()
    drift = np.abs(np.diff(other) - slope).mean()
    assert figures["baselines"]["drift"]["mae"] == pytest.approx(drift)


def test_rules_learn_of_the_runs_own_training_or_not_at_all(text: Run, tmp_path: Path) -> None:
    """Unigram is that of training by hand; with the data gone no rule is there, as a note says."""
    other = tmp_path / "other.txt"
    other.write_text("bad cab is a cab", encoding="utf-8")
    overrides = {"source.path": str(other)}
    figures = text.evaluate(None, overrides)
    train = TEXT[: len(TEXT) - int(len(TEXT) * 0.2 + 1e-9)]
    size, kinds = text.vocabulary.size, len(set(train))
    chances = [
        (train.count(symbol) + kinds / size) / (len(train) + kinds)
        for symbol in "bad cab is a cab"[1:]
    ]
    nats = -np.mean([math.log(chance) for chance in chances])
    assert figures["baselines"]["unigram"]["nats"] == pytest.approx(nats)
    assert any("learned from the run's own training split" in note for note in figures["notes"])

    own = Path(text.task.source["path"])
    kept = own.read_bytes()
    own.unlink()
    try:
        gone = text.evaluate(None, overrides)
    finally:
        own.write_bytes(kept)
    assert gone["metrics"] == figures["metrics"]
    assert gone["baselines"] == {}
    assert any("no baselines" in note for note in gone["notes"])


def test_symbols_that_the_run_does_not_know_are_refused(text: Run, tmp_path: Path) -> None:
    """A new symbol is named, with its place."""
    other = tmp_path / "other.txt"
    other.write_text("bad cab X", encoding="utf-8")
    with pytest.raises(InputError, match=r"'X' \(U\+0058\) at position 8"):
        text.evaluate(None, {"source.path": str(other)})


def test_labels_that_the_run_does_not_know_are_counted(tmp_path: Path) -> None:
    """They are not scored, and told; a file without the column is refused."""
    rng = np.random.default_rng(0)
    shown = {"input": list(rng.normal(size=(12, 5))), "label": ["up", "down"] * 6}
    task = {key: value for key, value in NUMBERS.items() if key not in ("sequence", "generation")}
    task |= {
        "target": {"kind": "label"},
        "loss": {"kind": "cross_entropy"},
        "sequence": {"split": [0.5, 0.0, 0.5]},
    }
    run = recurra.run(task, data=shown, runs=tmp_path)
    other = {"input": list(rng.normal(size=(3, 5))), "label": ["up", "sideways", "down"]}
    figures = run.evaluate("all", data=other)
    assert figures["predictions"] == 2
    assert any("1 sequence of all of the data is not scored" in note for note in figures["notes"])
    with pytest.raises(InputError, match="RC044"):
        run.evaluate("test", data=other)
    with pytest.raises(InputError, match="label"):
        run.evaluate("all", data={"input": other["input"]})


def test_all_of_the_own_data_is_its_splits_together(numbers: Run) -> None:
    """Its predictions are those of the three splits, and training is said to be in it."""
    names = ("train", "validation", "test")
    parts = [numbers.evaluate(name)["predictions"] for name in names]  # type: ignore[arg-type]
    figures = numbers.evaluate("all")
    assert figures["predictions"] == sum(parts)
    assert "training is in it" in figures["verdict"]


def test_series_are_scaled_by_what_comes_before(tmp_path: Path) -> None:
    """A new series has the scale of what is known of it: its last steps, that are scored, do not
    count.
    """
    grouped = [SERIES[:30] * factor for factor in (1.0, 3.0, 7.0)]
    task = NUMBERS | {
        "vocabulary": {"kind": "numeric", "scale_by": "series"},
        "sequence": {"length": 8, "split": [0.7, 0.1, 0.2], "split_by": "time"},
    }
    run = recurra.run(task, data=grouped, runs=tmp_path)
    other = [SERIES[20:50], SERIES[20:50] * 1000, SERIES[:4]]
    figures = run.evaluate("all", data=other)
    assert figures["predictions"] == 8
    assert any("1 are too short" in note for note in figures["notes"])
    alone = [run.evaluate("all", data=[series])["metrics"]["mae"] for series in other[:2]]
    assert alone[1] == pytest.approx(1000 * alone[0], rel=1e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cell.hidden_size=3", "cell.hidden_size cannot change when a run is evaluated"),
        ("generation.length=9", "generation.length cannot change"),
        ("source.path=nowhere.csv", "nowhere.csv"),
        ("source.kind=text", "text"),
    ],
)
def test_wrong_overrides_are_refused(numbers: Run, override: str, message: str) -> None:
    """The key, and what to do, are told."""
    with pytest.raises(InputError) as caught:
        numbers.evaluate(None, [override])
    assert message in str(caught.value)


def test_the_command_takes_other_data(numbers: Run, tmp_path: Path) -> None:
    """`-o` and `--split all` are those of Python; an unknown split and an empty file are told."""
    other = table(tmp_path / "other.csv", SERIES[:20])
    call = ["evaluate", str(numbers.path), "-o", f"source.path={other}"]
    shown = CliRunner().invoke(app, [*call, "--json"])
    printed = json.loads(shown.stdout.splitlines()[-1])
    assert printed == json.loads(json.dumps(numbers.evaluate(None, {"source.path": other})))
    plain = CliRunner().invoke(app, call)
    assert "all of the data" in plain.stdout and "held out" in plain.stdout

    with pytest.raises(InputError, match="train, validation, test, all"):
        numbers.evaluate("fold")  # type: ignore[arg-type]
    empty = table(tmp_path / "empty.csv", [])
    with pytest.raises(InputError, match="RC04"):
        numbers.evaluate(None, {"source.path": empty})
