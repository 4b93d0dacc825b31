"""How the findings of the contract suite are printed."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import torch

from recurra.catalog import Entry
from recurra.cli.common import counted
from recurra.errors import CODES, InputError, listing, nearest
from recurra.testing import certificate
from recurra.testing.check import LEVELS, SUITE, Check
from recurra.testing.lookup import find
from recurra.testing.records import Record, Report
from recurra.testing.subjects.subject import SEED
from recurra.testing.suite import Examination, all_checks

WORDS = {
    "PASS": "pass",
    "FAIL": "fail",
    "WAIVED": "waived",
    "XPASS": "pass against a waiver",
    "N/A": "n/a",
}
"""How the verdicts are counted in the last line."""


def check(
    name: str,
    kind: str | None,
    level: str,
    files: list[Path],
    only: list[str] | None,
    *,
    certify: bool,
    quiet: bool,
) -> list[Report]:
    """Examine what a name means, print it as it comes unless `quiet`, and return the reports.

    Raises `InputError` (RC020, RC021, RC080) and `PluginError` (RC022, RC070, RC071).
    """
    if level not in LEVELS:
        fact = f"there is no level {level!r}"
        raise InputError.of("RC080", fact, allowed=", ".join(LEVELS))
    if certify and only:
        raise InputError.of("RC080", "--certify is for all checks: leave -k out")

    reports = []
    for entry in find(name, kind, files):
        examination = Examination(entry, level)
        if quiet:
            report = examination.examine(only)
        else:
            _print_heading(entry, level)
            report = examination.examine(only, _print_record)
            _print_totals(report)

        if certify:
            path = certificate.write(entry, report)
            # With --json stdout is for the object alone.
            print(f" wrote {path}", file=sys.stderr if quiet else sys.stdout)
        reports.append(report)
    return reports


def _print_heading(entry: Entry, level: str) -> None:
    """Print which component is examined, and under what."""
    component, plugin = entry.component, entry.plugin
    version = f"{plugin.distribution} {plugin.version}"
    subject = f'{component.kind} "{component.name}"  api {component.api}'
    settings = f"suite {SUITE} {level}   torch {torch.__version__}   seed {SEED}"
    print(f"{version}  {subject}   {settings}")


def _print_record(record: Record) -> None:
    """Print one check; what did not hold says under which options, and how to go on."""
    line = f" {record.id} {record.title:42} {record.verdict:6} {record.measured}"
    if record.verdict in ("FAIL", "XPASS", "ERROR"):
        line += f"  under {record.under}   -> recurra plugins explain {record.id}"
    print(line.rstrip(), flush=True)


def _print_totals(report: Report) -> None:
    """Print the counts of a report, its sets of options, and how long it took."""
    ran = len(report.records)
    counts = _counts(report) or "none"
    sets = f"{counted(len(report.sets), 'set')} of options"
    if report.refused:
        sets += f", {report.refused} more refused by the component's own rules"

    print(f" {ran} checks: {counts}        {report.seconds:.1f} s, {sets}")
    if report.missing:
        print(f" only {ran} of the {report.prescribed} checks that are prescribed ran")


def _counts(report: Report) -> str:
    """Return how many checks came to each verdict, and why some are not applicable.

    For example `17 pass, 2 n/a (it has no gates: C11 C12)`.
    """
    counts = []
    for verdict, count in report.counts.items():
        word = WORDS.get(verdict, verdict.lower())
        counts.append(f"{count} {word}")
    text = ", ".join(counts)

    checks: dict[str, list[str]] = defaultdict(list)
    for record in report.records:
        if record.verdict == "N/A":
            checks[record.detail].append(record.id)
    if checks:
        reasons = [f"{reason}: {' '.join(ids)}" for reason, ids in checks.items()]
        text += f" ({'; '.join(reasons)})"
    return text


def explain(code: str) -> None:
    """Print the law of a check.

    Raises `InputError` (RC080) if there is no check and no error of that name.
    """
    checks = all_checks()
    if code not in checks:
        codes = [*CODES, *checks]
        fact = f"there is no code {code!r}"
        raise InputError.of(
            "RC080", fact, allowed=listing(codes, 999), nearest=nearest(code, codes)
        )
    print(explanation(checks[code]))


def explanation(check: Check) -> str:
    """Return the law of a check, whom it binds, and how to mend what breaks it."""
    kinds = f"every {' and '.join(check.kinds)}" if check.kinds else "every component"
    waiver = "cannot be waived" if check.firm else "can be waived, with a reason"
    terms = f"{kinds}; level {check.level}; since {check.since}; {waiver}"
    return f"{check.id}: {check.title} ({terms})\n\n{check.text}"
