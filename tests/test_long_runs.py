"""However long something goes on, it takes no more memory, files and threads than at its beginning,
and what it leaves stays small; and no jump of the clock is felt.
"""

from __future__ import annotations

import gc
import json
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import HELLO
from trials import write

import recurra
from recurra.job.run import Run
from recurra.job.train import Silent
from recurra.train.events import Progress

SPARE = 32_000
"""Bytes that the second half of a long run may take more than it gives back, whatever its length.

One object that is kept of each turn, a line of a log or a state, would be far more.
"""


class Held:
    """What a process holds: bytes, open files and threads."""

    def __init__(self) -> None:
        gc.collect()
        self.bytes, _ = tracemalloc.get_traced_memory()
        self.files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        self.threads = threading.active_count()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    home = tmp_path_factory.mktemp("hello")
    return recurra.run(write(home, HELLO), runs=home / "runs")


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    """Count bytes from here on."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


OF_A_TURN = {"loaded": 5000, "saved": 2000}
"""Bytes that a turn may keep beside: safetensors (0.8) loses some for each tensor of a file that it
reads, as a loop of `load_file` alone does.
"""


def steady(turns: Iterator[Any], count: int, of_a_turn: int = 0) -> None:
    """Hold a series of turns at its end to what it held in the middle."""
    marks = []
    for number, _ in enumerate(turns):
        if number in (count // 2, count - 1):
            marks.append(Held())
    first, last = marks
    grown = last.bytes - first.bytes
    assert grown < SPARE + of_a_turn * count / 2, grown
    assert (last.files, last.threads) == (first.files, first.threads)


def generated(run: Run, count: int) -> Iterator[Any]:
    return run.generate("h", count, temperature=1.0)


def fed(run: Run, count: int) -> Iterator[Any]:
    session = run.session()
    for _ in range(count):
        yield session.feed("h").position


def sessions(run: Run, count: int) -> Iterator[Any]:
    for _ in range(count):
        yield run.session().feed("hel").position


def predicted(run: Run, count: int) -> Iterator[Any]:
    return run.predict("hell" for _ in range(count))


def evaluated(run: Run, count: int) -> Iterator[Any]:
    for _ in range(count):
        yield run.evaluate("train")


def loaded(run: Run, count: int) -> Iterator[Any]:
    for _ in range(count):
        yield recurra.load(run.path)


def saved(run: Run, count: int) -> Iterator[Any]:
    state = run.path.parent / "state"
    for _ in range(count):
        run.session().feed("he").save(state)
        yield run.session().restore(state).position


WORKS: dict[Callable[[Run, int], Iterator[Any]], tuple[int, int]] = {
    generated: (400, 100_000),
    fed: (400, 100_000),
    sessions: (60, 10_000),
    predicted: (100, 100_000),
    evaluated: (12, 2000),
    loaded: (8, 1000),
    saved: (20, 2000),
}
"""How often by default, and at length."""


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_what_goes_on_holds_no_more(run: Run, work: Any) -> None:
    """The second half of many turns holds what the first has held."""
    count, _ = WORKS[work]
    steady(work(run, count), count, OF_A_TURN.get(work.__name__, 0))


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_what_goes_on_for_long_holds_no_more(run: Run, work: Any) -> None:
    """The same, a hundred times as long."""
    _, count = WORKS[work]
    steady(work(run, count), count, OF_A_TURN.get(work.__name__, 0))


class Marking(Silent):
    """Looks at what the process holds in the middle and at the end, and at the time by the step."""

    def __init__(self, steps: int) -> None:
        self.steps, self.marks, self.times = steps, [], []

    def stepped(self, progress: Progress) -> None:
        """Take note."""
        if progress.step in (self.steps // 2, self.steps):
            self.marks.append(Held())
        if progress.step % max(1, self.steps // 10) == 0:
            self.times.append((progress.seconds, progress.seconds_left))


@pytest.mark.parametrize("steps", [200, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_long_training_holds_no_more_and_leaves_little(steps: int, tmp_path: Path) -> None:
    """Memory, files and threads stay; about a hundred records are left, however many steps."""
    marking = Marking(steps)
    done = recurra.run(
        write(tmp_path, HELLO), {"training.steps": steps}, runs=tmp_path / "runs", observer=marking
    )
    first, last = marking.marks
    assert last.bytes - first.bytes < SPARE
    assert (last.files, last.threads) == (first.files, first.threads)
    assert 100 <= len(done.metrics()) <= 102
    size = sum(path.stat().st_size for path in done.path.rglob("*") if path.is_file())
    assert size < 100_000


JUMPS = {"forward": 86400.0, "back": -86400.0}


@pytest.mark.parametrize("jump", ["back", pytest.param("forward", marks=pytest.mark.slow)])
def test_a_clock_that_jumps_does_no_harm(
    jump: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day to and fro at every other look: the same run, and no time that is below nothing."""
    wanted = recurra.run(write(tmp_path, HELLO), {"training.steps": 20}, runs=tmp_path / "wanted")
    real, looks = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: real() + JUMPS[jump] * (next(looks) % 2))
    marking = Marking(20)
    done = recurra.run(
        write(tmp_path, HELLO), {"training.steps": 20}, runs=tmp_path / "runs", observer=marking
    )
    assert 0 < done.result["seconds"] < 3600 and done.result["tokens_per_second"] > 0
    assert all(0 <= spent < 3600 and 0 <= left < 3600 for spent, left in marking.times)
    untimed = {"seconds", "tokens_per_second", "run"}
    assert {key: value for key, value in done.result.items() if key not in untimed} == {
        key: value for key, value in wanted.result.items() if key not in untimed
    }
    assert json.dumps(done.metrics()) == json.dumps(wanted.metrics())
    # A folder that was written tomorrow is the same folder.
    for path in done.path.rglob("*"):
        os.utime(path, times=(real() + JUMPS[jump],) * 2)
    assert (
        recurra.load(done.path).evaluate("train")["metrics"] == wanted.evaluate("train")["metrics"]
    )
