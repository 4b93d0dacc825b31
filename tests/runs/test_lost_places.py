"""A folder that goes away under a run, or a disk that is full: an error that says what is true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trials import PROSE, left, write

import recurra
from recurra.errors import Altered, InputError, RunError
from recurra.job.train import Silent
from recurra.train.events import Progress

CHANGES = {
    "device.path": "eager",
    "training.steps": 4,
    "training.validate_every": 2,
    "training.checkpoint_every": 1,
    "generation.length": 2,
    "cell.hidden_size": 2,
}


def _removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _renamed(path: Path) -> None:
    path.rename(path.with_name("away"))


def _replaced(path: Path) -> None:
    """Put a file in the place of a folder, and a folder in that of a file."""
    folder = path.is_dir()
    _removed(path)
    path.touch() if folder else path.mkdir()


class Losing(Silent):
    """Does something to a path after a step."""

    def __init__(self, path: Path, loss: Callable[[Path], None], step: int) -> None:
        self.path, self.loss, self.step = path, loss, step

    def stepped(self, progress: Progress) -> None:
        """Do it."""
        if progress.step == self.step:
            self.loss(self.path)


@pytest.mark.parametrize("step", [3, 4])
@pytest.mark.parametrize("loss", [_removed, _renamed, _replaced])
@pytest.mark.parametrize("name", [
    "", "checkpoints", "checkpoints/index.json",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("..", "metrics.jsonl")),
])  # fmt: skip
def test_what_goes_away_under_a_run_is_told_or_not_missed(
    name: str, loss: Callable[[Path], None], step: int, tmp_path: Path
) -> None:
    """A run comes to an end that can be opened, or says what is wrong and names no checkpoint that
    is not there; it never makes half a run where its folder was.
    """
    path = tmp_path / "runs" / "task" / "1"
    place = Path(os.path.normpath(path / name))
    observer = Losing(place, loss, step)
    altered: list[warnings.WarningMessage] = []
    try:
        run = recurra.run(
            write(tmp_path, PROSE), CHANGES, runs=tmp_path / "runs", observer=observer
        )
    except RunError as error:
        told = str(error)
        assert {problem.code for problem in error.problems} <= {"RC052", "RC053"}
        assert error.exit_code == 1 and str(path) in told
        named = re.search(r"`recurra resume [^` ]+(?: --checkpoint (\d+))?`", told)
        if named is None:
            assert "whole" not in told and not (path / "checkpoints" / "index.json").is_file()
            return
        # What stands in the place of a file is to be cleared away, as an error says.
        if loss is _replaced and place.is_dir():
            place.rmdir()
        with warnings.catch_warnings(record=True) as told_first:
            warnings.simplefilter("always")
            run = recurra.resume(path, checkpoint=int(named[1]) if named[1] else None)
        altered += told_first
    assert recurra.load(run.path).evaluate()["metrics"]
    with warnings.catch_warnings(record=True) as told_then:
        warnings.simplefilter("always")
        assert recurra.resume(run.path).result["steps"] == 4
    altered += told_then
    expected = [Altered] if name == "metrics.jsonl" else []
    assert [each.category for each in altered] == expected, "told once, by whoever finds it"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 1 MB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not sys.platform.startswith("linux"):
        pytest.skip("disks in memory are mounted on Linux")
    line = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(line, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=True)


def _fill(disk: Path, free: int) -> None:
    """Leave so many pages free."""
    state = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(state.f_bsize * (state.f_bavail - free)))


@pytest.mark.parametrize("free", [12, 29, *(
    pytest.param(free, marks=pytest.mark.slow) for free in range(3, 60) if free not in (12, 29)
)])  # fmt: skip
def test_a_run_on_a_real_disk_that_fills_up(free: int, small: Path, tmp_path: Path) -> None:
    """It ends with an error, leaves nothing half-written, and comes to the same end on the same
    disk once there is space.
    """
    wanted = left(recurra.run(write(tmp_path, PROSE), CHANGES, runs=tmp_path / "whole"))
    _fill(small, free)
    path = small / "runs" / "task" / "1"
    try:
        run = recurra.run(tmp_path / "task.toml", CHANGES, runs=small / "runs")
    except (RunError, InputError) as error:
        told = str(error)
        assert {problem.code for problem in error.problems} <= {"RC050", "RC053"}
        assert "No space left" in told and "free some space" in told
        assert not [each for each in small.rglob("*") if ".part" in each.name]
        (small / "filler").unlink()
        if f"recurra resume {path}" in told:
            run = recurra.resume(path)
        else:
            shutil.rmtree(small / "runs", ignore_errors=True)
            run = recurra.run(tmp_path / "task.toml", CHANGES, runs=small / "runs")
    assert left(run) == wanted
