"""Comparisons: what is made equal, what is judged, and that they go on to the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from terminal import command
from terminal import world as environment
from trials import PROSE, write

import recurra
from recurra.comparing import planning
from recurra.comparing.comparison import Comparison
from recurra.comparing.variants import parsed_vary, variants_of
from recurra.errors import InputError, Interrupted, RunError
from recurra.job import summary
from recurra.job.build import build_optimizer, sized
from recurra.job.fresh import prepared
from recurra.resolve import resolve
from recurra.trials import pool
from recurra.trials.trial import Trial, made

BEGUN: list[subprocess.Popen[bytes]] = []
"""The processes that were begun, in place of those that make trials."""
SHORT = {"training.steps": 3, "device.path": "eager", "generation.length": 1}


@pytest.fixture(autouse=True)
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make trials in this process, which has torch imported already, but for slow tests."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(pool.Worker, "_asked", _asked)
        monkeypatch.setattr(pool, "begun", _begun)


def _asked(worker: pool.Worker, trial: Trial) -> dict[str, Any]:
    return {"outcome": made(trial)}


def _begun(log: Path | None) -> subprocess.Popen[bytes]:
    """Return a process that is ready, and ends with its stdin."""
    pipe = subprocess.PIPE
    argv = ["sh", "-c", "echo ready; exec cat >/dev/null"]
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe)
    BEGUN.append(process)
    return process


def compared(folder: Path, **more: Any) -> Comparison:
    """Compare cells on prose, briefly."""
    task = write(folder, PROSE)
    asked = {"cells": "gru,lstm,gru", "jobs": 1} | more
    overrides = SHORT | asked.pop("overrides", {})
    return recurra.compare(task, overrides, compares=folder / "compares", **asked)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a comparison that was never interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool.Worker, "_asked", _asked)
        patch.setattr(pool, "begun", _begun)
        return Path(compared(tmp_path_factory.mktemp("whole")).folder)


def test_the_same_cell_under_two_names_is_noise(whole: Path) -> None:
    """It has the same figures in every seed, shares a rank, and is worth an even chance."""
    told = json.loads((whole / "comparison.json").read_text())
    rows = {row["name"]: row for row in told["rows"]}
    assert rows["gru"]["values"] == rows["gru #2"]["values"] and len(rows["gru"]["values"]) == 5
    assert rows["gru"]["rank"] == rows["gru #2"]["rank"]
    (pair,) = [
        each for each in told["pairs"] if {each["first"], each["second"]} == set(rows) - {"lstm"}
    ]
    assert (pair["difference"], pair["better"]) == (0, None)


def test_a_report_is_drawn_into_its_folder(whole: Path, tmp_path: Path) -> None:
    """With --report, and later by its folder: the same page, and nothing else has changed."""
    folder = Path(shutil.copytree(whole, tmp_path / "1"))
    before = (folder / "comparison.json").read_bytes()
    told = command("compare", folder, "--report").tidy(0).out
    page = folder / "report.html"
    assert f"report:    {page}" in told
    command("report", folder, "-o", tmp_path / "later.html").tidy(0)
    assert page.read_bytes() == (tmp_path / "later.html").read_bytes()
    assert (folder / "comparison.json").read_bytes() == before
    data = json.loads(command("compare", folder, "--report", "--json").tidy(0).out)
    assert data["report"] == str(page)


def test_the_figures_are_those_of_runs_alone(whole: Path, tmp_path: Path) -> None:
    """A trial is what `recurra run` makes of the variant's file with its seed."""
    told = json.loads((whole / "comparison.json").read_text())
    row = next(row for row in told["rows"] if row["name"] == "lstm")
    alone = recurra.run(whole / "2-lstm.toml", {"seed": 3}, runs=tmp_path)
    assert alone.result["split"] == told["split"] == "test"
    assert row["values"][3] == alone.result["metrics"][told["metric"]]
    assert told["metric"] == alone.result["judged"]
    assert row["recurrent"] + row["encoder"] + row["head"] == alone.result["parameters"]
    weights = sum(w.numel() for layer in alone.network.layers for w in layer.parameters())
    assert row["recurrent"] == weights
    gru = next(row for row in told["rows"] if row["name"] == "gru")
    assert row["error"] == pytest.approx(weights / gru["recurrent"] - 1)


