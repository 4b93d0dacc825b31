"""The execution paths of a run's cells: chosen once, recorded, and taken again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from recurra.contracts.cell import Cell
from recurra.engine.choice import Choice, explain
from recurra.errors import InputError, Problem, RunError
from recurra.job.data import Data
from recurra.model.network import Network
from recurra.model.table import preferred
from recurra.randomness import SCHEME
from recurra.resolved import Resolved
from recurra.runs.records import Environment
from recurra.world import world


@dataclass(frozen=True)
class Execution:
    """What a run records of how it was made.

    The paths of its cells and of their single steps, threads, and the scheme of its randomness.
    """

    paths: list[str]
    step_paths: list[str]
    randomness: int
    threads: int = 1

    @classmethod
    def of(cls, environment: Environment) -> Execution:
        """Return what environment.json holds."""
        return cls(
            paths=environment.paths,
            step_paths=environment.step_paths or environment.paths,
            threads=environment.threads,
            randomness=environment.randomness,
        )

    @classmethod
    def chosen(cls, choices: Sequence[Choice]) -> Execution:
        """Return what environment.json is to hold of the cells of a new run."""
        return cls(
            paths=[choice.path for choice in choices],
            step_paths=[_step_path(choice) for choice in choices],
            randomness=SCHEME,
        )


def _step_path(choice: Choice) -> str:
    """Return the path of single steps, which is that of windows unless it has one of its own."""
    return (choice.one_step or choice).path


def begins_inside(resolved: Resolved, data: Data) -> bool:
    """Tell whether sequences begin inside the windows of training."""
    return resolved.task.sequence.carry and len(data.splits["train"]) > 1


def rows_of_each(resolved: Resolved) -> int:
    """Return how many rows of a batch a process reads, at most."""
    return -(-resolved.task.training.batch_size // world().size)


def choose_paths(
    resolved: Resolved, network: Network, resets: bool, execution: Execution | None
) -> list[Choice]:
    """Set the path of each cell, and that of its single steps; return the choices.

    Of several processes the first chooses, and the others take what it has chosen. Raises
    `RunError` (RC064) where one cannot.
    """
    here = world()
    if here.size == 1:
        return _chosen(resolved, network, resets, execution)

    rows = rows_of_each(resolved)
    first: list[Choice] = []

    def chosen() -> Execution:
        first[:] = _chosen(resolved, network, resets, execution, rows)
        return Execution.chosen(first)

    told = here.alone(chosen)

    def taken() -> list[Choice]:
        choices = first or _chosen(resolved, network, resets, told, rows)
        for choice, path in zip(choices, told.paths, strict=True):
            if choice.path != path:
                why = choice.refused.get(path, "it is not known here")
                fact = f"process {here.rank} of {here.size} cannot take path {path}: {why}"
                raise RunError.of("RC064", fact, cure='set device.path = "eager"')
        return choices

    return here.together(taken)


def _chosen(
    resolved: Resolved,
    network: Network,
    resets: bool,
    execution: Execution | None,
    rows: int | None = None,
) -> list[Choice]:
    """Set the path of each cell for batches of so many rows, by default those of the task."""
    network.compiles_steps = resolved.task.device.path in ("auto", "fused")
    rows = resolved.task.training.batch_size if rows is None else rows
    cells = [(cell, _read(resolved, network, cell, resets, rows)) for cell in network.cells]
    if execution is None:
        choices = [_anew(resolved, cell, windows) for cell, windows in cells]
        if not network.narrow:
            first: Any = network.layers[0]
            steps = resolved.task.sequence.length
            choices[0] = preferred(network.encoder, first, choices[0], rows, steps)
    else:
        recorded = zip(cells, execution.paths, execution.step_paths, strict=True)
        choices = [
            _again(resolved, cell, windows, path, step) for (cell, windows), path, step in recorded
        ]

    for cell, choice in zip(network.cells, choices, strict=True):
        cell.path = choice.path
        cell.step_path = _step_path(choice)
    return choices


class _Windows(NamedTuple):
    """What a cell reads in training: how many rows, of how many steps, and if there are resets."""

    rows: int
    steps: int
    resets: bool


def _read(
    resolved: Resolved, network: Network, cell: Cell[Any], resets: bool, rows: int
) -> _Windows:
    """Return what a cell reads: windows, or the steps ahead of all origins in them."""
    steps, decoder = resolved.task.sequence.length, network.decoder
    if decoder is None or cell is not decoder.cell:
        return _Windows(rows, steps, resets)
    origins = 1 if resolved.target.last_origin else steps
    return _Windows(min(rows * origins, decoder.rows), decoder.steps, False)


def _again(
    resolved: Resolved, cell: Cell[Any], windows: _Windows, path: str, step_path: str
) -> Choice:
    """Return the recorded choice, for bits are equal within one path alone.

    A new one if it is not proved here.
    """
    choice = Choice.named(cell, path)
    if choice.path != path:
        other = _anew(resolved, cell, windows)
        return replace(other, refused=other.refused | choice.refused)

    one_step = Choice.named(cell, step_path)
    if one_step.path != step_path:
        one_step = explain(cell, 1, 1, grad=False)
    return replace(choice, one_step=one_step)


def _anew(resolved: Resolved, cell: Cell[Any], windows: _Windows) -> Choice:
    """Return the choice for windows of training.

    With it comes that for one step without gradients of one row, where the task leaves it open.
    """
    task = resolved.task
    path = task.device.path
    if path == "auto":
        choice = explain(cell, windows.rows, windows.steps, reset=windows.resets)
        return replace(choice, one_step=explain(cell, 1, 1, grad=False))

    choice = Choice.named(cell, path)
    if path != choice.path:
        fact = f"{type(cell).__name__} cannot run on path {path}: {choice.refused[path]}"
        cure = 'set device.path = "auto"'
        raise InputError(resolved.place(Problem("RC031", fact, "device.path", cure=cure)))
    return replace(choice, note=f"not measured: device.path is {path}")
