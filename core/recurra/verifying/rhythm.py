"""What of a task is trained to prove it: as it is, or fewer updates with checkpoints among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recurra.job.report import Report
from recurra.resolved import Resolved

UPDATES = 200
"""Updates of a longer task that are made by default."""
VALIDATIONS = 4
"""Validations of a task that was shortened, where it would have fewer than two."""
CHECKPOINTS = 5
"""Checkpoints of a task that would write fewer than two before its end."""


@dataclass(frozen=True)
class Shortened:
    """The tables of a task as it is trained, how many updates, and what was changed, in lines."""

    tables: dict[str, Any]
    updates: int
    changes: list[str]


def shortened(resolved: Resolved, report: Report, limit: int | None) -> Shortened:
    """Return a task of which no more than `limit` updates are made, all where there is no limit.

    What it asks for otherwise stays: what is proved is the task. Without checkpoints before its end
    there would be nothing to go on from.
    """
    tables = resolved.tables()
    training: dict[str, Any] = tables["training"]
    asked = report.training.steps
    total = asked if limit is None else min(asked, limit)
    changes = []

    held = report.data.splits.get("validation")
    validates = held is not None and held.predicted > 0
    epoch = -(-report.training.batches_per_epoch // resolved.task.training.accumulate)
    every = resolved.task.training.validate_every or epoch
    if total < asked:
        training.pop("epochs", None)
        training["steps"] = total
        changes.append(f"training.steps: {total:,} of {asked:,} updates")
        if validates and every > total // 2:
            was = f"{every:,}" + " (an epoch)" * (not resolved.task.training.validate_every)
            every = max(1, total // VALIDATIONS)
            training["validate_every"] = every
            changes.append(f"training.validate_every: {every:,}, not {was}")

    own = resolved.task.training.checkpoint_every or (every if validates else total)
    if own > total // 3 and total > 1:
        often = max(1, total // CHECKPOINTS)
        training["checkpoint_every"] = often
        changes.append(f"training.checkpoint_every: {often:,}, which changes no bit")
    return Shortened(tables, total, changes)


STARTING = 3.0
"""Seconds that a process takes to begin, at least: it imports torch."""


def foretold(task: Shortened, report: Report, kills: int, prepared: float) -> list[str]:
    """Return what will be done, and about how long it takes, in lines.

    To read the data and to prepare the run took `prepared` seconds here.
    """
    alone = report.seconds_per_step * task.updates
    seconds = 2 * alone + (kills + 2) * (STARTING + prepared)
    times = f"{kills} time{'s' * (kills != 1)}"
    updates = f"{task.updates:,} update{'s' * (task.updates != 1)}"
    said = f"{updates}, left alone, then again, killed {times} and resumed"
    return [f"{said}: about {seconds:.0f} s", *(f"  with {change}" for change in task.changes)]
