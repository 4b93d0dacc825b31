"""What several processes train together, to be compared with what one trains."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import SERIES
from torch import Tensor, nn
from trials import ANSWERS, LABELS, PROSE, TAGS, Stopper, about

import recurra
from recurra.errors import Interrupted
from recurra.job.run import Run
from recurra.train.joint import Joint
from recurra.world import joined

RAGGED = [[float(np.sin(step + row)) for step in range(8 + 5 * row)] for row in range(6)]
HOLED = [None if step % 4 == 0 else float(np.sin(step)) for step in range(70)]
BATCHES = {"training.steps": 12, "training.batch_size": 5}
HORIZON = {"kind": "horizon", "length": 3}

TOGETHER: dict[str, tuple[str, dict[str, Any]]] = {
    "lanes": (
        PROSE,
        {"sequence.carry": True, "sequence.restart": 0.4, "cell.kind": "lstm"},
    ),
    "everything": (
        PROSE,
        {
            "sequence.carry": True,
            "sequence.restart": 0.3,
            "sequence.length": 3,
            "cell.dropout": 0.3,
            "cell.num_layers": 2,
            "training.accumulate": 2,
            "training.clip_norm": 0.3,
            "training.batch_size": 5,
            "training.optimizer": {"kind": "adamw", "lr": 0.02, "weight_decay": 0.1},
        },
    ),
    "windows": (PROSE, {"cell.dropout": 0.4, "training.accumulate": 3, **BATCHES}),
    "labels": (
        LABELS,
        {
            "cell.dropout": 0.3,
            "cell.num_layers": 2,
            "sequence.length": 3,
            # The first chooses, and builds what it has chosen.
            "device.path": "auto",
            **BATCHES,
        },
    ),
    "answers": (ANSWERS, {"cell.dropout": 0.3, "training.accumulate": 2}),
    "tags": (TAGS, {"cell.dropout": 0.3, "cell.num_layers": 2, "training.batch_size": 4}),
    "decoder": (
        about(SERIES, "inline", series=RAGGED),
        {"target": HORIZON | {"decoder": "cell"}, "cell.dropout": 0.3, **BATCHES},
    ),
    "missing": (
        about(SERIES, "csv", path="holed.csv", columns=["a", "b"], missing="keep"),
        {"training.clip_norm": 0.1, **BATCHES},
    ),
    "both ways": (
        LABELS,
        {"cell.bidirectional": True, "cell.dropout": 0.3, "sequence.length": 12, **BATCHES},
    ),
    "block": (
        PROSE,
        {
            "cell.block": {"convolution": 3, "feed_forward": 2.0},
            "cell.dropout": 0.3,
            "sequence.carry": True,
        },
    ),
}
"""Tasks of every feed and target, with batches that no number of processes divides."""


def prepare(folder: Path) -> None:
    """Write the files that the tasks read, in the folder where they are called."""
    rows = (f"{cell(a)},{cell(b)}" for a, b in zip(HOLED, reversed(HOLED), strict=True))
    (folder / "holed.csv").write_text("\n".join(["a,b", *rows]) + "\n", encoding="utf-8")


def cell(value: float | None) -> str:
    return "" if value is None else str(value)


def tables(name: str) -> dict[str, Any]:
    """Return the tables of a task, with weights of float64."""
    task = tomllib.loads(TOGETHER[name][0])
    return task | {"name": name.replace(" ", "-")}


def begun(name: str, runs: Path, stop: int = 0) -> Run | None:
    """Train a task to its end, or to a stop."""
    changes = {"device.precision": "float64", "device.kind": "cpu", "device.path": "eager"}
    changes |= TOGETHER[name][1]
    with suppress(Interrupted):
        return recurra.run(tables(name), changes, runs=runs, observer=Stopper([stop]))
    return None


def gone_on(name: str, runs: Path, stop: int = 0) -> Run | None:
    """Go on with a run to its end, or to a stop."""
    with suppress(Interrupted):
        return recurra.resume(runs / name.replace(" ", "-"), observer=Stopper([stop]))
    return None


def held(run: Run) -> dict[str, Any]:
    """Return what a run has left: tensors, and figures."""
    last = run.folder.checkpoints.load("last")
    tensors = {
        f"{group}.{name}": tensor
        for group, parts in last.tensors.items()
        for name, tensor in parts.items()
    }
    samples = run.path / "samples.txt"
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {
        "tensors": tensors,
        "records": records,
        "samples": samples.read_text() if samples.exists() else "",
        "result": run.result,
        "progress": {k: v for k, v in last.state["progress"].items() if k != "seconds"},
    }


def trial(names: list[str], chained: tuple[Path, int], stops: list[int]) -> dict[str, Any]:
    """Train tasks together; go on with a run of another number; stop and go on with one's own, if
    it is to stop at all.
    """
    with joined() as here:
        prepare(Path.cwd()) if here.first else None
        here.wait()
        runs = Path.cwd() / "runs"
        done = {}
        for name in names:
            run = begun(name, runs)
            assert run is not None
            done[name] = held(run)
        here.wait()
        place, stop = chained
        assert gone_on("everything", place, stop) is None
        own, broken = Path.cwd() / "broken", None
        for at, stop in enumerate(stops):
            assert (gone_on if at else begun)("everything", own, stop) is None
        if stops:
            broken = gone_on("everything", own)
            assert broken is not None
        return {
            "done": done,
            "broken": None if broken is None else held(broken),
            "gradients": gradients(here.rank, here.size),
        }


def gradients(rank: int, size: int) -> list[list[Tensor | None]]:
    """Return the gradients of three weights after updates in which processes reach some of them.

    The first is reached by all, the second by the last process, the third by the first in an
    earlier pass alone, and in the second update by nobody.
    """
    weights = [nn.Parameter(torch.full((3,), 1.0 + index).double()) for index in range(3)]
    made = []
    with joined() as here:
        joint = Joint(weights, here)
        for update in range(2):
            joint.forget()
            if rank == 0 and update == 0:
                joint.backward((weights[2] * 5).sum(), last=False)
            if rank == size - 1:
                joint.backward((weights[1] ** 2).sum() * (rank + 1), last=False)
                joint.backward((weights[0] * 7 + weights[1]).sum(), last=False)
            # A process without rows has no loss to go back from.
            own = None if rank == 1 else (weights[0] ** 2).sum() * (rank + 1)
            joint.backward(own, last=True)
            agreed = joint.agree(0.5 * (rank + 1), stop=rank == size - 1, late=rank == 1)
            assert agreed.loss == 0.5 * size * (size + 1) / 2
            assert agreed.stop and not agreed.late
            made.append([None if w.grad is None else w.grad.clone() for w in weights])
        joint.close()
    assert not any(weight._post_accumulate_grad_hooks for weight in weights)
    return made
