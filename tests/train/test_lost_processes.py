"""Of several processes one dies, is stopped or fails: the others say which, and the run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import worlds
from conftest import REPOSITORY
from safetensors.torch import load_file
from striking import tried
from torch import Tensor

from recurra import peers, world
from recurra.errors import RunError
from recurra.job import agreement, relaunch
from recurra.peers import patience
from recurra.resolve import resolve
from recurra.runs.folder import RunFolder

TASK = """
schema = 1
name = "t"
source = {kind = "inline", text = "the quick brown fox jumps over the lazy dog, again and again"}
vocabulary = {kind = "character"}
sequence = {length = 8, carry = true, split = [0.7, 0.3, 0.0]}
encoder = {kind = "one_hot"}
cell = {kind = "gru", hidden_size = 6, dropout = 0.2}
loss = {kind = "cross_entropy"}
training = {steps = 40, batch_size = 4, checkpoint_every = 10, validate_every = 20}
generation = {length = 3}
device = {precision = "float64", path = "eager", kind = "cpu"}
"""
COMMAND = ("run", "t.toml")
QUIET = {"RECURRA_TIMEOUT": "3"}
GOES_ON = "`recurra resume runs/t/1` goes on"

Kind = tuple[str, int, str, int]


def place(folder: Path) -> Path:
    """Make a folder that holds the task."""
    folder.mkdir(parents=True)
    (folder / "t.toml").write_text(TASK, encoding="utf-8")
    return folder


def weights(folder: Path, steps: int = 40) -> dict[str, Tensor]:
    """Return all tensors of the last checkpoint of a run."""
    files = sorted((folder / f"runs/t/1/checkpoints/step-{steps}").glob("*.safetensors"))
    assert files
    return {
        f"{file.stem}.{name}": tensor for file in files for name, tensor in load_file(file).items()
    }


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return by how much two states differ at most, but for streams, which are those of a size."""
    one, other = (
        {name: tensor for name, tensor in state.items() if not name.startswith("random")}
        for state in (one, other)
    )
    assert one.keys() == other.keys()
    pairs = [(tensor.double(), other[name].double()) for name, tensor in one.items()]
    return max(float((a - b).abs().max()) for a, b in pairs if a.numel())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give what so many processes leave of the task that nobody strikes."""

    @cache
    def made(size: int) -> dict[str, Tensor]:
        folder = place(tmp_path_factory.mktemp("whole") / str(size))
        codes, said = tried(folder, size, *COMMAND)
        assert not any(codes), said
        return weights(folder)

    return made


SAYS: dict[Kind, tuple[list[int], str]] = {
    ("kill", 1, "middle", 2): ([1, -9], "process 1 of 2 (pid"),
    ("kill", 0, "saving", 3): ([-9, 1, 1], "process 0 of 3 (pid"),
    ("kill", 2, "validation", 3): ([1, 1, -9], "process 2 of 3 (pid"),
    ("kill", 1, "first", 2): ([1, -9], "nothing is saved of it yet"),
    ("kill", 1, "kernels", 3): ([1, -9, 1], "process 1 of 3 (pid"),
    ("kill", 1, "figures", 2): ([1, -9], "process 1 of 2 (pid"),
    ("exit", 1, "data", 2): ([1, 7], "process 1 of 2 (pid"),
    ("stop", 1, "middle", 2): (
        [1, -9],
        "has stopped, has not been heard of for 3 s",
    ),
    ("stop", 0, "validation", 2): ([-9, 1], "process 0 of 2 (pid"),
    ("memory", 1, "middle", 2): ([1, 1], "not enough memory: no more of it (process 1 of 2)"),
    ("allocator", 0, "middle", 3): ([1, 1, 1], "memory: DefaultCPUAllocator"),
    ("error", 1, "middle", 3): ([1, 1, 1], "process 1 of 3 failed with KeyError"),
    ("nan", 1, "middle", 2): ([1, 1], "the loss is nan at step 26"),
    ("term", 1, "middle", 2): ([143, 143], "interrupted after step 26 of 40"),
    ("term", 1, "data", 2): ([143, 143], "process 1 of 2 was asked to end"),
}
"""What happens, to which, when, of how many; the exit codes, and a part of what is said."""
QUICK: list[Kind] = [("kill", 1, "middle", 2)]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[] if fault in QUICK else [pytest.mark.slow], id=str(fault))
        for fault in SAYS
    ],
)
def test_a_fault_is_told_once_and_nothing_is_lost(
    fault: Kind, undisturbed: Any, tmp_path: Path
) -> None:
    """It names the process, what is saved and how to go on, at any number, to the same weights."""
    kind, rank, phase, size = fault
    codes, said = SAYS[fault]
    folder = place(tmp_path / "one")
    found, text = tried(folder, size, *COMMAND, fault=(kind, rank, phase), environment=QUIET)
    assert found == codes, text
    assert said in text and text.count("error: ") == 1, text
    if not (folder / "runs/t/1/checkpoints/index.json").exists():
        return
    if phase == "first":
        return
    assert GOES_ON in text
    other = 1 if size == 2 else 2
    found, text = tried(folder, other, "resume", "runs/t/1")
    assert not any(found), text
    assert apart(weights(folder), undisturbed(1)) < 1e-9


TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
STRIKE = [str(REPOSITORY / "tests" / "striking.py"), "strike"]


@pytest.mark.slow
def test_torchrun_begins_again_and_the_run_goes_on(undisturbed: Any, tmp_path: Path) -> None:
    """The same command, called once more, goes on with the run that it had begun, bit for bit."""
    folder = place(tmp_path / "again")
    launch = [*TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "2", *STRIKE]
    done = subprocess.run(
        [*launch, "kill", "1", "middle", *COMMAND], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "runs/t/1 was begun by this launch of torchrun, and goes on" in done.stdout
    assert [path.name for path in (folder / "runs/t").iterdir()] == ["1"]
    own = weights(folder)
    assert all(torch.equal(tensor, own[name]) for name, tensor in undisturbed(2).items())


def machines(folder: Path, steps: int) -> list[subprocess.Popen[bytes]]:
    """Start a process on each of two machines, which share nothing but a wire."""
    started = []
    for index, name in enumerate(("recurra-a", "recurra-b"), 1):
        own = place(folder / name)
        launch = ["ip", "netns", "exec", name, *TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1"]
        launch += ["--rdzv-backend", "c10d", "--rdzv-id", "wired"]
        launch += ["--rdzv-conf", f"is_host={int(index == 1)},read_timeout=10"]
        launch += ["--rdzv-endpoint", "10.77.0.1:29400", "--local-addr", f"10.77.0.{index}"]
        launch += ["-m", "recurra", *COMMAND, "-o", f"training.steps={steps}"]
        with (own / "said").open("wb") as log:
            started.append(
                subprocess.Popen(
                    launch,
                    cwd=own,
                    stdout=log,
                    stderr=log,
                    env=os.environ | {"GLOO_SOCKET_IFNAME": "wire", "RECURRA_TIMEOUT": "5"},
                )
            )
    return started


def inside(name: str) -> set[int]:
    """Return the processes of a network namespace."""
    done = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    return set(map(int, done.stdout.split()))


@pytest.fixture
def wire() -> Iterator[None]:
    """Two network namespaces, joined by a wire."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    if not shutil.which("ip") or os.geteuid():
        pytest.skip("network namespaces are made by root alone, with ip")
    names = ("recurra-a", "recurra-b")
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip(*"link add wire netns recurra-a type veth peer name wire netns recurra-b".split())
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not allowed: {error.stderr.decode()}")
        for index, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.77.0.{index}/24", "dev", "wire")
            for device in ("lo", "wire"):
                ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        for name in names:
            for pid in inside(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def ended(started: list[subprocess.Popen[bytes]], folder: Path) -> list[str]:
    """Wait for machines, and return what they have said."""
    try:
        for process in started:
            process.wait(120)
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()
    return said(folder)


def said(folder: Path) -> list[str]:
    """Return what the machines have said."""
    return [(folder / name / "said").read_text() for name in ("recurra-a", "recurra-b")]


@pytest.mark.slow
def test_two_machines_train_one_network(wire: None, undisturbed: Any, tmp_path: Path) -> None:
    """Each has its own files; the run lies on that of the first process alone."""
    started = machines(tmp_path, 40)
    text = ended(started, tmp_path)
    assert [process.returncode for process in started] == [0, 0], text
    having = [name for name in ("recurra-a", "recurra-b") if (tmp_path / name / "runs").exists()]
    assert len(having) == 1
    assert apart(weights(tmp_path / having[0]), undisturbed(1)) < 1e-9


@pytest.mark.slow
def test_a_wire_that_is_cut_ends_both(wire: None, tmp_path: Path) -> None:
    """Each says so, soon after the time that was set; one goes on to the same weights.

    The torchrun that does not have the store waits for it on and on, with no process left to it.
    """
    steps = 500
    started = machines(tmp_path, steps)
    names = ("recurra-a", "recurra-b")
    until = time.monotonic() + 60
    while not list(tmp_path.glob("*/runs/t/1/checkpoints/index.json")):
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(1)
    subprocess.run("ip -n recurra-a link set wire down".split(), check=True)

    until = time.monotonic() + 30
    launchers = {process.pid for process in started}
    while (inside(names[0]) | inside(names[1])) - launchers:
        assert time.monotonic() < until, said(tmp_path)
        time.sleep(0.1)
    for process in started:
        process.kill()
        process.wait()
    for text in said(tmp_path):
        assert "RC064" in text and GOES_ON in text

    (run,) = tmp_path.glob("*/runs/t/1")
    assert RunFolder(run).checkpoints.index()["last"] < steps
    home = run.parents[2]
    codes, text = tried(home, 1, "resume", "runs/t/1")
    assert not any(codes), text
    whole = place(tmp_path / "whole")
    codes, text = tried(whole, 1, *COMMAND, "-o", f"training.steps={steps}")
    assert not any(codes), text
    assert apart(weights(home, steps), weights(whole, steps)) < 1e-6


def test_a_store_that_answers_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not whoever is about to end either: what cannot be asked has no answer."""
    monkeypatch.setattr(peers, "SOON", 0.2)
    never = threading.Event()

    def mute(*_: Any) -> Any:
        never.wait(20)
        raise RuntimeError("out of reach")

    monkeypatch.setattr(world, "_store", SimpleNamespace(add=mute))
    others = peers.Peers(SimpleNamespace(set=mute, check=mute), 0, 2, lambda error: None)
    try:
        since = time.monotonic()
        others.say(peers.FAILED, RunError.of("RC064", "lost"))
        assert others.fault() is None
        assert not world._told("lost")
        assert time.monotonic() - since < 10
    finally:
        others.close()
        never.set()


def test_what_differs_is_told_with_both_values(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A version or a plugin that another process has otherwise is refused in all."""
    facts = agreement._facts
    resolved = resolve(place(tmp_path / "of") / "t.toml")

    def told(change: dict[str, str]) -> str:
        def work(here: Any) -> None:
            own = facts(resolved) | (change if here.rank == 1 else {})
            monkeypatch.setattr(agreement, "_facts", lambda _: own)
            agreement.agreed(resolved)

        with pytest.raises(RunError) as caught:
            worlds.side_by_side(2, work)
        return str(caught.value)

    text = told({"torch": "1.0", "file:mine.py": "sha256:12"})
    assert "has torch 1.0, and the first" in text and text.count("RC064") == 2
    assert "has file:mine.py sha256:12" in text and "has none" in text
    monkeypatch.setattr(agreement, "_facts", facts)
    worlds.side_by_side(3, lambda _: agreement.agreed(resolved))


def test_a_launch_knows_its_own_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not those of another launch, of another task, nor, without a restart, one that has ended."""
    resolved = resolve(place(tmp_path / "of") / "t.toml")
    home = tmp_path / "runs" / "t"
    launch = {"launch": "job", "run": 0}
    assert relaunch.begun(home, resolved, launch) is None

    def made(text: str = resolved.toml()) -> RunFolder:
        folder = relaunch.note(RunFolder.create(tmp_path / "runs", "t"), launch)
        folder.write_task(text)
        return folder

    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    early = made()
    assert relaunch.begun(home, resolved, launch) is None and not early.path.exists()

    run = made()
    (run.path / "checkpoints/index.json").write_text('{"last": 1}')
    monkeypatch.setattr("recurra.runs.checkpoints.Checkpoints.index", lambda self: {"last": 1})
    assert relaunch.begun(home, resolved, launch) == run.path
    assert relaunch.begun(home, resolved, {"launch": "job", "run": 1}) is None
    assert relaunch.begun(home, resolved, {"launch": "other", "run": 0}) is None
    assert relaunch.begun(home, resolved, None) is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert relaunch.begun(home, resolved, launch) == run.path
    run.write_task("name = 'another'")
    assert relaunch.begun(home, resolved, launch) is None
    run.write_task(resolved.toml())
    run.write("result.json", {})
    assert relaunch.begun(home, resolved, launch) is None


@pytest.mark.parametrize("said", ["soon", "0", "-1", "nan"])
def test_a_timeout_is_a_number_of_seconds(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is taken for one."""
    monkeypatch.setenv("RECURRA_TIMEOUT", said)
    with pytest.raises(Exception, match="no number of seconds"):
        patience()
