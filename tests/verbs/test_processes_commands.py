"""Several processes evaluate, predict and backtest as one does, and end as one does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asked import table
from commanded import BROKEN, Said, commands
from conftest import SERIES
from processes import together
from trials import about, write

import recurra

CHANGES = [
    'device.kind="cpu"', 'device.precision="float64"', 'device.path="eager"', "training.steps=2",
    "training.batch_size=4", 'sequence.split_by="time"', 'sequence.split=["rest",0,4]',
    "sequence.length=3", "generation.length=2", 'target.kind="next"', 'target.conformal="split"',
    'loss.kind="mae"',
]  # fmt: skip
BACKTEST = ["--folds", "2", "--json"]
FIGURES = ("metrics", "baselines", "by_step", "by_fold", "notes", "verdict", "levels")


def asked(who: str) -> dict[str, tuple[list[str], str]]:
    """Return the commands that one process is given, or several, and their outputs."""
    changes = [word for change in CHANGES for word in ("-o", change)]
    run, place = "made/panel", ["--backtests", who]
    predict = ["predict", run]
    answers = {
        "run": ["run", "panel.toml", "--runs", who, "--json", *changes],
        "evaluate": ["evaluate", run, "--json"],
        "predict": [*predict, "new.csv", "--output", f"{who}.csv"],
        "score": [*predict, "new.csv", "--score", "--output", f"{who}-scores.csv"],
        "fault": [*predict, "bad.csv", "--output", f"{who}-bad.csv"],
        "nothing": ["evaluate", "nowhere"],
        "pipe": [*predict, "pipe"],
        "task": ["backtest", "panel.toml", *BACKTEST, *place, *changes],
        "retrain": [
            "backtest", "panel.toml", "--retrain", "--output", f"{who}-frame.csv", *BACKTEST,
            *place, *changes,
        ],
        "of a run": ["backtest", run, "--step", "1", *BACKTEST, *place],
    }  # fmt: skip
    if who != "one":
        answers |= {kind: ["backtest", kind, "--json"] for kind in ("unbegun", "begun")}
    broken = {kind: ([*predict, "new.csv"], kind) for kind in BROKEN}
    return {name: (line, "") for name, line in answers.items()} | broken


class Launch:
    """What one process has done, and two."""

    def __init__(self, place: Path) -> None:
        self.place = place
        one = asked("one")
        del one["pipe"]
        self.one = dict(zip(one, commands(place, list(one.values())), strict=True))
        self.retrained = Path(json.loads(self.one["retrain"][1])["backtest"])
        self._interrupted("unbegun", lambda folder: shutil.rmtree(folder / "fold-2"))
        self._interrupted("begun", lambda folder: None)

        two = asked("two")
        lines = list(two.values())
        told = together(2, "commanded", "commands", place / "launch", place, lines)
        self.two: dict[str, list[Said]] = {
            name: [own[at] for own in told] for at, name in enumerate(two)
        }

    def _interrupted(self, name: str, more: Any) -> None:
        """Leave the backtest with a model a fold as it was in its second fold."""
        folder = self.place / name
        shutil.copytree(self.place / self.retrained, folder)
        record = json.loads((folder / "backtest.json").read_text())
        del record["done"]["2"]
        (folder / "backtest.json").write_text(json.dumps(record))
        for file in ("fold-2.safetensors", "result.json", "forecasts.csv"):
            (folder / file).unlink()
        more(folder)


def prepare(place: Path) -> None:
    """Write a task, its data, new data, and train a run."""
    steps = [
        (f"s{row}", at, (at * (row + 2)) % 7 + at / 10) for row in range(9) for at in range(20)
    ]
    columns = ["place", "when", "y"]
    table(place / "panel.csv", columns, steps)
    table(place / "new.csv", columns, steps[:-3])
    bad = [(*row[:2], "no" if at == 130 else row[2]) for at, row in enumerate(steps)]
    table(place / "bad.csv", columns, bad)
    os.mkfifo(place / "pipe")
    text = about(SERIES, "csv", path="panel.csv", columns=["y"], group="place")
    recurra.run(write(place, text, "panel.toml"), CHANGES, runs=place / "made")


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """One process and two, in a folder in which a task was trained."""
    place = tmp_path_factory.mktemp("commands")
    prepare(place)
    yield Launch(place)


def alike(found: Any, wanted: Any, without: tuple[str, ...] = ("run",)) -> None:
    """Assert that plain data is the same but for the order of sums."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name in wanted.keys() - set(without):
            alike(found[name], wanted[name], without)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for own, other in zip(found, wanted, strict=True):
            alike(own, other, without)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", ["run", "evaluate", "task", "retrain", "of a run"])
