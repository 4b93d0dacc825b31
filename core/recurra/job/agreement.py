"""Whether several processes that are to train together have the same of all that counts."""

from __future__ import annotations

import platform

from recurra.errors import Problem, RunError
from recurra.job.describe import plugins
from recurra.resolved import Resolved
from recurra.runs.folder import versions
from recurra.world import world

MOST = 5
"""Differences that are told, at most."""


def agreed(resolved: Resolved) -> None:
    """Refuse to train where a process has another version or plugin than the first.

    Raises `RunError` (RC064) in all, which
    names what each has.
    """
    here = world()
    if here.size == 1:
        return
    all_facts = here.gathered((platform.node(), _facts(resolved)))
    host, first = all_facts[0]
    problems = []
    for rank, (other, facts) in enumerate(all_facts):
        for name in dict.fromkeys([*first, *facts]):
            one, mine = first.get(name, "none"), facts.get(name, "none")
            if one != mine:
                fact = f"process {rank} of {here.size} on {other} has {name} {mine}, and the first"
                fact += f" on {host} has {one}"
                cure = "give every machine the same versions and plugins"
                problems.append(Problem("RC064", fact, cure=cure))
    if problems:
        raise RunError(problems[:MOST])


def _facts(resolved: Resolved) -> dict[str, str]:
    """Return what must be the same in all processes, by its name."""
    facts = versions()
    for line in plugins(resolved):
        facts[line["distribution"]] = line["version"]
    return facts
