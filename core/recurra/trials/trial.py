"""A trial: a task with all that is decided of it, trained in a folder of its own."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recurra.errors import RunError
from recurra.job import sharing
from recurra.job.again import go_on
from recurra.job.changes import changed
from recurra.job.fresh import prepared
from recurra.job.paths import Execution
from recurra.job.results import final_metrics
from recurra.job.run import Run
from recurra.job.train import Silent
from recurra.resolve import resolve
from recurra.runs.folder import RunFolder
from recurra.train.metrics import known
from recurra.trials.journal import Outcome

OF_THE_TRIAL = ("RC060", "RC061")
"""Errors that say something of a trial, which has failed.

All others say something of the task or of the machine, and end whatever made the trial.
"""


@dataclass(frozen=True)
class Trial:
    """A task file, what is changed in it, and the folder in which its run is made."""

    name: str
    task: str
    home: str
    overrides: dict[str, Any] = field(default_factory=dict)
    execution: dict[str, Any] | None = None
    """The paths that its cells take, as `Execution` has them; nothing leaves the choice to it."""

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, for another process."""
        return asdict(self)


def made(trial: Trial) -> Outcome:
    """Train a trial, from where it was if it has begun, and return its outcome.

    Raises `RecurraError` where that is not the trial's own failure.
    """
    try:
        run = _trained(trial)
    except RunError as error:
        if not all(problem.code in OF_THE_TRIAL for problem in error.problems):
            raise
        return {"state": "failed", "why": "; ".join(each.fact for each in error.problems)}

    result: Any = run.result
    return {
        "state": "done",
        "metrics": final_metrics(result),
        "judged": result.get("judged"),
        "split": result["split"],
        "validation": _validation(run),
        "parameters": result["parameters"],
        "steps": result["steps"],
        "weights_of_step": result["weights_of_step"],
        "ended": result["ended"],
        "run": run.path.name,
    }


def _trained(trial: Trial) -> Run:
    """Return the run of a trial: a new one, or the one that has begun, to its end."""
    home = Path(trial.home)
    begun = RunFolder.begun(home)
    if begun is not None:
        with sharing.held(begun):
            return go_on(begun, changed(begun, ()), Silent())
    resolved = resolve(Path(trial.task), trial.overrides)
    execution = None if trial.execution is None else Execution(**trial.execution)
    ready = prepared(resolved, None, execution)
    return ready.trained(RunFolder.create(home.parent, home.name), Silent())


def _validation(run: Run) -> float | None:
    """Return the best figure of validation, of what the task monitors; nothing where is none."""
    monitor = run.task.training.monitor
    figure = known(run.resolved.target, type(run.answers), run.resolved.levels)[monitor]
    values = [
        float(record[monitor])
        for record in run.metrics()
        if record["split"] == "validation" and monitor in record
    ]
    numbers = [value for value in values if math.isfinite(value)]
    return min(numbers, key=figure.cost, default=None)
