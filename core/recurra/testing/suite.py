"""The suite: which checks a component must keep, run one by one, each with its verdict."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from recurra.catalog import Entry
from recurra.contracts.component import Component, misnamed
from recurra.errors import InputError, PluginError, Problem, listing, nearest
from recurra.testing.check import CHECKS, Broken, Check, Level, Measured, NotApplicable, Verdict
from recurra.testing.isolation import alone
from recurra.testing.option_sets import Sets, sets_of, validated
from recurra.testing.records import Record, Report
from recurra.testing.subjects import SUBJECTS
from recurra.testing.subjects.subject import SEED

MODULES = (
    "general",
    "use",
    "use_of_data",
    "cell.values",
    "cell.rows",
    "cell.state",
    "cell.gradients",
    "cell.paths",
    "cell.module",
    "cell.compilers",
    "cell.training",
    "encoder.steps",
    "encoder.streams",
    "encoder.sharing",
    "vocabulary.encoding",
    "vocabulary.unknown",
    "vocabulary.adding",
    "vocabulary.transforms",
    "vocabulary.covariates",
    "loss",
    "outputs",
    "elements",
    "distribution",
    "source.pieces",
    "source.columns",
    "source.stamps",
    "source.covariates",
    "source.other_files",
    "target.answers",
    "target.merging",
    "target.use",
    "target.ahead",
    "target.rules",
    "tracker",
)
"""The modules of `checks`, by kind."""

PRESCRIBED = {
    "cell": (35, 45),
    "encoder": (24, 24),
    "vocabulary": (26, 26),
    "loss": (24, 24),
    "source": (24, 24),
    "target": (23, 23),
    "tracker": (17, 17),
}
"""How many checks each kind is held to, at level core and full.

