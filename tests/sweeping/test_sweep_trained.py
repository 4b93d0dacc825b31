"""Sweeps whose trials are trained: what reads the test split, and what a trial leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from terminal import command
from terminal import world as environment
from trials import PROSE, write

import recurra
from recurra.job import train as training
from recurra.runs.folder import RunFolder
from recurra.runs.inspection import inspect
from recurra.runs.listing import described
from recurra.sweeping.results import Sweep
from recurra.trials import pool
from recurra.trials.trial import Trial, made

optuna = pytest.importorskip("optuna")

SHORT = {
    "training.steps": 6,
    "training.validate_every": 3,
    "device.path": "eager",
    "generation.length": 1,
}
SPACE = {
    "trials": 4,
    "sampler": {"kind": "grid"},
    "pruner": {"kind": "asha"},
    "metrics": ["nats"],
    "space": {"training.optimizer.lr": [0.1, 1e-4, 1e38, 0.3]},
}
SGD = {"training.optimizer.kind": "sgd"}


def _asked(worker: pool.Worker, trial: Trial) -> dict[str, Any]:
    return {"outcome": made(trial, worker.judge)}


@pytest.fixture(scope="module")
def measured() -> list[str]:
    """Give what the figures of a run were made of, in the order in which they were."""
    return []


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, measured: list[str]) -> Iterator[Sweep]:
    """Give a sweep of four rates, of which one leads nowhere and one is infinite."""
    figures = training.figures

    def counting(task: Any, data: Any, network: Any, split: str, *more: Any) -> Any:
        measured.append(split)
        return figures(task, data, network, split, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool.Worker, "_asked", _asked)
        patch.setattr(training, "figures", counting)
        yield sweep_of(tmp_path_factory.mktemp("swept"), PROSE)


def sweep_of(folder: Path, text: str) -> Sweep:
    task = write(folder, text)
    return recurra.sweep(task, SPACE, SHORT | SGD, sweeps=folder / "sweeps", jobs=1)


def test_the_test_split_is_read_once(swept: Sweep, measured: list[str]) -> None:
    """The best alone has a result; all others have what validation has measured, and no more."""
    assert measured == ["test"]
    folder = Path(swept.folder)
    results = [str(path.relative_to(folder).parent) for path in folder.rglob("result.json")]
    assert results == [swept.run]
    for path in folder.glob("trials/*/seed-0/1/metrics.jsonl"):
        splits = {json.loads(line)["split"] for line in path.read_text().splitlines()}
        assert (
            splits <= {"train", "validation"} or str(path.parent.relative_to(folder)) == swept.run
        )


def test_other_data_in_the_test_split_changes_no_trial(swept: Sweep, tmp_path: Path) -> None:
    """What is chosen, and all that is told of trials, is the same; only the last figure is not."""
    other = sweep_of(tmp_path, PROSE.replace("the bog.", "bog the."))
    assert other.trials == swept.trials and other.best == swept.best
    assert other.validation == swept.validation and other.test != swept.test


def test_the_best_task_makes_the_run_again(swept: Sweep, tmp_path: Path) -> None:
    """Its file is whole: trained by itself it has the figures that are told."""
    run = recurra.run(Path(swept.folder) / "best.toml", runs=tmp_path)
    assert run.result["metrics"]["nats"] == swept.test["nats"]
    kept = run.result["weights_of_step"]
    of_validation = [r for r in run.metrics() if r["split"] == "validation" and r["step"] == kept]
    assert [record["nats"] for record in of_validation] == [swept.validation["nats"]]


def test_what_is_pruned_or_fails_is_told_and_left_whole(swept: Sweep) -> None:
    """A pruned run goes on from its checkpoint when asked; an infinite loss is a failure."""
    assert [row.state for row in swept.trials] == ["done", "pruned", "failed", "done"]
    assert swept.trials[2].why.startswith("the loss is inf at step 3")
    pruned = RunFolder(Path(swept.folder) / "trials" / "1" / "seed-0" / "1")
    assert pruned.checkpoints.index()["last"] == 3
    assert pruned.checkpoints.load("last").step == 3
    assert not (pruned.path / "failed.json").exists()


def test_a_trial_that_is_not_judged_says_so(swept: Sweep, tmp_path: Path) -> None:
    """It is no run that was interrupted, until it goes on, which gives it a result."""
    rows = {row["run"]: row for row in recurra.runs_in(swept.folder)}
    told = {int(Path(run).parts[-3]): (row["state"], row["why"]) for run, row in rows.items()}
    best = swept.best
    other = 3 - best
    assert told[best] == ("finished", None)
    assert told[1] == ("unjudged", "its sweep found it hopeless (pruned)")
    assert told[2][0] == "failed"
    assert told[other][0] == "unjudged" and "trained to its end (all steps" in told[other][1]
    for number in (1, other):
        run = Path(swept.folder) / "trials" / str(number) / "seed-0" / "1"
        assert inspect(run).about["state"] == f"unjudged: {told[number][1]}"
        copy = tmp_path / str(number)
        shutil.copytree(run, copy)
        recurra.resume(copy)
        assert described(copy)["state"] == "finished" and not (copy / "unjudged.json").exists()


def test_the_command_tells_both_figures(swept: Sweep) -> None:
    """That of validation, which chose, and that of the test split, beside each other."""
    told = command("sweep", swept.folder).tidy(0).out
    chosen, judged = swept.validation["nats"], swept.test["nats"]
    assert f"nats: {chosen:.4g} on validation, which chose it; {judged:.4g} on test" in told
    assert "2 done, 1 pruned, 1 failed" in told and "best.toml" in told
    assert command("sweep", swept.folder, "--json").tidy(0).last == swept.as_data()


def _holds_a_trial(process: int, folder: Path) -> bool:
    """Tell whether a process has claimed a trial."""
    with suppress(OSError):
        files = [str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir()]
        return any(file.startswith(str(folder / "locks")) for file in files)
    return False


@pytest.mark.slow
def test_processes_that_are_killed_leave_no_trial_undone_or_done_twice(tmp_path: Path) -> None:
    """Two commands on one folder, one killed again and again: the other makes what it leaves."""
    task = write(tmp_path, PROSE)
    space = tmp_path / "space.toml"
    space.write_text(
        'trials = 10\nsampler = { kind = "random" }\n'
        "[space]\ncell.hidden_size = { low = 3, high = 9 }\n"
        "training.optimizer.lr = { low = 1e-3, high = 0.3, log = true }\n"
    )
    options = [f"-o{key}={value}" for key, value in (SHORT | {"training.steps": 200}).items()]
    line = [sys.executable, "-m", "recurra", "sweep", str(task), str(space), *options]
    line += ["--folder", str(tmp_path / "shared"), "--jobs", "1"]
    steady = subprocess.Popen(line, env=environment(), stdout=subprocess.DEVNULL)
    kills = 0
    # One that is killed three times in one trial, before it comes any further, has failed.
    while steady.poll() is None and kills < 2:
        killed = subprocess.Popen(line, env=environment(), stdout=subprocess.DEVNULL)
        while killed.poll() is None and not _holds_a_trial(killed.pid, tmp_path / "shared"):
            time.sleep(0.05)
        if killed.poll() is None:
            os.kill(killed.pid, signal.SIGKILL)
            kills += 1
        killed.wait()
    assert steady.wait(300) == 0 and kills
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "shared" / "storage.jsonl"))
    study = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
    assert [trial.number for trial in study.trials] == list(range(10))
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    runs = [path.parent.name for path in (tmp_path / "shared").glob("trials/*/seed-0/*/task.toml")]
    assert len(runs) == 10
    alone = recurra.sweep(
        task, space, SHORT | {"training.steps": 200}, sweeps=tmp_path / "alone", jobs=2
    )
    shared = recurra.sweep(tmp_path / "shared")
    assert shared.record() == alone.record()
