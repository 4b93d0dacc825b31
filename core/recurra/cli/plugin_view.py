"""How a new plugin, and what is wrong with those that are installed, is printed."""

from __future__ import annotations

from pathlib import Path

from recurra.doctor import Finding, Report


def written(name: str, folder: Path, paths: list[Path]) -> None:
    """Print what was written, and what to do next."""
    print(f"wrote {folder}: {', '.join(str(path.relative_to(folder)) for path in paths)}")
    print(f"next:\n  cd {folder}\n  pip install -e '.[test]'\n  pytest\n  recurra run {name}.toml")


def report(found: Report) -> None:
    """Print each finding with its cure, faults first, and count them in the last line."""
    for finding in (*found.faults, *found.notes):
        _finding(finding)
    counts = (found.plugins, "plugin"), (found.components, "component")
    looked = ", ".join(_counted(*count) for count in counts)
    print(f"{looked}: {_counted(len(found.faults), 'fault')}, {_counted(len(found.notes), 'note')}")


def _finding(finding: Finding) -> None:
    print(f"{'fault' if finding.fault else 'note'}: {finding.about}: {finding.fact}")
    if finding.cure:
        print(f"  to mend it: {finding.cure}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
