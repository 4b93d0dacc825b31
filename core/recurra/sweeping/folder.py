"""One sweep's folder, `sweeps/<task>/<n>/`: the plan, Optuna's storage, and the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli_w

from recurra.comparing.folder import Direction
from recurra.errors import InputError
from recurra.runs import files
from recurra.runs.records import Model, reading

RECORD = "sweep-plan.json"
"""What tells a sweep's folder from others."""
AGAIN = "sweep the task again"


class Plan(Model):
    """sweep-plan.json: what is varied, how it is drawn and judged, and of which data."""

    task: str
    study: str
    """The name of the study in the storage: what the task and the space are, as a hash."""
    trials: int
    metrics: dict[str, Direction]
    seeds: list[int]
    space: dict[str, Any]
    fingerprint: str
    split: str
    """The split that is judged in the end."""
    versions: dict[str, str]
    plugins: dict[str, list[str]] = {}


class SweepFolder:
    """A sweep's folder.

    sweep-plan.json     what was asked and decided
    task.toml           the whole resolved task, of which trials change keys
    space.toml          the space, as it is read
    storage.jsonl       every trial with all that is known of it, as Optuna's journal keeps it
    trials/7/seed-0/1/  the run of a trial, which has no result unless it is the best
    best.toml           the task of the best trial
    sweep.json          what came of it
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self.storage = path / "storage.jsonl"
        self.task = path / "task.toml"
        self.result = path / "sweep.json"

    def begin(self, task: str) -> None:
        """Write what was decided, and the plan last, which makes the folder a sweep's.

        Raises `RunError` (RC053).
        """
        files.write_text(self.task, task)
        files.write_text(self.path / "space.toml", tomli_w.dumps(self.plan.space))
        files.write_json(self.path / RECORD, self.plan.model_dump(mode="json"))

    @property
    def is_judged(self) -> bool:
        """Whether all is made, and the best judged."""
        return self.result.exists()

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """Open a folder. Raises `RunError` (RC052)."""
        with reading(path / RECORD, AGAIN):
            plan = Plan.model_validate(files.read_json(path / RECORD))
        return cls(path, plan)

    @staticmethod
    def found(path: Path) -> Path | None:
        """Return the sweep of a folder: itself, or the newest in it, if there is one."""
        return files.newest(path, lambda each: (each / RECORD).is_file())

    def check(self, plan: Plan, task: str) -> None:
        """Refuse a folder whose sweep is another than what is asked for.

        Raises `InputError` (RC080) that says what differs.
        """
        if plan.study == self.plan.study:
            return
        with reading(self.task, AGAIN):
            same_task = self.task.read_text(encoding="utf-8") == task
        what = "space" if same_task else "task"
        if same_task and self.plan.space == plan.space:
            what = "data"
        fact = f"the sweep in {self.path} is of another {what}"
        cure = "name another folder, or give what that sweep was begun with"
        raise InputError.of("RC080", fact, cure=cure)
