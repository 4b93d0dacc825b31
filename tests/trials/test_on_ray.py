"""Trials on a Ray cluster of this machine: two workers, of which one is killed."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from trials import PROSE, write

import recurra
from recurra.errors import InputError, Interrupted, RunError

SPACE = {
    "trials": 6,
    "sampler": {"kind": "random"},
    "space": {
        "training.optimizer.lr": {"low": 1e-3, "high": 0.3, "log": True},
        "cell.hidden_size": {"low": 3, "high": 9},
    },
}
LONG = {
    "training.steps": 1500,
    "training.validate_every": 50,
    "device.path": "eager",
    "generation.length": 1,
}


class Told:
    """Watches a sweep, and does something once a trial is finished."""

    def __init__(self, then: Any = None) -> None:
        self.lines: list[str] = []
        self.then = then

    def told(self, lines: list[str]) -> None:
        self.lines += lines
        if self.then is not None and any(line.startswith("trial") for line in lines):
            then, self.then = self.then, None
            then()

    def started(self, total: int, done: int) -> None: ...
    def stepped(self, progress: Any) -> None: ...
    def validated(self, *what: Any) -> None: ...
    def finished(self, *what: Any) -> None: ...


@pytest.mark.parametrize("verb", ["compare", "sweep"])
def test_without_ray_it_says_what_to_install(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named, and nothing is written."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(tmp_path)
    task = write(tmp_path, PROSE)
    more: dict[str, Any] = {"space": SPACE} if verb == "sweep" else {"cells": "gru,lstm"}
    with pytest.raises(InputError, match=r"recurra\[ray\]"):
        getattr(recurra, verb)(task, on="ray", **more)
    assert [path.name for path in tmp_path.iterdir()] == ["task.toml"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Give a cluster without a core, to which workers are added."""
    pytest.importorskip("ray")
    pytest.importorskip("optuna")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        import ray

        ray.shutdown()
        made.shutdown()


@pytest.fixture
def workers(cluster: Any) -> Iterator[list[Any]]:
    """Give two workers of one core each."""
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield nodes
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node)


def trained_by(node: Any, folder: Path) -> list[Path]:
    """Return what processes of a worker keep open in a folder: the run that they train."""
    (raylet,) = node.all_processes["raylet"]
    held = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, StopIteration):
            lines = (process / "status").read_text().splitlines()
            parent = next(line for line in lines if line.startswith("PPid:"))
            if int(parent.split()[1]) == raylet.process.pid:
                held += [file.readlink() for file in (process / "fd").iterdir()]
    return [path for path in held if path.is_relative_to(folder)]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_trials_of_a_worker_that_dies_go_on_elsewhere(
    cluster: Any, workers: list[Any], tmp_path: Path
) -> None:
    """None is counted twice or lost, and all comes out as on this machine alone."""
    task = write(tmp_path, PROSE)
    into = tmp_path / "ray"
    struck: list[Path] = []

    def kill() -> None:
        while not struck:
            struck.extend(trained_by(workers[0], into))
            time.sleep(0.05)
        cluster.remove_node(workers[0], allow_graceful=False)

    killing = threading.Thread(target=kill, daemon=True)
    watching = Told(killing.start)
    made = recurra.sweep(task, SPACE, LONG, on="ray", jobs=2, sweeps=into, observer=watching)
    assert struck, "the worker was killed while it trained nothing"
    killing.join()
    assert made.counts == {"done": 6, "pruned": 0, "failed": 0}
    runs = sorted(Path(made.folder).glob("trials/*/seed-0/*/task.toml"))
    assert [path.parent.name for path in runs] == ["1"] * 6
    finished = [line for line in watching.lines if line.startswith("trial")]
    assert len(finished) == 6
    here = recurra.sweep(task, SPACE, LONG, sweeps=tmp_path / "here")
    assert made.record() == here.record()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_reports_come_back_and_prune(workers: list[Any], tmp_path: Path) -> None:
    """What a validation measures elsewhere is judged here, and the trial ends there, saved."""
    task = write(tmp_path, PROSE)
    space = SPACE | {"pruner": {"kind": "asha"}}
    steps = {"training.steps": 60, "training.validate_every": 10}
    made = recurra.sweep(task, space, LONG | steps, on="ray", jobs=1, sweeps=tmp_path / "ray")
    here = recurra.sweep(task, space, LONG | steps, jobs=1, sweeps=tmp_path / "here")
    assert made.counts["pruned"] and made.record() == here.record()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_comparison_comes_out_the_same(workers: list[Any], tmp_path: Path) -> None:
    """What the trials came to is what it is on this machine."""
    task = write(tmp_path, PROSE)
    more = {"cells": "gru,lstm", "seeds": 2, "match": "none"}
    steps = LONG | {"training.steps": 20}
    there, here = (
        recurra.compare(task, steps, on=on, compares=tmp_path / on, **more)
        for on in ("ray", "here")
    )
    assert [(r.name, r.values, r.rank) for r in there.rows] == [
        (r.name, r.values, r.rank) for r in here.rows
    ]
    assert there.pairs == here.pairs and there.verdict == here.verdict
    assert len(there.rows) == 2 and not any(row.failures for row in there.rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_interruption_saves_what_is_trained_elsewhere(
    workers: list[Any], tmp_path: Path
) -> None:
    """Trials that run are asked to end, and go on from there."""
    task = write(tmp_path, PROSE)

    def interrupt() -> None:
        raise KeyboardInterrupt

    into = tmp_path / "swept"
    with pytest.raises(Interrupted, match="1 trials are finished"):
        recurra.sweep(task, SPACE, LONG, on="ray", jobs=2, folder=into, observer=Told(interrupt))
    time.sleep(3)
    begun = {path.parent.parent.name for path in into.glob("trials/*/seed-0/1/checkpoints")}
    made = recurra.sweep(into, on="ray")
    assert made.counts["done"] == 6 and begun


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cluster_without_workers_is_told(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once where it has none; after a while where they are gone."""
    from recurra.trials import on_ray

    task = write(tmp_path, PROSE)
    with pytest.raises(RunError, match="it has no core"):
        recurra.sweep(task, SPACE, LONG, on="ray", folder=tmp_path / "swept")
    monkeypatch.setattr(on_ray, "GONE", 3.0)
    node = cluster.add_node(num_cpus=1)

    def end() -> None:
        while not trained_by(node, tmp_path / "gone"):
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    with pytest.raises(RunError, match="it has had no core for 3 s"):
        recurra.sweep(
            task, SPACE, LONG | {"training.steps": 100_000}, on="ray", sweeps=tmp_path / "gone"
        )
    ending.join()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_address_where_nothing_answers_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would try it for minutes; what is there stays, and goes on elsewhere."""
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as once:
        address = f"127.0.0.1:{once.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RunError, match=f"nothing answers at RAY_ADDRESS, {address}"):
        recurra.sweep(write(tmp_path, PROSE), SPACE, LONG, on="ray", folder=tmp_path / "swept")
