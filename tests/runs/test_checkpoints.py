"""A checkpoint is whole or it is not there, and whoever tampers with it is found out."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import PROSE, TRIALS, trained, write

import recurra
from recurra.errors import InputError, RunError
from recurra.runs import checkpoints as module
from recurra.runs.checkpoints import Checkpoint, Checkpoints


def _checkpoint(step: int, size: int = 4) -> Checkpoint:
    return Checkpoint(
        step, {"weights": {"a": torch.full((size,), float(step))}}, {"progress": {"step": step}}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Checkpoints:
    """Three checkpoints were written: the second was the best, the third is the last."""
    (tmp_path / "checkpoints").mkdir()
    held = Checkpoints(tmp_path / "checkpoints")
    for step in (10, 20, 30):
        held.save(_checkpoint(step), best=step == 20)
    return held


def test_the_last_and_the_best_are_kept_and_no_other(folder: Checkpoints) -> None:
    """Of all checkpoints the last and the best stay, and each opens as it was written."""
    assert sorted(p.name for p in folder.path.iterdir()) == ["index.json", "step-20", "step-30"]
    assert folder.index() == {"last": 30, "best": 20}
    for which, step in (("last", 30), ("best", 20)):
        read, wrote = folder.load(which), _checkpoint(step)
        assert read.step == step and read.state == wrote.state
        assert torch.equal(read.tensors["weights"]["a"], wrote.tensors["weights"]["a"])


def test_without_a_best_one_the_last_stands_for_it(tmp_path: Path) -> None:
    """A run without validation has a last checkpoint alone, and that is what is opened."""
    held = Checkpoints(tmp_path)
    held.save(_checkpoint(7), best=False)
    assert held.load("best").step == 7


def test_a_checkpoint_that_becomes_the_best_later_is_noted(folder: Checkpoints) -> None:
    """Saved twice at the same step, the second time as the best, it is both."""
    folder.save(_checkpoint(30), best=True)
    assert folder.index() == {"last": 30, "best": 30}
    assert sorted(p.name for p in folder.path.iterdir()) == ["index.json", "step-30"]


def _flips(folder: Checkpoints) -> list[tuple[Path, int]]:
    paths = [p for p in sorted(folder.path.rglob("*")) if p.is_file()]
    return [(path, at) for path in paths for at in range(path.stat().st_size)]


def test_every_flipped_byte_is_detected(folder: Checkpoints) -> None:
    """Whichever byte of whichever file is changed, opening fails with RC052 or gives what was
    written.
    """
    whole = {which: folder.load(which) for which in ("last", "best")}
    silent = 0
    for path, at in _flips(folder):
        raw = path.read_bytes()
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :])
        for which, wanted in whole.items():
            if path.parent.name not in (f"step-{wanted.step}", folder.path.name):
                continue
            try:
                found = folder.load(which)
            except RunError as error:
                assert error.problems[0].code == "RC052" and error.exit_code == 1
            else:
                silent += path.parent.name == f"step-{wanted.step}"
                assert found.step == wanted.step and found.state == wanted.state
                assert torch.equal(found.tensors["weights"]["a"], wanted.tensors["weights"]["a"])
        path.write_bytes(raw)
    assert silent == 0, "within a checkpoint not even a space may change"


@given(cut=st.data())
@settings(max_examples=40, deadline=None)
def test_a_missing_or_shortened_file_is_detected(
    cut: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file that is gone, or of which the end is gone, is told (RC052) with the folder's name."""
    held = Checkpoints(tmp_path_factory.mktemp("held"))
    held.save(_checkpoint(5), best=True)
    path = cut.draw(st.sampled_from([p for p in sorted(held.path.rglob("*")) if p.is_file()]))
    size = cut.draw(st.integers(-1, path.stat().st_size - 1))
    if size < 0:
        path.unlink()
    else:
        # the index may lose the line break at its end, which says nothing
        path.write_bytes(
            path.read_bytes()[: max(0, size - 1) if path.name == "index.json" else size]
        )
    with pytest.raises(RunError) as caught:
        held.load()
    assert caught.value.problems[0].code == "RC052" and str(held.path) in str(caught.value)


def test_a_checkpoint_exchanged_for_another_is_detected(folder: Checkpoints) -> None:
    """A checkpoint that is whole in itself, but of another step, is not taken for this one."""
    shutil.rmtree(folder.path / "step-30")
    shutil.copytree(folder.path / "step-20", folder.path / "step-30")
    with pytest.raises(RunError, match="RC052"):
        folder.load()


def test_no_checkpoint_is_an_error_of_its_own(tmp_path: Path) -> None:
    """A run that stopped before its first checkpoint is told from one whose checkpoint is
    damaged.
    """
    with pytest.raises(InputError, match="RC051") as caught:
        Checkpoints(tmp_path).load()
    assert "run the task again" in str(caught.value)


