"""How a new plugin, and what is wrong with those that are installed, is printed."""

from __future__ import annotations

from pathlib import Path

from recurra.cli.common import counted
from recurra.doctor import Finding, Report


def written(name: str, folder: Path, paths: list[Path]) -> None:
    """Print what was written, and what to do next."""
    names = [str(path.relative_to(folder)) for path in paths]
    print(f"wrote {folder}: {', '.join(names)}")

    print("next:")
    print(f"  cd {folder}")
    print("  pip install -e '.[test]'")
    print("  pytest")
    print(f"  recurra run {name}.toml")


def report(report: Report) -> None:
    """Print each finding with its cure, faults first, and count them in the last line."""
    for finding in (*report.faults, *report.notes):
        _print_finding(finding)

    plugins = counted(report.plugins, "plugin")
    components = counted(report.components, "component")
    faults = counted(len(report.faults), "fault")
    notes = counted(len(report.notes), "note")
    print(f"{plugins}, {components}: {faults}, {notes}")


def _print_finding(finding: Finding) -> None:
    kind = "fault" if finding.fault else "note"
    print(f"{kind}: {finding.about}: {finding.fact}")
    if finding.cure:
        print(f"  to mend it: {finding.cure}")
