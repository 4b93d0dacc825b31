"""A file of a run that was damaged in any way is told by its hash, and stops only who needs it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from trials import PROSE, Stopper, left, write

import recurra
from recurra.errors import Interrupted, RecurraError, RunError
from recurra.job.train import Silent
from recurra.runs.records import HASHES, SEALED

CHANGES = {
    "device.path": "eager",
    "training.steps": 4,
    "training.validate_every": 1,
    "training.checkpoint_every": 1,
    "training.min_delta": 100.0,
    "generation.length": 2,
    "cell.hidden_size": 3,
}
"""The best checkpoint is that of step 1; those of steps 2 and 3 are kept before a stop at 3."""
TENSORS = ("optimizer.safetensors", "random.safetensors", "weights.safetensors")
FILES = [
    *SEALED,
    HASHES,
    "metrics.jsonl",
    "samples.txt",
    "checkpoints/index.json",
    *(
        f"checkpoints/step-{step}/{name}"
        for step in (1, 2, 3)
        for name in ("manifest.json", "state.json", *TENSORS)
    ),
]


def _cut(share: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _unreadable(path: Path) -> None:
    """Root reads all that there is: not so a link to itself."""
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.unlink()
        path.symlink_to(path.name)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": _cut(0),
    "half": _cut(0.5),
    "without its last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a bit flipped": _flip,
    "a folder": _folder,
    "unreadable": _unreadable,
    "gone": Path.unlink,
}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Give a run that was stopped after step 3."""

    def make() -> Path:
        home = tmp_path_factory.mktemp("stopped")
        with suppress(Interrupted):
            recurra.run(write(home, PROSE), CHANGES, runs=home / "runs", observer=Stopper([3]))
        return home / "runs" / "task" / "1"

    return cache(make)


@pytest.fixture(scope="module")
def end(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the run comes to."""
    home = tmp_path_factory.mktemp("unbroken")
    return left(recurra.run(write(home, PROSE), CHANGES, runs=home / "runs"))


def _needed(name: str, step: int) -> bool:
    """Tell whether a file is needed to open a run at the checkpoint of a step."""
    if name.startswith("checkpoints/step-"):
        return name.startswith(f"checkpoints/step-{step}/")
    return name not in ("metrics.jsonl", "samples.txt")


def _says_nothing(name: str, damage: str) -> bool:
    """Tell whether what is gone is the line break at the end."""
    return damage == "without its last byte" and Path(name).name in (HASHES, "index.json")


def _content(folder: Path) -> dict[Path, Any]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in paths if os.access(path, os.R_OK)}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_who_needs_it(
    name: str, damage: str, once: Callable[[], Path], end: dict[str, Any], tmp_path: Path
) -> None:
    """To open a run needs the best checkpoint, to resume it the last; both name the file, what can
    be done, and of a checkpoint the one that is whole. A verb that refuses changes nothing.
    """
    folder = Path(shutil.copytree(once(), tmp_path / "task" / "1"))
    DAMAGES[damage](folder / name)
    before = _content(folder)
    for verb, step in ((recurra.load, 1), (recurra.resume, 3)):
        if not _needed(name, step) or _says_nothing(name, damage):
            if verb is recurra.load:
                assert verb(folder).evaluate()["metrics"]
            continue
        with pytest.raises(RecurraError) as caught:
            verb(folder)
        (problem,) = caught.value.problems
        gone = (name, damage) == ("task.toml", "gone")
        assert problem.code == "RC051" if gone else "RC052" and isinstance(caught.value, RunError)
        assert gone or (str(folder) in problem.fact and problem.cure)
        assert _content(folder) == before
        if name == "checkpoints/index.json":
            assert f"recurra resume {folder} --checkpoint 3" in problem.cure
            assert "of step 3 is whole, as are those of 2, 1" in problem.cure
        if name.startswith("checkpoints/step-"):
            other = 3 if step == 1 else 2
            assert f"recurra resume {folder} --checkpoint {other}" in problem.cure
            assert Path(name).name in problem.fact


class Hearing(Silent):
    """Takes what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def told(self, lines: Sequence[str]) -> None:
        """Take lines."""
        self.lines += lines


INDEX, BEST = "checkpoints/index.json", "checkpoints/step-1/weights.safetensors"


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("damage", ["a bit flipped", *(
    pytest.param(damage, marks=pytest.mark.slow) for damage in ("half", "gone")
)])  # fmt: skip
@pytest.mark.parametrize("name", [INDEX, BEST])
def test_what_an_error_names_gets_the_run_going_again(
    name: str,
    damage: str,
    finished: bool,
    once: Callable[[], Path],
    end: dict[str, Any],
    tmp_path: Path,
) -> None:
    """A lost index is told from the checkpoints, to the same end; a lost best is replaced by the
    best after it, with a word, and nobody has to find another way.
    """
    folder = Path(shutil.copytree(once(), tmp_path / "task" / "1"))
    if finished:
        recurra.resume(folder)
    DAMAGES[damage](folder / name)
    before = _content(folder)
    for verb in (recurra.resume, recurra.load):
        with pytest.raises(RunError) as caught:
            verb(folder)
        assert _content(folder) == before
    step = re.search(rf"`recurra resume {folder} --checkpoint (\d)`", str(caught.value))
    assert step is not None and step[1] == ("4" if finished else "3")

    hearing = Hearing()
    done = recurra.resume(folder, checkpoint=int(step[1]), observer=hearing)
    assert recurra.load(folder).evaluate()["metrics"]
    if name == INDEX:
        assert left(done) == end and not hearing.lines
    else:
        assert done.result["weights_of_step"] == 4
        assert [line for line in hearing.lines if "the best checkpoint, of step 1" in line]


@pytest.mark.parametrize("damage", [*DAMAGES][:4])
@pytest.mark.parametrize("name", TENSORS)
def test_the_one_before_comes_to_the_same_end(
    name: str, damage: str, once: Callable[[], Path], end: dict[str, Any], tmp_path: Path
) -> None:
    """Gone on with from the checkpoint that is offered, a run comes to the same bytes."""
    folder = Path(shutil.copytree(once(), tmp_path / "task" / "1"))
    DAMAGES[damage](folder / "checkpoints" / "step-3" / name)
    done = left(recurra.resume(folder, checkpoint=2))
    assert {k: v for k, v in done.items() if k != "task.toml"} == {
        k: v for k, v in end.items() if k != "task.toml"
    }
