"""A fault at every write, sync and rename: what was whole stays whole, and the end is the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from conftest import SERIES
from disks import ENDS, ERRORS, FAULTS, REMOVALS, Disk, Lost
from safetensors import safe_open
from trials import PROSE, Stopper, left, write

import recurra
from recurra import Options, Piece, Source
from recurra import resolve as resolving
from recurra.catalog import discover
from recurra.data.corpus import build
from recurra.errors import Interrupted, RecurraError, RunError
from recurra.runs.checkpoints import Checkpoints
from recurra.train.events import Progress
from recurra_vocabularies.character import Character, CharacterOptions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it names open files by /proc")

CHANGES = {
    "device.kind": "cpu",
    "device.path": "eager",
    "training.steps": 3,
    "training.validate_every": 2,
    "training.checkpoint_every": 1,
    "generation.length": 2,
    "cell.hidden_size": 2,
}
NUMBERS = {
    "device.kind": "cpu",
    "device.path": "eager",
    "training.steps": 2,
    "training.checkpoint_every": 1,
    "sequence.split": [1.0, 0.0, 0.0],
    "cell.hidden_size": 2,
    "generation.length": 2,
    "generation.prompt": [1.0, 2.0],
}
SOME = 3
"""Calls of each job at which faults are tried by default, of as many kinds as there are."""
KINDS = ("error", *(fault for fault in FAULTS if fault not in ERRORS))
"""What may happen at every call: of the errors of one call, which differ by their words, one each,
and of a call that writes nothing no part.
"""
PLACES = Path("/dev/shm")
"""A disk in memory, if there is one: the syncs that are not to be tried here are quick."""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for plugins once."""
    installed = discover()
    monkeypatch.setattr(resolving, "discover", lambda files: installed)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Give a folder for many small disks."""
    home = PLACES if PLACES.is_dir() else tmp_path
    with tempfile.TemporaryDirectory(dir=home) as folder:
        yield Path(folder)


class Watcher(Stopper):
    """Notes which checkpoint was the last whenever training went on."""

    def __init__(self, path: Path, stops: tuple[int, ...] = ()) -> None:
        super().__init__(stops)
        self.path = path
        self.last: int | None = None

    def stepped(self, progress: Progress) -> None:
        """Look at the index."""
        self.last = Checkpoints(self.path / "checkpoints").index().get("last")
        super().stepped(progress)


class Job:
    """Something that writes below `root`, and how it is brought to its end after a fault."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: int | None = None

    def prepare(self) -> None:
        """Make what is there before."""

    def do(self) -> None:
        """Write."""
        raise NotImplementedError

    def finish(self) -> None:
        """Come to the end, with whatever a fault has left."""
        self.do()

    def left(self) -> Any:
        """Return what is left in the end."""
        raise NotImplementedError


