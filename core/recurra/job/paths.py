"""The execution paths of a run's cells: chosen once, recorded, and taken again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from recurra.contracts.cell import Cell
from recurra.engine.choice import Choice, explain
from recurra.errors import InputError, Problem
from recurra.job.data import Data
from recurra.model.network import Network
from recurra.randomness import SCHEME
from recurra.resolved import Resolved
from recurra.runs.records import Environment


@dataclass(frozen=True)
class Taken:
    """What a run records of how it was made: the paths of its cells and of their single steps, threads, randomness."""

    paths: list[str]
    step_paths: list[str]
    threads: int = 1
    randomness: int = SCHEME

    @staticmethod
    def of(environment: Environment) -> Taken:
        """Return what environment.json holds."""
        paths = environment.paths
        return Taken(paths, environment.step_paths or paths, environment.threads, environment.randomness)

    @staticmethod
    def record(choices: Sequence[Choice]) -> dict[str, Any]:
        """Return what environment.json is to hold."""
        paths, step_paths = [c.path for c in choices], [(c.one_step or c).path for c in choices]
        return {"paths": paths, "step_paths": step_paths, "randomness": SCHEME}


def begins_inside(resolved: Resolved, data: Data) -> bool:
    """Tell whether sequences begin inside the windows of training."""
    return resolved.task.sequence.carry and len(data.splits["train"]) > 1


def choose_paths(resolved: Resolved, network: Network, resets: bool, taken: Taken | None) -> list[Choice]:
    """Set the path of each cell, and that of its single steps; return the choices."""
    network.compiles_steps = resolved.task.device.path in ("auto", "fused")
    if taken is None:
        choices = [_choose_path(resolved, cell, resets) for cell in network.cells]
    else:
        recorded = zip(network.cells, taken.paths, taken.step_paths, strict=True)
        choices = [_take_path(resolved, cell, resets, path, one) for cell, path, one in recorded]
    for cell, found in zip(network.cells, choices, strict=True):
        cell.path, cell.step_path = found.path, (found.one_step or found).path
    return choices


def _take_path(resolved: Resolved, cell: Cell[Any], resets: bool, path: str, one: str) -> Choice:
    """Return the recorded choice, for bits are equal within one path alone; a new one if it is not proved here."""
    found, single = Choice.named(cell, path), Choice.named(cell, one)
    if found.path != path:
        chosen = _choose_path(resolved, cell, resets)
        return replace(chosen, refused=chosen.refused | found.refused)
    return replace(found, one_step=single if single.path == one else explain(cell, 1, 1, grad=False))


def _choose_path(resolved: Resolved, cell: Cell[Any], resets: bool) -> Choice:
    """Return the choice for windows of training, and with it that for one step without gradients of one row."""
    task = resolved.task
    wanted = task.device.path
    if wanted == "auto":
        found = explain(cell, task.training.batch_size, task.sequence.length, reset=resets)
        return replace(found, one_step=explain(cell, 1, 1, grad=False))
    found = Choice.named(cell, wanted)
    if wanted != found.path:
        fact = f"{type(cell).__name__} cannot run on path {wanted}: {found.refused[wanted]}"
        raise InputError(resolved.place(Problem("RC031", fact, "device.path", cure='set device.path = "auto"')))
    return replace(found, note=f"not measured: device.path is {wanted}")
