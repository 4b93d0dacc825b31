"""What came of a sweep, as it is told and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from recurra.runs import files
from recurra.runs.records import reading
from recurra.sweeping.folder import AGAIN, SweepFolder


@dataclass
class Row:
    """What came of a trial: `figures` by the metrics, or why there are none."""

    number: int
    state: str
    values: dict[str, Any]
    figures: dict[str, float | None]
    why: str = ""
    runs: list[str] = field(default_factory=list)


@dataclass
class Sweep:
    """A sweep that is made: its `trials` by their numbers, the `best`, and how that was judged.

    `validation` has the figures by which it was chosen, `test` the same of the `split` on which it
    was judged, once, in the seed of the task. `front` holds the numbers of the trials that no other
    is better than in all metrics.
    """

    task: str
    metrics: dict[str, str | float]
    sampler: str
    pruner: str
    seeds: list[int]
    trials: list[Row]
    best: int
    front: list[int]
    validation: dict[str, float | None]
    test: dict[str, float | None]
    split: str
    verdict: str
    counts: dict[str, int]
    notes: list[str] = field(default_factory=list)
    run: str = ""
    folder: str = ""

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, as `--json` prints it."""
        return asdict(self)

    def record(self) -> dict[str, Any]:
        """Return what sweep.json holds: nothing of where the folder lies."""
        data = self.as_data()
        del data["folder"]
        return data


def made_of(folder: SweepFolder) -> Sweep:
    """Return what came of a sweep. Raises `RunError` (RC052)."""
    with reading(folder.result, AGAIN):
        record = files.read_json(folder.result)
        record["trials"] = [Row(**row) for row in record["trials"]]
        return Sweep(**record, folder=str(folder.path))
