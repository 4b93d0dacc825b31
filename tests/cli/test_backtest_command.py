"""The command `backtest`: its tables, its object, its exit codes, and how it is interrupted."""

from __future__ import annotations

import csv
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from terminal import alone, command

from recurra.cli.display import Lines

TASK = """
schema = 1
source = { kind = "csv", path = "panel.csv", columns = ["y"], group = "unique_id" }
vocabulary = { kind = "numeric", scale_by = "series" }
sequence = { length = 8, split = [0.8, 0.2, 0.0], split_by = "time" }
encoder = { kind = "identity" }
cell = { kind = "gru", hidden_size = 3 }
loss = { kind = "mse" }
training = { steps = 3, batch_size = 2 }
generation = { length = 3 }
device = { path = "native" }
"""
LENGTHS = {"north": 40, "south": 30, "short": 6}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the task of a panel, of which one series is short."""
    rows = ["unique_id,y\n"]
    for name, length in LENGTHS.items():
        rows += [f"{name},{3 + np.sin(step / 3)}\n" for step in range(length)]
    (tmp_path / "panel.csv").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "panel.toml").write_text(TASK, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_backtest_prints_its_tables(folder: Path) -> None:
    """Figures stand over all, by fold and by step ahead; the frame lies where it was asked for."""
    ended = command("backtest", "panel.toml", "--folds", "2", "--output", "frame.csv").tidy(0)
    for words in ("all folds", "mase by fold", "mase by step ahead", "verdict: ", "over 2 folds"):
        assert words in ended.out
    assert "too short before the cutoff are left out: 1 of fold 1" in ended.out
    assert re.search(r"^frame: +frame\.csv$", ended.out, re.MULTILINE)

    with Path("frame.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["unique_id", "ds", "cutoff", "y", "panel"]
    assert [row["unique_id"] for row in rows[::3]] == ["north", "south", "north", "south", "short"]
    again = command("backtest", "backtests/panel", "--json", "--output", "frame.jsonl").tidy(0)
    assert again.last["metrics"] and "mase by fold" not in again.out


def test_a_backtest_is_one_object(folder: Path) -> None:
    """With --json all that is printed is one object, that of result.json and the output."""
    result = alone(command("backtest", "panel.toml", "--folds", "1", "--json").tidy(0))
    assert result["backtest"] == "backtests/panel/1" and result["series"] == 3
    assert result["judged"] == "mase" and "output" not in result
    (fold,) = result["by_fold"]  # type: ignore[misc]
    assert fold["run"] == "backtests/panel/1/fold-1"
    assert [row["ahead"] for row in fold["by_step"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("panel.toml", "--folds", "0"), ["--folds"]),
        (("panel.toml", "--step", "0"), ["--step"]),
        (("panel.toml", "--horizon", "99"), ["[RC041]", "the longest has 40"]),
        (("panel.toml", "--folds", "99"), ["[RC041]", "folds = 12"]),
        (("nowhere/run",), ["[RC051]", "there is no run at nowhere/run"]),
        (("nowhere.toml",), ["[RC001]"]),
        (("panel.toml", "--output", "frame.docx"), ["[RC080]", ".csv, .jsonl, .parquet"]),
        (("panel.toml", "-o", "vocabulary.log=true", "-o", "source.path=gone.csv"), ["gone.csv"]),
        (("panel.toml", "-o", "sequence.leave_off=40"), ["[RC041]", "the longest has 40 steps"]),
    ],
)
def test_a_wrong_backtest_ends_with_2(
    arguments: tuple[str, ...], words: list[str], folder: Path
) -> None:
    """What cannot be backtested is told in one message, and no folder is made."""
    ended = command("backtest", *arguments).tidy(2)
    for word in words:
        assert word in ended.err
    assert not Path("backtests").exists()


def test_an_interruption_tells_how_to_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a fold ends with 130, and the command of its message makes the rest, as if nothing
    had come between.
    """
    options = ("backtest", "panel.toml", "--folds", "2", "--retrain", "--backtests")
    whole = command(*options, "whole", "--json").tidy(0).last
    with monkeypatch.context() as patch:
        # Training listens for the signal, and ends with the step.
        patch.setattr(Lines, "stepped", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        ended = command(*options, "cut").tidy(130)
    assert "interrupted in fold 1 of 2; no fold is done [RC063]" in ended.err
    assert "`recurra backtest cut/panel/1` goes on from there" in ended.err
    assert not Path("cut/panel/1/result.json").exists()

    text = Path("cut/panel/1/fold-1/1/task.toml").read_text(encoding="utf-8")
    assert "leave_off = 6" in text
    done = command("backtest", "cut/panel/1", "--json").tidy(0).last
    assert done["metrics"] == whole["metrics"] and done["by_step"] == whole["by_step"]
    assert len([*Path("cut/panel/1/fold-1").iterdir()]) == 1, "it was resumed"
