"""Cases by name: each is drawn from its name alone, so that one that fails can be run again."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from fuzz.guard import Fault, Outcome, attempt

SHOWN = 500
"""Characters of an input that a report shows."""


@dataclass
class Case:
    """One case: what it is drawn from, its input, and what went wrong.

    It is drawn from its name, and has a folder of its own.
    """

    name: str
    folder: Path
    commons: Path
    random: Random = field(init=False)
    input: str = ""
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.name)

    def attempt(self, call: Callable[[], Any]) -> Outcome:
        """Make a watched call, and keep what is wrong with it."""
        outcome = attempt(call, self.folder, self.commons / "cache", self.commons / "kernels")
        self.faults += outcome.faults
        return outcome

    def fault(self, kind: str, detail: str) -> None:
        """Put on record what only the caller can tell to be wrong."""
        self.faults.append(Fault(kind, detail))


Family = Callable[[Case], None]
"""Draws an input from a case and tries it."""


@dataclass
class Report:
    """All faults of some cases, by kind."""

    cases: int = 0
    kinds: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)

    def add(self, case: Case) -> None:
        """Take in what a case has come to."""
        self.cases += 1
        for fault in case.faults:
            self.kinds.setdefault(fault.kind, []).append((case.name, fault.detail, case.input))

    def __str__(self) -> str:
        """A line a kind, the most frequent first; then the first case of each, with its input."""
        kinds = sorted(self.kinds.items(), key=lambda item: -len(item[1]))
        rows = [
            f"{self.cases} cases, {len(kinds)} kinds of faults; `python -m fuzz NAME` in tests/"
            " runs one again"
        ]
        rows += [f"{len(seen):6}  {kind}   {seen[0][0]}" for kind, seen in kinds]

        for kind, seen in kinds:
            name, detail, text = seen[0]
            rows += ["", f"== {kind}", f"{name}: {detail}", text[:SHOWN]]
        return "\n".join(rows)


def survey(
    family: Family,
    numbers: Iterable[Any],
    commons: Path,
    until: float = math.inf,
    report: Report | None = None,
) -> Report:
    """Run the cases of a family with these numbers, until it is too late; return all faults.

    What `commons` holds is made once and shared; each case has a folder of its own, for as long as
    it lasts.
    """
    report = report or Report()
    before = Path.cwd()
    world = {"RECURRA_CACHE": str(commons / "cache"), "RECURRA_MEASURE": "0"}

    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as base,
        mock.patch.dict(os.environ, world),
        mock.patch.object(os, "fsync"),  # what is made here need not last
        mock.patch("recurra.engine.build.kernel_folder", lambda: commons / "kernels"),
    ):
        for number in numbers:
            if time.monotonic() > until:
                break

            case = Case(f"{family.__name__}/{number}", Path(base) / "case", commons)
            case.folder.mkdir(parents=True)
            os.chdir(case.folder)
            try:
                family(case)
            finally:
                os.chdir(before)
                shutil.rmtree(case.folder, ignore_errors=True)
            report.add(case)
    return report
