"""How the findings of the contract suite are printed."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import torch

from recurra.catalog import Entry
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
        raise InputError.of("RC080", f"there is no level {level!r}", allowed=", ".join(LEVELS))
    if certify and only:
        raise InputError.of("RC080", "--certify is for all checks: leave -k out")
    reports = []
    for entry in find(name, kind, files):
        examination = Examination(entry, level)
        if not quiet:
            _heading(entry, level)
        report = examination.examine(only, None if quiet else _record)
        if not quiet:
            _totals(report)
        if certify:
            path = certificate.write(entry, report)
            print(f" wrote {path}", file=sys.stderr if quiet else sys.stdout)
        reports.append(report)
    return reports


def _heading(entry: Entry, level: str) -> None:
    """Print which component is examined, and under what."""
    component, plugin = entry.component, entry.plugin
    print(
        f'{plugin.distribution} {plugin.version}  {component.kind} "{component.name}"  api'
        f" {component.api}   suite {SUITE} {level}   torch {torch.__version__}   seed {SEED}"
    )


def _record(found: Record) -> None:
    """Print one check; what did not hold says under which options, and how to go on."""
    line = f" {found.id} {found.title:42} {found.verdict:6} {found.measured}"
    if found.verdict in ("FAIL", "XPASS", "ERROR"):
        line += f"  under {found.under}   -> recurra plugins explain {found.id}"
    print(line.rstrip(), flush=True)


def _totals(report: Report) -> None:
    """Print the counts of a report, with the reasons of what is not applicable, and how long it
    took.
    """
    counts = ", ".join(
        f"{count} {WORDS.get(verdict, verdict.lower())}" for verdict, count in report.counts.items()
    )
    reasons: dict[str, list[str]] = defaultdict(list)
    for found in report.records:
        if found.verdict == "N/A":
            reasons[found.detail].append(found.id)
    if reasons:
        counts += " (" + "; ".join(f"{why}: {' '.join(ids)}" for why, ids in reasons.items()) + ")"
    sets = f"{len(report.sets)} set{'s' if len(report.sets) > 1 else ''} of options"
    if report.refused:
        sets += f", {report.refused} more refused by the component's own rules"
    print(
        f" {len(report.records)} checks: {counts or 'none'}        {report.seconds:.1f} s, {sets}"
    )
    if report.missing:
        print(
            f" only {len(report.records)} of the {report.prescribed} checks that are prescribed ran"
        )


def explain(code: str) -> None:
    """Print the law of a check. Raises `InputError` (RC080) if there is no check and no error of
    that name.
    """
    checks = all_checks()
    if code not in checks:
        known = [*CODES, *checks]
        fact = f"there is no code {code!r}"
        raise InputError.of(
            "RC080", fact, allowed=listing(known, 999), nearest=nearest(code, known)
        )
    print(explanation(checks[code]))


def explanation(check: Check) -> str:
    """Return the law of a check, whom it binds, and how to mend what breaks it."""
    kinds = f"every {' and '.join(check.kinds)}" if check.kinds else "every component"
    waiver = "cannot be waived" if check.firm else "can be waived, with a reason"
    first = (
        f"{check.id}: {check.title} ({kinds}; level {check.level}; since {check.since}; {waiver})"
    )
    return f"{first}\n\n{check.text}"
