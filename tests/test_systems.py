"""What the page on systems says of a system that lacks something is what happens there."""

from __future__ import annotations

import errno
import re
import socket
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from pages import page, quoted, rows, section
from terminal import command

import recurra
from recurra import cache, system
from recurra.engine import build, fused, proof

TASK = REPOSITORY / "tasks" / "hello_lstm.toml"
QUICK = ["-o", "training.epochs=2"]
LACKING = {
    re.sub(r",? .*", "", re.sub(r"^an? ", "", row[0])): row
    for row in rows(section(page("systems"), "## What a system may lack"))
}
"""The rows of the table, by the first word of what is lacking."""


def said(lacking: str) -> str:
    """Return what the page says that recurra says."""
    return quoted(LACKING[lacking][2])[-1]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, where nothing was said yet and no path is measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECURRA_MEASURE", "0")
    monkeypatch.setattr(cache, "_warned", set())
    monkeypatch.setattr(system, "_warned", set())
    return tmp_path


def test_without_a_compiler(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task runs on a path of torch's, `check` says why, and a kernel by name is refused."""
    monkeypatch.setenv("CC", "/nonexistent")
    # What was built before is not here.
    monkeypatch.setattr(build, "kernel_folder", lambda: here / "kernels")
    monkeypatch.setattr(build, "_loaded", {})
    monkeypatch.setattr(fused, "KERNELS", fused.Kernels())
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())
    assert said("C") in command("check", TASK, "-o", "device.kind=cpu").tidy(0).out
    assert command("run", TASK, "--json").tidy(0).last["generated"] == "hello"
    command("check", TASK, "-o", "device.path=fused", "-o", "device.kind=cpu").fails(
        2, said("C").removeprefix("not fused: ")
    )


def test_without_a_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home has no cache, and is told once."""
    monkeypatch.delenv("RECURRA_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.setenv("RECURRA_MEASURE", "1")
    assert command("run", TASK, *QUICK).tidy(0).err.count(said("home")) == 1


def test_without_a_cache(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder that cannot be written costs the cache alone, and is named."""
    (here / "file").touch()
    monkeypatch.setenv("RECURRA_CACHE", str(here / "file"))
    monkeypatch.setenv("RECURRA_MEASURE", "1")
    unmeasured = "cell.hidden_size=17"
    done = command("check", TASK, "-o", unmeasured).tidy(0)
    assert f"{here}/file {said('cache')}" in done.err


def test_without_a_folder_for_runs(here: Path) -> None:
    """Where runs cannot be written nothing is trained."""
    (here / "file").touch()
    done = command("run", TASK, *QUICK, "--runs", "file").fails(2, said("folder"), "RC050")
    assert "step" not in done.out


def test_without_locks(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files cannot be locked the run is trained, with a word."""

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(system.fcntl, "flock", refuse)
    assert said("file") in command("run", TASK, *QUICK).tidy(0).err


def test_without_a_sync_or_a_rename(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be synced is not, and what cannot be renamed is copied, without a word."""

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSYS, "refused")

    for owner, name in ((system.os, "fsync"), (Path, "replace"), (Path, "rename")):
        monkeypatch.setattr(owner, name, refuse)
    assert "warning" not in command("run", TASK, *QUICK).tidy(0).err
    assert not LACKING["sync"][2] and recurra.load("runs/hello_lstm").path.is_dir()


def test_without_room(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends the run, and what was saved before can be gone on from."""
    command("run", TASK, *QUICK).tidy(0)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(system.os, "fsync", full)
        command("run", TASK, *QUICK).fails(1, said("room"), "RC053")
    assert recurra.load("runs/hello_lstm/1").generated()


def test_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command asks for a network."""

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with warnings.catch_warnings(action="error"):
        for line in (["check", TASK], ["run", TASK, *QUICK], ["plugins", "list"], ["schema"]):
            assert "warning" not in command(*line).tidy(0).err
    assert not LACKING["network"][2]


def test_every_lack_is_tried() -> None:
    """The table has no row without a law here."""
    names = {"C", "home", "cache", "folder", "file", "sync", "room", "network"}
    assert {*LACKING} == names


def test_the_bounds_of_versions_are_those_of_the_project() -> None:
    """The page names the least Python and torch that may be installed, and the wheel's name."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    least = project["requires-python"].removeprefix(">=")
    (torch,) = [need for need in project["dependencies"] if need.startswith("torch")]
    told = page("systems")
    assert f"below {least} nothing is installed" in told
    assert f"torch from {torch.removeprefix('torch>=')} on" in told
    assert f"recurra-{project['version']}-py3-none-any.whl" in told
