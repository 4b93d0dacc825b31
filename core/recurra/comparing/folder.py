"""One comparison's folder, `compares/<task>/<n>/`: the plan, the journal, and the runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recurra import system
from recurra.errors import InputError
from recurra.runs import files
from recurra.runs.records import LOCK, Model, reading
from recurra.trials.journal import Journal

RECORD = "plan.json"
"""What tells a comparison's folder from others."""
AGAIN = "compare the task again"


class Direction(Model):
    """What is good of a figure: to be small, to be high, or to be near an aim."""

    higher: bool
    aim: float | None = None

    @property
    def falls(self) -> bool:
        """Whether it, or its distance from an aim, is good where it is small."""
        return self.aim is not None or not self.higher

    def cost(self, value: float) -> float:
        """Return what is to become small."""
        if self.aim is not None:
            return abs(value - self.aim)
        return -value if self.higher else value


class PlannedVariant(Model):
    """A variant with all that was decided of it before the first trial.

    `recurrent` counts the weights of its recurrent layers; `error` is how far its budget is missed,
    as a share of that of the first; `seconds` are those of a step forward and back, timed in turns.
    """

    name: str
    folder: str
    hidden_size: int | None
    encoder: int
    recurrent: int
    head: int
    state: int
    flops: int
    memory: int
    error: float | None
    seconds: float
    rate: float | None
    execution: dict[str, Any]
    notes: list[str] = []


class Plan(Model):
    """plan.json: what is compared, by what, in which seeds, and of which data."""

    task: str
    match: str
    metric: str | None
    """The figure that was asked for; none leaves it to the task's own verdict."""
    figures: dict[str, Direction]
    monitor: str
    seeds: list[int]
    tuning_seed: int
    rates: list[float] = []
    """Learning rates that are tried of each; none where all have the task's own."""
    fingerprint: str
    versions: dict[str, str]
    plugins: dict[str, list[str]] = {}
    variants: list[PlannedVariant]


class CompareFolder:
    """A comparison's folder.

    plan.json            what was asked and decided
    <variant>.toml       the whole resolved task of a variant
    journal.jsonl        a line for each finished trial, see `recurra.trials.journal`
    <variant>/seed-0/1/  the run of a trial
    comparison.json      the table and the verdict
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self.journal = Journal(path / "journal.jsonl")

    def begin(self) -> None:
        """Write the plan, which makes the folder a comparison's. Raises `RunError` (RC053)."""
        files.write_json(self.path / RECORD, self.plan.model_dump(mode="json"))

    @classmethod
    def open(cls, path: Path) -> CompareFolder:
        """Open a folder. Raises `RunError` (RC052)."""
        with reading(path / RECORD, AGAIN):
            plan = Plan.model_validate(files.read_json(path / RECORD))
        return cls(path, plan)

    @staticmethod
    def found(path: Path) -> Path | None:
        """Return the comparison of a folder: itself, or the newest in it, if there is one."""
        return files.newest(path, lambda each: (each / RECORD).is_file())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from going on with it meanwhile. Raises `InputError` (RC055)."""
        try:
            with system.locked(self.path / LOCK, "nothing keeps a second process from it"):
                yield
        except system.Held as error:
            fact = f"another process goes on with {self.path}"
            raise InputError.of("RC055", fact, cure="wait for it to end") from error