class Training(Job):
    """A run, from nothing."""

    text, changes = PROSE, CHANGES
    stops: tuple[int, ...] = ()

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self.root / "runs" / "task" / "1"

    def task(self) -> Path:
        """Write the task beside the disk."""
        return write(self.root.parent, self.text)

    def do(self) -> None:
        """Train."""
        watcher = Watcher(self.path)
        try:
            recurra.run(self.task(), self.changes, runs=self.root / "runs", observer=watcher)
        finally:
            self.known = watcher.last

    def finish(self) -> None:
        """Resume, or train anew where there is no checkpoint."""
        if self.steps():
            recurra.resume(self.path)
        else:
            shutil.rmtree(self.root / "runs", ignore_errors=True)
            self.do()

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints that there are, each whole."""
        held = Checkpoints(self.path / "checkpoints")
        if not (self.path / "task.toml").exists():
            return []
        steps = held.steps()
        assert all(held.load(step).step == step for step in steps)
        return steps

    def left(self) -> Any:
        """Return all that a run has left but its timings."""
        return {name: held for name, held in left(recurra.load(self.path)).items()}


class Resuming(Training):
    """A run that was stopped, and goes on."""

    def prepare(self) -> None:
        """Train to the second step."""
        with suppress(Interrupted):
            recurra.run(
                self.task(),
                self.changes,
                runs=self.root / "runs",
                observer=Watcher(self.path, (2,)),
            )

    def do(self) -> None:
        """Resume."""
        watcher = Watcher(self.path)
        try:
            recurra.resume(self.path, observer=watcher)
        finally:
            self.known = watcher.last or 2


class Calibrating(Training):
    """A run with intervals, whose calibration is a run inside it."""

    text = SERIES
    changes = {**NUMBERS, "target": {"kind": "next", "conformal": "split"}}

    def left(self) -> Any:
        """Return what the run has left, and its calibration."""
        inner = sorted(path.name for path in (self.path / "calibration").iterdir())
        return super().left(), inner, (self.path / "calibration.json").read_bytes()


class Backtesting(Job):
    """A backtest whose folds train."""

    def do(self) -> None:
        """Begin one, or go on with it."""
        begun = self.root / "backtests" / "task" / "1"
        if (begun / "backtest.json").exists():
            recurra.backtest(begun, backtests=self.root / "backtests")
            return
        shutil.rmtree(self.root / "backtests", ignore_errors=True)
        recurra.backtest(
            write(self.root.parent, SERIES), NUMBERS, folds=2, retrain=True,
            backtests=self.root / "backtests",
        )  # fmt: skip

    def left(self) -> Any:
        """Return the frame and the figures."""
        folder = self.root / "backtests" / "task" / "1"
        result = json.loads((folder / "result.json").read_text())
        figures = {name: result[name] for name in ("metrics", "by_fold", "by_step")}
        for fold in figures["by_fold"]:
            fold.pop("run")
        return (folder / "forecasts.csv").read_bytes(), json.dumps(figures)


class Writing(Job):
    """Answers, and the state of a session, in the place of what was there."""

    def prepare(self) -> None:
        """Train beside the disk, and write what is to be replaced."""
        runs = self.root.parents[1] / "whole"
        if not runs.exists():
            recurra.run(write(self.root.parent, PROSE), CHANGES, runs=runs)
        self.run = recurra.load(runs / "task")
        (self.root / "answers.csv").write_text("before")
        session = self.run.session()
        session.feed("the")
        session.save(self.root / "state")
        self.before = self._state()

    def _state(self) -> Any:
        with safe_open(self.root / "state", "pt") as file:
            return file.metadata()["sha256"]

    def do(self) -> None:
        """Write both."""
        from recurra.runs.written import write as write_table

        rows = [{"text": "a" * size} for size in range(3)]
        write_table(self.root / "answers.csv", rows, {"text": "text"}, "answers are")
        session = self.run.session()
        session.feed("the cat")
        session.save(self.root / "state")

    def left(self) -> Any:
        """Return what the files hold."""
        return [(self.root / "answers.csv").read_bytes(), self._state()]

    def whole(self, end: list[Any]) -> None:
        """Check that each file is as before or as in the end."""
        old = [b"before", self.before]
        for now, *may in zip(self.left(), old, end, strict=True):
            assert now in may


class Given(Source[Options]):
    """Gives a text."""

    def read(self, element: str) -> Iterator[Piece]:
        """Give it."""
        yield Piece("abcabdabe" * 20, True)

    def fingerprint(self) -> str:
        """Return what tells it from others."""
        return "a text"


class Encoding(Job):
    """A corpus that is put into the cache."""

    def do(self) -> None:
        """Encode it, or take what is there."""
        with mock.patch.dict(os.environ, RECURRA_CACHE=str(self.root / "cache")):
            vocabulary = Character(CharacterOptions())
            store = build(Given(Options()), vocabulary, 8, "a text")
            self.have = store.values.tolist(), store.starts.tolist(), vocabulary.save()

    def left(self) -> Any:
        """Return what the corpus holds, and that it is kept."""
        # What a process that was killed was about to write is for `recurra cache` to remove.
        kept = (self.root / "cache").glob("*/about.json")
        (entry,) = [each for each in kept if not each.parent.name.startswith("part-")]
        return self.have, entry.read_bytes(), (entry.parent / "values.bin").read_bytes()


JOBS = {
    job.__name__: job for job in (Training, Resuming, Calibrating, Backtesting, Writing, Encoding)
}


@dataclass(frozen=True)
class Calm:
    """A job without a fault: the calls that it made, and what it left."""

    calls: list[tuple[str, str]]
    end: Any


class Trial:
    """One job, tried with faults."""

    def __init__(self, kind: type[Job], place: Path) -> None:
        self.kind, self.place, self.number = kind, place, 0
        job = self.job()
        with Disk(job.root)() as disk:
            job.do()
        self.calm = Calm(disk.calls, job.left())

    def job(self) -> Any:
        """Return the job on an empty disk."""
        self.number += 1
        root = self.place / str(self.number) / "disk"
        root.mkdir(parents=True)
        job = self.kind(root)
        job.prepare()
        return job

    def fault(self, at: int, fault: str) -> None:
        """Let a fault happen at a call, look at what is left, and come to the end."""
        job = self.job()
        error: BaseException | None = None
        with Disk(job.root, at, fault)() as disk:
            try:
                job.do()
            except (Lost, RecurraError, KeyboardInterrupt) as caught:
                error = caught
        assert disk.hit, f"{at} calls are not made every time"
        call, name = disk.calls[at - 1]
        where = f"{fault} at call {at}, {call} {name}: {error}"
        disk.settle()
        self.look(job, error, fault, call, where)
        job.finish()
        assert job.left() == self.calm.end, where
        shutil.rmtree(job.root.parent)

    def look(self, job: Any, error: Any, fault: str, call: str, where: str) -> None:
        """Look at what a fault has left."""
        assert (fault in ENDS) == isinstance(error, Lost), where
        stopped = isinstance(error, KeyboardInterrupt | Interrupted)
        assert (fault == "interrupt") == stopped, where
        if stopped:
            assert call in REMOVALS or not _parts(job.root), where
        elif isinstance(error, RecurraError):
            codes = {problem.code for problem in error.problems}
            # A folder that cannot be made.
            early = codes == {"RC050"}
            assert early or (codes == {"RC053"} and isinstance(error, RunError)), where
            assert error.exit_code == 2 if early else 1
            assert call in REMOVALS or fault == "read-only" or not _parts(job.root), where
        if isinstance(job, Training):
            steps = job.steps()
            assert job.known is None or steps[0] >= job.known, where
            if isinstance(error, RunError) and job.known is not None:
                assert re.search(rf"step ({job.known}|{steps[0]})\b", str(error)), where
                assert f"recurra resume {job.path}" in str(error), where
        if isinstance(job, Writing):
            job.whole(self.calm.end)


def _parts(root: Path) -> list[Path]:
    """Return what was begun and not brought to its end."""
    return [path for path in root.rglob("*") if ".part" in path.name or "part-" in path.name]


def sample(calls: list[tuple[str, str]], count: int) -> list[int]:
    """Return the numbers of some calls, of as many kinds as there are."""
    kinds: dict[tuple[str, str], int] = {}
    for number, (call, name) in enumerate(calls, 1):
        kinds[call, re.sub(r"\d+|[0-9a-f]{8}", "N", name)] = number
    numbers = sorted(kinds.values())
    return numbers[:: max(1, len(numbers) // count)]


@pytest.mark.parametrize("name", JOBS)
def test_a_fault_at_some_calls_loses_nothing(name: str, place: Path) -> None:
    """Whatever happens at a call, the last whole checkpoint is there and named, nothing
    half-written stays after an error, and the end is that of a run without a fault.
    """
    trial = Trial(JOBS[name], place)
    for place_of, number in enumerate(sample(trial.calm.calls, SOME)):
        trial.fault(number, FAULTS[place_of % len(FAULTS)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", JOBS)
def test_a_fault_at_every_call_loses_nothing(name: str, kind: str, place: Path) -> None:
    """The same at every call of each job."""
    trial = Trial(JOBS[name], place)
    for number, (call, _) in enumerate(trial.calm.calls, 1):
        if kind == "part" and call != "write":
            continue
        trial.fault(number, ERRORS[number % len(ERRORS)] if kind == "error" else kind)
