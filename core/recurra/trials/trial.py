"""A trial: a task with all that is decided of it, trained in a folder of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recurra.errors import InputError, Interrupted, RecurraError, RunError
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
from recurra.train.events import Progress
from recurra.train.metrics import known
from recurra.trials.journal import Outcome

OF_THE_TRIAL = ("RC060", "RC061")
"""Errors that say something of a trial, which has failed.

All others say something of the task or of the machine, and end whatever made the trial.
"""
OF_ITS_VALUES = ("RC012", "RC013", "RC014", "RC030", "RC031", "RC041")
"""Errors that say that its values do not fit together, where a sweep has drawn them."""

Report = dict[str, Any]
"""What a validation has measured: `number`, from 1, `metrics`, and whether it is the `last`."""
Judge = Callable[[Report], bool]
"""Takes the report of a trial, and tells whether it is to be pruned there."""


@dataclass(frozen=True)
class Trial:
    """A task file, what is changed in it, and the folder in which its run is made."""

    name: str
    task: str
    home: str
    overrides: dict[str, Any] = field(default_factory=dict)
    execution: dict[str, Any] | None = None
    """The paths that its cells take, as `Execution` has them; nothing leaves the choice to it."""
    judged: bool = True
    """Whether its figures on the held-out split are made; without them it has none but those of
    validation.
    """
    drawn: bool = False
    """Whether its values were drawn, so that a task may refuse them together: then it has failed.
    """
    reports: bool = False
    """Whether each validation is told to whoever may prune it."""

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, for another process."""
        return asdict(self)


class Watching(Silent):
    """Watches a trial: reports what validations measure, and ends it where it is pruned."""

    def __init__(self, judge: Judge | None) -> None:
        self.judge = judge
        self.folder: RunFolder | None = None
        self.number = 0
        self.pruned = False
        self.why = ""
        self.seconds = 0.0

    def started(self, total: int, done: int) -> None:
        """Training begins, or goes on after as many validations as the records hold."""
        assert self.folder is not None
        records = self.folder.metrics()
        self.number = sum(record["split"] == "validation" for record in records)

    def validated(self, progress: Progress, metrics: Any, better: bool, sample: str) -> None:
        """The validation split was looked at."""
        self.number += 1
        if self.judge is not None:
            last = progress.step >= progress.total
            report = {"number": self.number, "metrics": dict(metrics), "last": last}
            self.pruned = self.judge(report)

    def enough(self) -> bool:
        """Tell whether the trial is pruned."""
        return self.pruned

    def finished(self, progress: Progress, why: str) -> None:
        """Training is over."""
        self.why, self.seconds = why, progress.seconds


def made(trial: Trial, judge: Judge | None = None) -> Outcome:
    """Train a trial, from where it was if it has begun, and return its outcome.

    `judge` takes its reports. Raises `RecurraError` where that is not the trial's own failure.
    """
    watching = Watching(judge if trial.reports else None)
    try:
        run = _trained(trial, watching)
    except Interrupted:
        if not watching.pruned or watching.folder is None:
            raise
        watching.folder.note_unjudged("pruned")
        return {"state": "pruned", "validations": watching.number}
    except RecurraError as error:
        if not _is_its_own(error, trial):
            raise
        return {"state": "failed", "why": "; ".join(each.fact for each in error.problems)}

    validation = _validation(run)
    if not trial.judged:
        return {
            "state": "done",
            "metrics": _kept(run),
            "validation": validation,
            "validations": watching.number,
            "parameters": sum(weight.numel() for weight in run.network.parameters()),
            "seconds": watching.seconds,
            "ended": watching.why,
            "run": run.path.name,
        }
    result: Any = run.result
    return {
        "state": "done",
        "metrics": final_metrics(result),
        "judged": result.get("judged"),
        "split": result["split"],
        "validation": validation,
        "parameters": result["parameters"],
        "steps": result["steps"],
        "weights_of_step": result["weights_of_step"],
        "ended": result["ended"],
        "run": run.path.name,
    }


def _is_its_own(error: RecurraError, trial: Trial) -> bool:
    """Tell whether an error is the failure of a trial."""
    codes = [problem.code for problem in error.problems]
    if isinstance(error, RunError):
        return all(code in OF_THE_TRIAL for code in codes)
    own = (*OF_THE_TRIAL, *OF_ITS_VALUES)
    return trial.drawn and isinstance(error, InputError) and all(code in own for code in codes)


def _trained(trial: Trial, watching: Watching) -> Run:
    """Return the run of a trial: a new one, or the one that has begun, to its end."""
    home = Path(trial.home)
    begun = RunFolder.begun(home)
    if begun is not None:
        watching.folder = begun
        with sharing.held(begun):
            return go_on(begun, changed(begun, ()), watching, judged=trial.judged)
    resolved = resolve(Path(trial.task), trial.overrides)
    execution = None if trial.execution is None else Execution(**trial.execution)
    ready = prepared(resolved, None, execution)
    watching.folder = RunFolder.create(home.parent, home.name)
    return ready.trained(watching.folder, watching, judged=trial.judged)


def _validations(run: Run) -> list[dict[str, Any]]:
    """Return the records of validation."""
    return [record for record in run.metrics() if record["split"] == "validation"]


def _validation(run: Run) -> float | None:
    """Return the best figure of validation, of what the task monitors; nothing where is none."""
    monitor = run.task.training.monitor
    figure = known(run.resolved.target, type(run.answers), run.resolved.levels)[monitor]
    values = [float(record[monitor]) for record in _validations(run) if monitor in record]
    numbers = [value for value in values if math.isfinite(value)]
    return min(numbers, key=figure.cost, default=None)


def _kept(run: Run) -> dict[str, float]:
    """Return what validation has measured of the weights that are kept as the best."""
    step = run.folder.checkpoints.index().get("best")
    for record in _validations(run):
        if record["step"] == step and not record.get("final"):
            beside = ("step", "epoch", "split")
            return {name: float(value) for name, value in record.items() if name not in beside}
    return {}