def _full(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "place", ["save_file", "Path.write_text", "os.fsync", "Path.rename", "files.write_json"]
)
def test_a_write_that_fails_leaves_what_was_whole(
    place: str, folder: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the disk fills up, it is RC053, both checkpoints of before open, and nothing
    half-written stays.
    """
    calls = 0

    def later(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        return _full()

    with monkeypatch.context() as patch:
        target = {"Path": Path, "os": os, "files": module.files}.get(place.split(".")[0], module)
        patch.setattr(target, place.split(".")[-1], later)
        with pytest.raises((RunError, OSError)) as caught:
            folder.save(_checkpoint(40), best=False)
    assert calls, f"{place} is not what saving calls"
    if place != "files.write_json":  # which turns the error itself, and was replaced here
        assert caught.value.problems[0].code == "RC053" and caught.value.exit_code == 1
        assert "No space left" in str(caught.value)
        assert "the checkpoint at step 30 is whole" in str(
            caught.value
        ) and "recurra resume" in str(caught.value)
    assert folder.load("last").step == 30 and folder.load("best").step == 20
    assert not list(folder.path.glob(".*"))
    folder.save(_checkpoint(40), best=False)
    assert folder.load("last").step == 40
    assert sorted(p.name for p in folder.path.iterdir()) == ["index.json", "step-20", "step-40"]


def test_an_index_that_cannot_be_written_points_where_it_did(
    folder: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is replaced whole or not at all."""
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _full)
        with pytest.raises(RunError, match="RC053") as caught:
            folder.save(_checkpoint(40), best=True)
    assert "the checkpoint at step 30 is whole" in str(caught.value)
    assert folder.index() == {"last": 30, "best": 20} and folder.load("last").step == 30
    assert not list(folder.path.glob(".*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """Mount a real disk of 256 kB, where this process may."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_really_full_leaves_what_was_whole(small_disk: Path) -> None:
    """On a disk of 256 kB, a checkpoint that does not fit beside the one before is refused, and
    that one opens.
    """
    held = Checkpoints(small_disk)
    held.save(_checkpoint(1, size=30_000), best=False)
    with pytest.raises(RunError, match="RC053") as caught:
        held.save(_checkpoint(2, size=40_000), best=False)
    assert "the checkpoint at step 1 is whole" in str(caught.value)
    assert held.load().step == 1 and not list(small_disk.glob(".*"))


def test_a_run_on_a_full_disk_ends_with_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose disk fills up exits 1 (RC053), and goes on to the same end once there is
    space.
    """
    text, changes = PROSE, {"training.checkpoint_every": 3}
    saved = module.save_file
    calls = []

    def fill(tensors: Any, path: Any) -> None:
        calls.append(path)
        if "step-9" in str(path):
            _full()
        saved(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", fill)
        with pytest.raises(RunError, match="RC053") as caught:
            recurra.run(write(tmp_path, text), changes, runs=tmp_path / "runs")
    assert caught.value.exit_code == 1
    path = tmp_path / "runs" / "task" / "1"
    assert Checkpoints(path / "checkpoints").load("last").step == 6
    whole = trained(tmp_path / "whole", "windows", **changes)
    healed = recurra.resume(path)
    one, other = (run.folder.checkpoints.load("last").tensors["weights"] for run in (whole, healed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.txt"])
def test_records_that_cannot_be_written_end_the_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that cannot be written is RC053, and the message says that the checkpoints are
    whole.
    """
    real = Path.open

    def refuse(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if self.name == name and mode == "a":
            _full()
        return real(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunError, match="RC053") as caught:
        recurra.run(write(tmp_path, PROSE), runs=tmp_path / "runs")
    assert "are whole" in str(caught.value) and name in str(caught.value)


REMEDIES = {
    errno.ENOSPC: "free some space", errno.EDQUOT: "free some space",
    errno.EFBIG: "free some space",
    errno.EACCES: "make it possible", errno.EROFS: "make it possible", errno.EIO: "see to the disk",
    errno.ENOTDIR: "clear away", errno.EMFILE: "raise the limit of open files",
}  # fmt: skip


@pytest.mark.parametrize("number", REMEDIES, ids=errno.errorcode.get)
def test_the_cure_is_for_what_went_wrong(
    number: int, folder: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No space is freed where nothing may be written; whatever it is, the last whole checkpoint is
    named.
    """

    def refuse(*given: Any, **more: Any) -> Any:
        raise OSError(number, os.strerror(number))

    for name in ("recurra.system.replace", "pathlib.Path.glob"):
        with monkeypatch.context() as patch, pytest.raises(RunError, match="RC053") as caught:
            patch.setattr(name, refuse)
            folder.save(_checkpoint(40), best=False)
        (problem,) = caught.value.problems
        assert problem.cure.startswith(REMEDIES[number]) and "step 30 is whole" in problem.cure


@pytest.mark.parametrize("name", TRIALS)
def test_nothing_of_a_run_is_pickled(name: str, tmp_path: Path) -> None:
    """Every file of a run is safetensors, JSON, TOML or text, by its name and by its content."""
    run = trained(tmp_path, name)
    files = [p for p in run.path.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} - {".txt"} == {".safetensors", ".json", ".jsonl", ".toml"}
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix != ".safetensors":
            path.read_text(encoding="utf-8")
    steps = {p.name for p in (run.path / "checkpoints").glob("*step-*")}
    held = run.folder.checkpoints
    assert (
        steps == {f"step-{step}" for step in held.steps()}
        and held.steps()[0] == run.result["steps"]
    )
    assert {*held.index().values()} <= {*held.steps()}
