"""Whenever a command is asked to end it does, with the code of the signal, and leaves all whole."""

from __future__ import annotations

import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from conftest import HELLO, SERIES
from terminal import command, world
from trials import PROSE, left, write

import recurra
from recurra.engine import build
from recurra.runs.checkpoints import Checkpoints

SIGNALS = {
    getattr(signal, name): code
    for name, code in (("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129))
    if hasattr(signal, name)
}
SOME = [
    pytest.param(number, marks=pytest.mark.slow if at else ()) for at, number in enumerate(SIGNALS)
]
"""One signal by default, where what follows is the same for each."""
CHANGES = {
    "device.path": "eager",
    "training.steps": 4,
    "training.validate_every": 2,
    "training.checkpoint_every": 1,
    "generation.length": 2,
}
OPTIONS = [part for key, value in CHANGES.items() for part in ("-o", f"{key}={value}")]
PHASES = {
    "data": "recurra.job.fresh.load_data",
    "rehearsal": "recurra.job.fresh.preflight",
    "the first files": "recurra.runs.records.Records.seal",
    "validation": "recurra.job.train.evaluate",
    "a checkpoint": "recurra.runs.checkpoints.save_file",
    "an index": "recurra.runs.checkpoints.Checkpoints._point",
    "the best weights": "recurra.job.train.figures",
    "the result": "recurra.job.train.broken_bands",
}
"""What a run does, and a function that it calls meanwhile."""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Check that a command in this process leaves signals to whom they were."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


def pressed(name: str, number: int, times: int = 1, at: int = 1) -> Any:
    """Let a signal come so often when a function is called the `at`-th time."""
    real, calls = pkgutil.resolve_name(name), []

    def call(*given: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == at:
            for _ in range(times):
                signal.raise_signal(number)
        return real(*given, **named)

    return mock.patch(name, call)


def parts(root: Path) -> list[Path]:
    """Return what was begun and not brought to its end."""
    return [path for path in root.rglob("*") if ".part" in path.name]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Train once without a signal."""
    home = tmp_path_factory.mktemp("unbroken")
    return left(recurra.run(write(home, PROSE), CHANGES, runs=home / "runs"))


def _resumed(folder: Path, unbroken: dict[str, Any]) -> None:
    """Come to the end that a run without a signal has."""
    assert left(recurra.resume(folder)) == unbroken


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("phase", PHASES)
def test_a_run_ends_when_it_is_asked_to(
    phase: str, times: int, tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    """In whatever a run does, a signal or two of it end it with its code, no traceback and nothing
    half-written; what was saved goes on to the same bytes.
    """
    number = [*SIGNALS][(len(phase) + times) % len(SIGNALS)]
    at = {"validation": times, "a checkpoint": 5, "an index": 2}.get(phase, 1)
    with pressed(PHASES[phase], number, times, at):
        line = ["run", write(tmp_path, PROSE), "--runs", tmp_path / "runs", *OPTIONS]
        ended = command(*line).tidy(SIGNALS[number])
    assert "interrupted" in ended.err and not parts(tmp_path)
    folder = tmp_path / "runs" / "task" / "1"
    if not Checkpoints(folder / "checkpoints").steps():
        assert phase in ("data", "rehearsal", "the first files")
        return
    if times == 1 or phase in ("the best weights", "the result"):
        assert f"recurra resume {folder}" in ended.err
    _resumed(folder, unbroken)


@pytest.mark.parametrize("number", SOME)
@pytest.mark.parametrize("phase", [
    "recurra.job.calibration._scores", "recurra.job.calibration.prepared",
    "recurra.train.loop.Trainer._update",
])  # fmt: skip
def test_a_calibration_ends_when_it_is_asked_to(phase: str, number: int, tmp_path: Path) -> None:
    """A calibration is part of a run, which goes on with it."""
    conformal = ["-o", 'target={kind="next", conformal="split"}', "-o", "training.steps=2"]
    conformal += ["-o", "sequence.split=[1.0, 0.0, 0.0]", "-o", "generation.length=2"]
    line = ["run", write(tmp_path, SERIES), "--runs", tmp_path / "runs", *conformal]
    # The third update is the first of the calibration.
    with pressed(phase, number, at=3 if phase.endswith("_update") else 1):
        ended = command(*line).tidy(SIGNALS[number])
    folder = tmp_path / "runs" / "task" / "1"
    assert f"recurra resume {folder}" in ended.err and not parts(tmp_path)
    command("resume", folder).tidy(0)
    assert (folder / "calibration.json").exists()


@pytest.mark.parametrize("number", SOME)
def test_a_backtest_ends_when_it_is_asked_to(number: int, tmp_path: Path) -> None:
    """What is done of a backtest is told, and it goes on with the command that is named."""
    home = tmp_path / "backtests"
    options = ["-o", "training.steps=2", "-o", "sequence.split=[1.0, 0.0, 0.0]"]
    line = ["backtest", write(tmp_path, SERIES), "--folds", "2", "--horizon", "2"]
    with pressed("recurra.job.backtest._forecasts", number, at=2):
        ended = command(*line, "--backtests", home, *options).tidy(SIGNALS[number])
    folder = home / "task" / "1"
    assert f"recurra backtest {folder}" in ended.err and "fold 1 of 2 is done" in ended.err
    assert not parts(tmp_path)
    command("backtest", folder).tidy(0)


@pytest.mark.parametrize("number", SIGNALS)
def test_answers_that_are_ended_leave_the_file_as_it_was(number: int, tmp_path: Path) -> None:
    """Of answers that are not all there nothing is seen, nor of those that stood there before."""
    run = recurra.run(write(tmp_path, HELLO), {"device.path": "eager"}, runs=tmp_path / "runs")
    (tmp_path / "texts.txt").write_text("he\nhel\n")
    (tmp_path / "answers.csv").write_text("before")
    line = ["predict", run.path, tmp_path / "texts.txt", "--output", tmp_path / "answers.csv"]
    with (
        pressed("recurra.runs.written.json.dumps", number),
        pressed("recurra.runs.written.csv.DictWriter.writerow", number),
    ):
        command(*line).tidy(SIGNALS[number])
    assert (tmp_path / "answers.csv").read_text() == "before" and not parts(tmp_path)


@pytest.mark.parametrize("number", SOME)
def test_a_compiler_is_not_left_behind(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal while a kernel is compiled ends the compiler too, with all that it has started."""
    compiler, told = tmp_path / "cc", tmp_path / "told"
    ready = f"echo $$ $! > {told}.new; mv {told}.new {told}"
    compiler.write_text(f"#!/bin/sh\nsleep 60 &\n{ready}\nwait\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setattr(build, "kernel_folder", lambda: tmp_path / "kernels")
    monkeypatch.setattr(build, "_loaded", {})

    def press() -> None:
        for _ in range(400):
            if told.exists():
                os.kill(os.getpid(), number)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=press)
    thread.start()
    line = ["run", write(tmp_path, HELLO), "--runs", tmp_path / "runs"]
    ended = command(*line, "-o", "device.path=fused")
    thread.join()
    ended.tidy(SIGNALS[number])
    for pid in map(int, told.read_text().split()):
        for _ in range(100):
            if not _lives(pid):
                break
            time.sleep(0.02)
        assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.slow
def test_a_limit_of_the_system_is_told(tmp_path: Path) -> None:
    """A file larger than may be is an error like a full disk, and the cure is its own."""
    task = write(tmp_path, PROSE)
    line = f"{sys.executable} -m recurra.cli.main run {task} --runs {tmp_path}/r"
    shell = ["bash", "-c", f"ulimit -f 4; exec {line}"]
    done = subprocess.run(shell, capture_output=True, text=True, env=world(), check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "ulimit -f" in done.stderr and "RC053" in done.stderr