One that is lost is an error, and not a green run.
"""
WAIVED: Mapping[Verdict, Verdict] = MappingProxyType({"FAIL": "WAIVED", "PASS": "XPASS"})
"""What becomes of a verdict that is waived."""
HERE = str(Path(__file__).parent)


def all_checks() -> dict[str, Check]:
    """Return every check by its id, in order; the modules that hold them are imported now."""
    for name in MODULES:
        import_module(f"recurra.testing.checks.{name}")
    return dict(sorted(CHECKS.items(), key=lambda item: ("PCRVTELSK".find(item[0][0]), item[0])))


def prescribed(kind: str, level: Level = "core") -> list[Check]:
    """Return the checks that a component of a kind must keep; `full` holds those of `core` too."""
    checks = [check for check in all_checks().values() if not check.kinds or kind in check.kinds]
    return [check for check in checks if level == "full" or check.level == "core"]


def examine(
    entry: Entry,
    level: Level = "core",
    sets: Sequence[Mapping[str, Any]] | None = None,
    only: Iterable[str] | None = None,
    heard: Callable[[Record], None] | None = None,
) -> Report:
    """Run the checks of a component on its sets of options, or on those given.

    `only` names some of the checks; `heard` is told each record as it is made. Raises `InputError`
    (RC080) for a check that is not prescribed, and `PluginError` if the component cannot be
    imported (RC070), or says what no suite can hold it to (RC071).
    """
    return Examination(entry, level, sets).examine(only, heard)


class Examination:
    """One component under examination: its checks can be run one by one."""

    def __init__(
        self, entry: Entry, level: Level = "core", sets: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        with alone(SEED):
            _ = entry.target
            self.sets: Sets = sets_of(entry, sets)
        self.entry, self.level = entry, level
        self.checks = prescribed(entry.component.kind, level)
        if faults := misdeclared(entry.component):
            raise PluginError(Problem("RC071", f"{entry.qualified}: {fault}") for fault in faults)

    def examine(
        self, only: Iterable[str] | None = None, heard: Callable[[Record], None] | None = None
    ) -> Report:
        """Run the checks, all or those of these ids, and return the report.

        `heard` is told each record at once.
        """
        start = time.perf_counter()
        checks = self.chosen(only)
        records = []
        for check in checks:
            record = self.run(check)
            records.append(record)
            if heard:
                heard(record)

        expected = None if only is None else len(checks)
        return self._report(records, expected, time.perf_counter() - start)

    def chosen(self, only: Iterable[str] | None) -> list[Check]:
        """Return the checks of these ids, or all. Raises `InputError` (RC080) for an unknown id."""
        if only is None:
            return self.checks
        names = {name.upper() for name in only}
        ids = [check.id for check in self.checks]
        for name in sorted(names - set(ids)):
            fact = f"level {self.level} of a {self.entry.component.kind} has no check {name!r}"
            raise InputError.of("RC080", fact, allowed=listing(ids, 99), nearest=nearest(name, ids))
        return [check for check in self.checks if check.id in names]

    def run(self, check: Check) -> Record:
        """Run one check on each set of options, or on the first; the record is of the worst."""
        start = time.perf_counter()
        tables = self.sets.checked if check.each else self.sets.checked[:1]
        record = max((self._on(check, table) for table in tables), key=_badness)

        # A waiver is for what fails: one that is needed no more is told, so that it goes.
        verdict, detail = record.verdict, [record.detail]
        if reason := self.entry.component.waivers.get(check.id):
            verdict = WAIVED.get(verdict, verdict)
            detail.append(f"waived: {reason}")
        seconds = round(time.perf_counter() - start, 3)
        return replace(
            record, verdict=verdict, detail="; ".join(filter(None, detail)), seconds=seconds
        )

    def _on(self, check: Check, table: dict[str, Any]) -> Record:
        """Run one check on one set of options."""
        try:
            with alone(SEED):
                options = validated(self.entry, table)
                make = SUBJECTS[self.entry.component.kind]
                subject = make(self.entry, options, table, self.sets.corners)
                measured = check.measure(subject) or Measured()
            verdict: Verdict = "PASS" if measured.passed else "FAIL"
        except NotApplicable as error:
            verdict, measured = "N/A", Measured(detail=str(error))
        except Broken as error:
            verdict, measured = "FAIL", Measured(detail=str(error))
        except (Exception, SystemExit) as error:
            # What is raised in the component's code is its failure, in ours an error of the suite.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            verdict = "ERROR" if frame.filename.startswith(HERE) else "FAIL"
            message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            measured = Measured(detail=f"{message} ({frame.filename}:{frame.lineno})")
        return Record(
            check.id, check.title, verdict, measured.value, measured.bound, measured.detail, table
        )

    def _report(self, records: Iterable[Record], expected: int | None, seconds: float) -> Report:
        """Return the report of these records; `expected` is their number, else all prescribed."""
        component, plugin = self.entry.component, self.entry.plugin
        named = {
            "kind": component.kind,
            "name": component.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "api": component.api,
        }
        count = PRESCRIBED[component.kind][self.level == "full"] if expected is None else expected
        sets, refused = self.sets.checked, self.sets.refused
        made = tuple(records)
        return Report(
            named,
            self.level,
            made,
            count,
            sets,
            refused,
            round(seconds, 3),
            torch.__version__,
            SEED,
        )


def _badness(record: Record) -> tuple[int, float]:
    """Return the order of records: errors, failures, passes by margin, not applicable."""
    order = ("N/A", "PASS", "FAIL", "ERROR").index(record.verdict)
    return order, Measured(record.value, record.bound).margin


def misdeclared(component: Component) -> list[str]:
    """Return what is wrong with the capabilities, claims and waivers that a component declares."""
    checks = all_checks()
    faults = [fault for fault in [misnamed(component)] if fault]
    for name in component.waivers:
        check = checks.get(name)
        if check is None:
            faults.append(f"a waiver names check {name!r}, which does not exist")
        elif check.kinds and component.kind not in check.kinds:
            faults.append(f"a waiver names check {name}, which is not for a {component.kind}")
        elif check.firm:
            faults.append(f"a waiver names check {name} ({check.title}), which cannot be waived")
    return faults
