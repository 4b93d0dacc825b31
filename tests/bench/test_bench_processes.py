"""What is measured in new processes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from machines import MACHINE

from recurra.bench import processes
from recurra.bench.child import resident
from recurra.bench.records import Setting, Shape, Skipped

TINY = Shape(2, 3, 4)
SETTING = Setting(MACHINE, pairs=1, text=1 << 16)


def test_memory_is_what_the_process_holds() -> None:
    """What is held shows at once; the peak is never under it, and stays when it is given back."""
    before, size = resident(), 64 << 20
    held = bytearray(b"x") * size
    assert 0.9 * size < resident() - before < 1.5 * size
    peak = resident(peak=True)
    del held
    # The system counts in batches of pages.
    assert resident(peak=True) > peak - 0.1 * size > before + 0.7 * size


@pytest.mark.slow
def test_the_text_is_trained_on_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small text is trained on in a new process, which tells gigabytes above torch's own; nothing
    is left.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = processes.memory(TINY, SETTING)
    assert 0 < found.ours[0] < 4 and found.path
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("recurra-bench")]


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for the text nothing is written, and both sizes are said."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    monkeypatch.setattr(processes, "write_text", None)
    with pytest.raises(Skipped, match=r"room for 0\.0 GB.* take 2\.4"):
        processes.memory(TINY, Setting(SETTING.machine))


def test_a_path_that_is_refused_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cell runs on another path than the one asked for, the reason is told and no
    figure.
    """
    told = {"path": "eager", "why": "no compiler", "seconds": 1.0}
    monkeypatch.setattr(processes, "child", lambda *given, **more: told)
    with pytest.raises(Skipped, match="on path eager, not fused: no compiler"):
        processes.first_use(TINY, SETTING)


def test_the_loops_own_time_is_taken_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """First use is what a fused cell takes more than the loop, each time with a cell and a cache of
    its own.

    The second finds the cache that another process has filled, whose time does not count.
    """
    asked: list[tuple[str, str, int]] = []

    def child(what: str, given: dict[str, Any], RECURRA_CACHE: str) -> dict[str, Any]:
        known = ("fused", RECURRA_CACHE, given["number"]) in asked
        asked.append((given["path"], RECURRA_CACHE, given["number"]))
        return {
            "path": given["path"],
            "why": "",
            "seconds": 1.0 if given["path"] == "eager" or known else 8.0,
        }

    monkeypatch.setattr(processes, "child", child)
    setting = Setting(SETTING.machine, pairs=7)
    assert processes.first_use(TINY, setting).ours == [7.0] * 3
    fused = [(cache, number) for path, cache, number in asked if path == "fused"]
    assert len(dict(fused)) == len({number for _, number in fused}) == 3
    asked.clear()
    assert processes.second_use(TINY, setting).ours == [0.0] * 3


@pytest.mark.slow
def test_a_cell_that_nobody_has_seen_runs(tmp_path: Path) -> None:
    """The child builds its cell, runs it on the path asked for, and tells the seconds of one
    training step.
    """
    asked = {"shape": [2, 3, 4], "number": 3, "path": "eager", "folder": str(tmp_path)}
    told = processes.child("first", asked, RECURRA_CACHE=str(tmp_path))
    assert told["path"] == "eager" and 0 < told["seconds"] < 60
    # What makes it unlike all others.
    assert "1.003" in (tmp_path / "unseen.py").read_text(encoding="utf-8")


def test_a_process_that_fails_says_why() -> None:
    """The last line of its errors is told."""
    with pytest.raises(RuntimeError, match="in a new process: KeyError: 'no such thing'"):
        processes.child("no such thing", {})


def test_a_command_is_timed_whole() -> None:
    """The seconds of a command are those of its process; one that fails is no measurement."""
    assert 0 < processes.start_of("--version")(TINY, SETTING).ours[0] < 60
    with pytest.raises(RuntimeError, match="in a new process"):
        processes.start_of("no-such-command")(TINY, SETTING)


def test_a_small_task_is_timed_beside_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is held against an import of torch and of its optimizers, into a folder that is gone
    afterwards; of a check that counts which it takes beyond an import.
    """
    spent, lines = [0.0], []

    def run(line: list[str], variables: dict[str, str]) -> str:
        lines.append(line)
        spent[0] += 5.0 if "recurra.cli.main" in line else 2.0
        return ""

    monkeypatch.setattr(processes, "_run", run)
    monkeypatch.setattr(processes, "of_children", lambda: spent[0])
    found = processes.run_of_a_task(TINY, SETTING)
    assert (found.ours, found.other, found.processor) == ([5.0], [2.0], True)
    assert lines[0][3] == "run" and lines[0][4].endswith("hello_lstm.toml")
    assert lines[0][5] == "--runs" and not Path(lines[0][6]).exists()
    assert "optim" in lines[-1][-1] and "recurra" not in lines[-1][-1]
    lines.clear()
    assert processes.check_of_a_task(TINY, SETTING).ours == [3.0]
    assert lines[0][3] == "check" and lines[-1][-1] == "import torch"