def test_figures_are_those_of_one_process(launch: Launch, name: str) -> None:
    """The first prints them, and the others nothing."""
    code, printed, _ = launch.one[name]
    assert code == 0
    first, second = launch.two[name]
    assert first[0] == second[0] == 0 and second[1:] == ("", "")
    wanted, found = json.loads(printed), json.loads(first[1])
    for key in FIGURES:
        assert (key in found) == (key in wanted)
        alike(found.get(key), wanted.get(key))


def test_a_calibration_is_shared_out(launch: Launch) -> None:
    """The model of the calibration is trained and asked by all, and its scores are those of one."""
    one, two = (
        json.loads((launch.place / who / "panel" / "1" / "calibration.json").read_text())
        for who in ("one", "two")
    )
    alike(two, one)
    for run in ("two/panel/1", "two/panel/1/calibration/1"):
        record = json.loads((launch.place / run / "environment.json").read_text())
        assert record["processes"] == 2


@pytest.mark.parametrize("kind", ["unbegun", "begun"])
def test_a_backtest_goes_on(launch: Launch, kind: str) -> None:
    """One of one process that was interrupted, with a fold that has begun or not, is ended."""
    first, second = launch.two[kind]
    assert first[0] == second[0] == 0 and second[1:] == ("", "")
    wanted, found = json.loads(launch.one["retrain"][1]), json.loads(first[1])
    for key in FIGURES:
        alike(found.get(key), wanted.get(key))
    frames = [launch.place / kind / "forecasts.csv", launch.place / "one-frame.csv"]
    alike_frames(*(frame.read_text() for frame in frames))


def alike_frames(found: str, wanted: str) -> None:
    """Assert that frames have the same cells, but for the order of sums."""
    for own, other in zip(found.splitlines(), wanted.splitlines(), strict=True):
        for cell, mate in zip(own.split(","), other.split(","), strict=True):
            assert cell == mate or float(cell) == pytest.approx(float(mate), rel=1e-9)


@pytest.mark.parametrize("name", ["", "-scores"])
def test_files_are_those_of_one_process(launch: Launch, name: str) -> None:
    """To the byte, and told once."""
    one, two = (launch.place / f"{who}{name}.csv" for who in ("one", "two"))
    assert two.read_bytes() == one.read_bytes()
    asked_for = {"": "predict", "-scores": "score"}[name]
    first, second = launch.two[asked_for]
    assert first[0] == second[0] == 0 and second[1:] == ("", "")
    assert first[1].replace("two", "one", 1) == launch.one[asked_for][1]


def test_frames_of_backtests_are_those_of_one(launch: Launch) -> None:
    """The frame that was asked for is written once, by the first."""
    one, two = (launch.place / f"{who}-frame.csv" for who in ("one", "two"))
    alike_frames(two.read_text(), one.read_text())


@pytest.mark.parametrize("name", ["fault", "nothing", *BROKEN])
def test_errors_are_told_once(launch: Launch, name: str) -> None:
    """In the words of one process, and all of them end: none waits for one that cannot write."""
    code, printed, told = launch.one[name]
    assert code and told.count("error:") == (name != "left")
    codes = [own for own, _, _ in launch.two[name]]
    assert codes[0] == code and codes[1]
    assert "".join(out for _, out, _ in launch.two[name]) == printed == ""
    said = "".join(err for _, _, err in launch.two[name])
    assert said.replace("two", "one") == told
    assert not (launch.place / "two-bad.csv").exists()


def test_a_pipe_is_not_read_in_parts(launch: Launch) -> None:
    """Several processes would each have some of its rows."""
    codes, _, errors = zip(*launch.two["pipe"], strict=True)
    assert codes == (2, 2)
    assert "".join(errors).count("error: pipe is no file") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluate", "predict", "of a run", "fault"])
def test_torchrun_itself_starts_them(launch: Launch, name: str) -> None:
    """It shows what the first prints, and fails where a process has failed."""
    line, _ = asked("torchrun")[name]
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *start, "-m", "recurra", *line],
        cwd=launch.place,
        capture_output=True,
        text=True,
        timeout=300,
    )
    code, printed, told = launch.one[name]
    assert (done.returncode != 0) == (code != 0), done.stderr
    if code:
        assert told.replace("one", "torchrun") in done.stderr
        assert done.stderr.count("error: source") == 1 and not done.stdout
        return
    if name == "predict":
        assert done.stdout == printed.replace("one", "torchrun")
        files = [launch.place / f"{who}.csv" for who in ("torchrun", "one")]
        assert files[0].read_bytes() == files[1].read_bytes()
        return
    wanted, found = json.loads(printed), json.loads(done.stdout)
    for key in FIGURES:
        alike(found.get(key), wanted.get(key))