@given(cut=st.floats(0, 1), runs=st.sampled_from(["keep", "drop", "half"]))
@settings(max_examples=3)
def test_one_that_is_cut_off_anywhere_goes_on_to_the_same_bytes(
    cut: float, runs: str, whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The journal may end anywhere, runs may be there, half there or not: the bytes are the same.

    What the journal holds is not made again.
    """
    folder = Path(shutil.copytree(whole, tmp_path_factory.mktemp("cut") / "1"))
    journal = (folder / "journal.jsonl").read_bytes()
    kept = journal[: int(cut * len(journal))]
    # Of a comparison over 15 trials, no more than 4 are made again here.
    kept = max(kept, b"".join(journal.splitlines(keepends=True)[:11]), key=len)
    (folder / "journal.jsonl").write_bytes(kept)
    (folder / "comparison.json").unlink()
    finished = {json.loads(line)["trial"] for line in kept.split(b"\n")[:-1]}
    stamps = {}
    for path in folder.glob("*/seed-*"):
        name = str(path.relative_to(folder))
        result = path / "1" / "result.json"
        if name in finished:
            stamps[result] = result.stat().st_mtime_ns
        elif runs == "drop":
            shutil.rmtree(path)
        elif runs == "half":
            result.unlink()

    recurra.compare(folder, jobs=1)
    assert (folder / "comparison.json").read_bytes() == (whole / "comparison.json").read_bytes()
    assert (folder / "plan.json").read_bytes() == (whole / "plan.json").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    trials = [
        json.loads(line)["trial"] for line in (folder / "journal.jsonl").read_text().splitlines()
    ]
    assert sorted(trials) == sorted(set(trials)) and len(trials) == 15


def test_an_interruption_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished stays, and the error names the command."""
    count = 0

    def stopped(worker: pool.Worker, trial: Trial) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return _asked(worker, trial)

    monkeypatch.setattr(pool.Worker, "_asked", stopped)
    with pytest.raises(Interrupted, match="2 trials are finished") as told:
        compared(tmp_path, cells="gru,rnn", seeds=2)
    (folder,) = (tmp_path / "compares" / "task").iterdir()
    assert f"recurra compare {folder}" in str(told.value)
    monkeypatch.setattr(pool.Worker, "_asked", _asked)
    assert len(recurra.compare(folder, jobs=1).rows) == 2


def test_processes_begin_while_the_data_is_read_and_are_idle_when_steps_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as are asked for, and for all trials the same ones, those that tune rates too."""
    order: list[str] = []
    read, timed = planning.load_data, planning.in_turns

    def reading(resolved: Any) -> Any:
        order.append(f"read beside {len(BEGUN) - before}")
        return read(resolved)

    def waited(ahead: pool.Ahead) -> None:
        wait(ahead)
        order.append(f"{len(ahead.processes)} are idle")

    def timing(*arguments: Any) -> Any:
        order.append("timed")
        return timed(*arguments)

    wait, before = pool.Ahead.wait, len(BEGUN)
    monkeypatch.setattr(pool.Ahead, "wait", waited)
    monkeypatch.setattr(planning, "load_data", reading)
    monkeypatch.setattr(planning, "in_turns", timing)
    compared(tmp_path, cells="gru,rnn", seeds=2, match="none", tune_lr=2, jobs=2)
    assert order == ["read beside 2", "2 are idle", "timed"]
    assert len(BEGUN) - before == 2
    assert all(process.poll() is not None for process in BEGUN)


def test_memory_is_what_a_step_keeps(whole: Path, tmp_path: Path) -> None:
    """Whatever was allocated before: twice the same, and the sizes that one way forward keeps."""
    rows = json.loads((whole / "plan.json").read_text())["variants"]
    ballast = [torch.empty(31 * size) for size in range(200)]
    del ballast[::2]
    resolved = resolve(whole / "1-gru.toml")
    ready = prepared(resolved)
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with sized(resolved, ready.network):
        batch = summary.first_batch(ready.data)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            summary.loss_of(ready.network, batch, resolved.task.sequence.length)
    weights = {weight.untyped_storage().data_ptr() for weight in ready.network.parameters()}
    activations = sum(each.nbytes() for at, each in kept.items() if at not in weights)
    optimizer = build_optimizer(resolved, ready.network)
    expected = summary.memory(ready.network, optimizer, activations).total
    assert rows[0]["memory"] == rows[2]["memory"] == expected


def test_a_seed_that_fails_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, its cell is ranked last whatever its other seeds are, and nothing is dropped."""

    def failing(worker: pool.Worker, trial: Trial) -> dict[str, Any]:
        if trial.name == "1-gru/seed-1":
            return {"outcome": {"state": "failed", "why": "the loss became infinite"}}
        return _asked(worker, trial)

    monkeypatch.setattr(pool.Worker, "_asked", failing)
    found = compared(tmp_path, cells="gru,rnn", seeds=2, match="none", tune_lr=2)
    assert [row.name for row in found.rows] == ["rnn", "gru"]
    assert found.rows[1].failures == ["the loss became infinite"]
    assert found.rows[1].mean is None and len(found.rows[1].values) == 2
    assert "gru failed" in found.verdict
    assert any("fewer than 5" in note for note in found.notes)
    # The rate of each is the best of the same two on validation, of a seed that is not judged.
    for row in found.rows:
        tried = {float(rate): value for rate, value in row.tried.items()}
        assert len(tried) == 2 and row.rate == min(tried, key=lambda rate: tried[rate] or 0)
    plan = json.loads((Path(found.folder) / "plan.json").read_text())
    assert plan["tuning_seed"] not in plan["seeds"]


def test_a_trial_that_diverges_has_failed(tmp_path: Path) -> None:
    """A loss that is no number is its trial's failure; where all fail that is an error."""
    rates = {"training.optimizer.kind": "sgd"}
    with pytest.raises(RunError, match="every trial has failed"):
        compared(
            tmp_path,
            overrides=rates,
            vary={"training.optimizer.lr": [1e38, 2e38]},
            cells=None,
            seeds=1,
        )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"cells": None}, "variants"),
        ({"cells": "gru"}, "1 variants"),
        ({"cells": "gru,no_such"}, "^variant no_such cell.kind: there is no cell"),
        ({"vary": {"cell.ini": ["xavier"]}}, "^variant gru ini=xavier cell.ini: there is no key"),
        ({"cells": "gru,"}, "names with commas"),
        ({"seeds": 0}, "seeds"),
        ({"match": "weight"}, "match"),
        ({"metric": "nonsense"}, "no figure"),
        ({"vary": {"cell.hidden_size": [3, 4]}, "match": "state"}, "a match decides"),
        ({"vary": {"seed": [3, 4]}}, "seed"),
        ({"vary": "cell.hidden_size"}, "which values"),
        ({"overrides": {"cell.hidden_size": 1}, "cells": "rnn,lstm"}, "no width gives lstm"),
        (
            {"overrides": {"sequence.split": [1.0, 0.0, 0.0]}, "tune_lr": 3},
            "this task has none",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    more: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """It is told before there is a folder, and no process that was begun ahead stays."""
    with pytest.raises(InputError, match=words):
        compared(tmp_path, **more)
    assert not (tmp_path / "compares").exists()
    assert all(process.poll() is not None for process in BEGUN)


def test_data_that_has_changed_is_refused(whole: Path, tmp_path: Path) -> None:
    """Figures of other data are no part of the same table."""
    folder = Path(shutil.copytree(whole, tmp_path / "1"))
    for file in folder.glob("*.toml"):
        file.write_text(file.read_text().replace("the frog", "the toad"))
    with pytest.raises(InputError, match="data .* has changed"):
        recurra.compare(folder)


def test_options_have_no_say_in_one_that_goes_on(whole: Path) -> None:
    """It says itself what is compared."""
    with pytest.raises(InputError, match="says itself how it goes on"):
        recurra.compare(whole, seeds=7)


def test_the_command_prints_what_python_gives(whole: Path) -> None:
    """The table has a line for each, and `--json` all of it."""
    folder = command("compare", str(whole)).tidy(0)
    assert "verdict:" in folder.out and "gru #2" in folder.out
    assert command("compare", str(whole), "--json").tidy(0).last == recurra.compare(whole).as_data()


def test_every_cell_has_every_value() -> None:
    """Cells and values of other keys are multiplied, and what is there twice has two names."""
    key, values = parsed_vary('a.b=1,"x,y",[1,2]')
    assert (key, values) == ("a.b", [1, "x,y", [1, 2]])
    names = [
        each.name for each in variants_of(["gru", "gru"], {"cell.init": ["xavier", "uniform"]})
    ]
    assert names == [
        "gru init=xavier",
        "gru init=uniform",
        "gru init=xavier #2",
        "gru init=uniform #2",
    ]


@pytest.mark.slow
def test_one_that_is_killed_goes_on_to_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    """Killed again and again, its processes die with it, and the bytes are the same."""
    folder = Path(shutil.copytree(whole, tmp_path / "1"))
    for name in ("journal.jsonl", "comparison.json"):
        (folder / name).unlink()
    for path in folder.glob("*/seed-*"):
        shutil.rmtree(path)
    kills = 0
    for seconds in (4, 5, 6, 8, 10, 12, 15, 600):
        argv = [sys.executable, "-m", "recurra", "compare", str(folder), "--jobs", "2"]
        process = subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL)
        try:
            process.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills and process.returncode == 0
    assert (folder / "comparison.json").read_bytes() == (whole / "comparison.json").read_bytes()
    trials = [
        json.loads(line)["trial"] for line in (folder / "journal.jsonl").read_text().splitlines()
    ]
    assert len(trials) == 15 == len(set(trials))
    time.sleep(0.5)
