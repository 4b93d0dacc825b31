"""No write goes around the layer in which faults are injected."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import SERIES
from disks import Disk, File, Folder
from test_faults import CHANGES, NUMBERS
from together import together
from trials import PROSE, Stopper, write

import recurra
from recurra import resolve as resolving
from recurra.catalog import discover
from recurra.errors import Interrupted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it names open files by /proc")

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CALLS = {
    "os.rename": "rename", "os.remove": "unlink", "os.mkdir": "mkdir", "os.rmdir": "rmdir",
    "os.truncate": "truncate",
}  # fmt: skip
"""Names that Python tells of calls which change a disk, and what they are called here."""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for plugins once."""
    installed = discover()
    monkeypatch.setattr(resolving, "discover", lambda files: installed)


def _begun(root: Path) -> None:
    with pytest.raises(Interrupted):
        recurra.run(write(root.parent, PROSE), CHANGES, runs=root / "runs", observer=Stopper([2]))


def _run(root: Path) -> None:
    recurra.run(write(root.parent, PROSE), CHANGES, runs=root / "runs")


def _resume(root: Path) -> None:
    recurra.resume(root / "runs" / "task")


def _calibrate(root: Path) -> None:
    conformal = {**NUMBERS, "target": {"kind": "next", "conformal": "split"}}
    recurra.run(write(root.parent, SERIES), conformal, runs=root / "runs")


def _backtest(root: Path) -> None:
    changes = {**NUMBERS, "training.steps": 1}
    recurra.backtest(
        write(root.parent, SERIES), changes, folds=2, retrain=True, backtests=root / "backtests"
    )


def _answer(root: Path) -> None:
    """Write a bundle, a session, and answers as a command does."""
    from recurra.runs.written import write as write_table

    run = recurra.load(root / "runs" / "task")
    recurra.bundle(run, root / "a.zip", with_data=True)
    run.session().feed("the ").save(root / "state")
    for name in ("answers.csv", "answers.jsonl"):
        write_table(root / name, [{"text": "a"}], {"text": "text"}, "answers are")


WORKS = {
    # It comes first: what torch imports when it trains is there before others fork.
    "resume": (_begun, _resume),
    "run": (None, _run),
    "calibration": (None, _calibrate),
    "backtest": (None, _backtest),
    "bundle, session and answers": (_run, _answer),
}
"""What writes, and what is to be there before."""


def _told(root: Path, work: Any) -> tuple[Any, Any, Any, Any]:
    """Return what Python told of writes below a root, what went through the layer, and the tree."""
    told: list[tuple[str, str]] = []
    on = False

    def hear(event: str, arguments: Any) -> None:
        if not on or (event not in CALLS and event != "open"):
            return
        path, call = arguments[0], CALLS.get(event, event)
        if event == "open":
            mode, flags = arguments[1] or "", arguments[2] or 0
            if not flags & WRITES:
                return
            # What is there is opened so to be synced.
            call = "reopen" if "r+" in mode else call
        if event == "os.rename":
            path = arguments[1]
        folder = arguments[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else -1
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif isinstance(folder, int) and folder >= 0:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))
        place = Path(os.path.abspath(os.fsdecode(path)))
        if root in place.parents:
            told.append((call, str(place.relative_to(root))))

    # It cannot be taken away: this process is forked for it.
    sys.addaudithook(hear)
    with Disk(root)() as disk:
        on = True
        work(root)
        on = False
    return (
        told,
        disk.calls,
        _names(disk.tree),
        sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()),
    )


def _names(node: Any, before: str = "") -> list[str]:
    if isinstance(node, File):
        return [before]
    assert isinstance(node, Folder)
    names = (
        _names(inner, f"{before}/{name}" if before else name) for name, inner in node.names.items()
    )
    return sorted(sum(names, []))


@pytest.mark.parametrize("name", WORKS)
def test_every_write_goes_through_the_layer(name: str, tmp_path: Path) -> None:
    """What Python tells of opening to write, renaming, removing, making and cutting is what the
    layer counts; and each file in the end is one that it knows, whoever has written it.
    """
    before, work = WORKS[name]
    root = tmp_path / "disk"
    root.mkdir()
    if before is not None:
        before(root)
    (answer,) = together(1, lambda _: _told(root, work))
    assert not isinstance(answer, BaseException), answer.__notes__
    told, calls, known, there = answer
    counted = Counter(call for call in calls if call[0] not in ("write", "fsync"))
    # A removal of what is not there, and a folder that is there, are told and change nothing.
    around = Counter(told) - counted
    odd = [call for call in around if call[0] not in ("unlink", "mkdir", "reopen")]
    assert told and not odd, odd
    assert {place for call, place in around if call == "reopen"} <= {
        place for call, place in calls if call == "fsync"
    }
    assert {place for call, place in told if call == "mkdir"} <= {
        place for call, place in calls if call == "mkdir"
    } | {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}
    assert known == there


def test_a_write_around_the_layer_is_found(tmp_path: Path) -> None:
    """The measure itself: a file that is written past the layer is told and not counted."""
    root = tmp_path / "disk"
    root.mkdir()
    real = os.open

    def work(root: Path) -> None:
        os.close(real(root / "around", os.O_WRONLY | os.O_CREAT))

    (answer,) = together(1, lambda _: _told(root, work))
    told, calls, known, there = answer
    assert told == [("open", "around")] and not calls and known != there
