"""What the suite tells: a record for each check, and a report of them all."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from recurra.testing.check import SUITE, Level, Verdict

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
GOOD = ("PASS", "WAIVED", "N/A")


@dataclass(frozen=True)
class Record:
    """What became of one check.

    `value` was measured on the worst set of `options`, and must not be above `bound`.
    """

    id: str
    title: str
    verdict: Verdict
    value: float | None = None
    bound: float | None = None
    detail: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def measured(self) -> str:
        """The value beside its bound, and what it is of, in a line."""
        figures = f"{_short(self.value)}" if self.value is not None else ""
        figures += f" ({_short(self.bound)})" if self.bound is not None else ""
        return "  ".join(part for part in (figures, self.detail) if part)

    @property
    def under(self) -> str:
        """The set of options that was worst, as a task file would say it."""
        options = [f"{name} = {value!r}" for name, value in self.options.items()]
        return ", ".join(options) or "the defaults"

    def __str__(self) -> str:
        lines = [
            f"{self.id} {self.title}: {self.verdict}",
            f"  measured: {self.measured}",
            f"  options: {self.under}",
            f"  to mend it: recurra plugins explain {self.id}",
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """All records of one component, and under what they were made."""

    component: dict[str, str]
    level: Level
    records: tuple[Record, ...]
    prescribed: int
    sets: tuple[dict[str, Any], ...]
    refused: int
    seconds: float
    torch: str
    seed: int
    suite: str = SUITE

    @property
    def name(self) -> str:
        """The component's qualified name."""
        return f"{self.component['distribution']}/{self.component['name']}"

    @property
    def counts(self) -> dict[str, int]:
        """How often each verdict was given."""
        counts = Counter(record.verdict for record in self.records)
        return {verdict: counts[verdict] for verdict in VERDICTS if verdict in counts}

    @property
    def missing(self) -> int:
        """How many prescribed checks did not run."""
        return self.prescribed - len(self.records)

    @property
    def ok(self) -> bool:
        """Whether every prescribed check ran, and none failed."""
        complete = self.missing <= 0 < len(self.records)
        return complete and all(record.verdict in GOOD for record in self.records)

    def data(self) -> dict[str, Any]:
        """Return the report as plain data, for `--json`."""
        return {**asdict(self), "counts": self.counts, "missing": self.missing, "ok": self.ok}


def _short(value: float) -> str:
    """Return a figure as a person reads it."""
    return f"{value:.3g}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.1e}"
