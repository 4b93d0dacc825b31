"""What the new processes of rows 10 and 11 do.

They import torch before this, and nothing of recurra.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

STEPS = 5
"""Updates of the training whose memory is measured."""

CELL = """\
from typing import NamedTuple
import torch
from recurra import GatedCell

class State(NamedTuple):
    h: torch.Tensor
    c: torch.Tensor

class Unseen(GatedCell):
    gates = 4
    State = State

    def update(self, x, h, state):
        i, f, g, o = x + h
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh({number} * g)
        return State(torch.sigmoid(o) * torch.tanh(c), c)
"""
"""A cell like which there is no other: the number differs from one to the next."""


def main(what: str, request: str) -> None:
    """Do what is asked and print what came of it, as JSON on the last line."""
    before = resident()  # nothing of recurra is in memory yet
    details = json.loads(request)
    answer = {"first": first, "memory": memory}[what](details, before)
    sys.stdout.write(json.dumps(answer) + "\n")


def first(request: dict[str, Any], before: int) -> dict[str, Any]:
    """Build a cell that nobody has seen; time its path's proof and its first training step."""
    import torch

    from recurra import GatedOptions
    from recurra.bench.layers import training
    from recurra.engine.choice import Choice

    batch, steps, width = request["shape"]
    folder, path = request["folder"], request["path"]

    source = CELL.format(number=1 + request["number"] / 1000)
    (Path(folder) / "unseen.py").write_text(source, encoding="utf-8")
    sys.path.insert(0, folder)
    module: Any = import_module("unseen")
    cell = module.Unseen(width, GatedOptions(hidden_size=width))

    x = torch.randn(batch, steps, width).requires_grad_()
    turn = training(cell, x, torch.ones(batch, steps, width))

    # The proof compiles the kernel, so it belongs to what a first use takes.
    start = time.perf_counter()
    choice = Choice.named(cell, path)
    cell.path = choice.path
    turn()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "path": choice.path, "why": choice.refused.get(path, "")}


def memory(request: dict[str, Any], before: int) -> dict[str, Any]:
    """Train some steps on a large text; return the peak of memory here, and what torch took."""
    from recurra.bench.layers import chosen_paths
    from recurra.bench.tasks import TASK
    from recurra.job.build import build_network, build_trainer
    from recurra.job.data import load_data
    from recurra.resolve import resolve

    folder = Path(request["folder"])
    (folder / "task.toml").write_text(TASK, encoding="utf-8")
    changes = {
        "training.steps": STEPS,
        "training.batch_size": 32,
        "cell.hidden_size": 128,
        "device.kind": "cpu",
    }
    task = resolve(folder / "task.toml", changes)
    data = load_data(task)
    network, _ = build_network(task, data.vocabulary.size, data.names)
    for _ in build_trainer(task, data, network).events():
        pass

    peak = resident(peak=True)
    return {"peak": peak, "torch": before, "path": chosen_paths(network.cells)}


def resident(peak: bool = False) -> int:
    """Return the bytes of memory that this process holds, or the most that it has held."""
    label = "VmHWM:" if peak else "VmRSS:"
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # a system that tells the peak alone, in bytes
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    row = next(line for line in lines if line.startswith(label))
    kibibytes = int(row.split()[1])
    return 1024 * kibibytes
