"""A space against its task: each value is taken by it before there is any trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recurra.comparing.folder import Direction
from recurra.comparing.planning import varied
from recurra.compatibility import check_compatibility
from recurra.errors import InputError, Problem, RecurraError, listing, nearest
from recurra.resolved import Resolved
from recurra.spec import checking
from recurra.sweeping.domains import Choices, Domain
from recurra.sweeping.space import Spaced
from recurra.train.metrics import free_figures, known

COSTS = ("parameters", "seconds")
"""What may be made small beside figures of validation: weights, and seconds of training."""
FIXED = {
    "seed": "a sweep sets it itself: seeds in the space's file says how many a trial has",
    "name": "it names the folder",
    "plugins": "the components of all trials come from them",
    "expect": "it changes no trial",
    "track": "it changes no trial",
    "device.threads": "each trial has one thread",
    "training.monitor": "what is compared would be something else",
    "training.keep_checkpoints": "it changes no figure",
    "sequence.split": "figures would be of other data",
    "sequence.split_by": "figures would be of other data",
    "source": "figures would be of other data",
    "target.kind": "figures would be of another question",
}
"""Why a key, or all keys of a table, are not to be varied."""
MOST_PAIRS = 600
"""Pairs of values that are held against a task."""


@dataclass(frozen=True)
class Checked:
    """A space that its task takes: its domains as the task reads them, and what is judged."""

    base: Resolved
    domains: list[Domain]
    metrics: dict[str, Direction]


def checked(task: Any, overrides: Any, spaced: Spaced) -> Checked:
    """Hold a space against a task. Raises `InputError` with every problem at once."""
    base = varied(task, overrides, {})
    check_compatibility(base)
    problems: list[Problem] = []
    domains: list[Domain] = []
    for domain in spaced.domains:
        why = _fixed(domain.name)
        if why:
            fact = f"{domain.name} is not to be varied: {why}"
            problems.append(Problem("RC013", fact, domain.name, spaced.place(domain)))
            continue
        domain, faults = _fitting(task, overrides, spaced, domain)
        domains.append(domain)
        problems += _with_condition(faults, domain, spaced.domains)
    if not problems:
        problems += _pairs(task, overrides, spaced, domains)
    problems += _size(spaced, domains)
    metrics, faults = _metrics(base, spaced, domains)
    if problems or faults:
        raise InputError([*problems, *faults])
    return Checked(base, domains, metrics)


def _fixed(name: str) -> str:
    """Return why a key is not to be varied, or nothing."""
    for key, why in FIXED.items():
        if name == key or name.startswith((f"{key}.", f"{key}[")):
            return why
    return ""


def _fitting(
    task: Any, overrides: Any, spaced: Spaced, domain: Domain
) -> tuple[Domain, list[Problem]]:
    """Return a domain as the task reads it, and what the task has against its values."""
    given = {name: values[0] for name, values in domain.when.items()}
    for value in domain.tried():
        resolved, problems = _tried(task, overrides, spaced, domain, {**given, domain.name: value})
        if resolved is None:
            return domain, problems
        read: Any = resolved.tables()
        for part in checking.path_of(domain.name):
            read = read.get(part) if isinstance(read, dict) else None
        if isinstance(read, float) and not isinstance(domain.model, Choices):
            return domain.floating(), []
    return domain, []


def _pairs(task: Any, overrides: Any, spaced: Spaced, domains: list[Domain]) -> list[Problem]:
    """Return what a task has against values of one key beside another kind of component."""
    problems: list[Problem] = []
    asked = 0
    for values, domain in _beside_kinds(domains):
        asked += 1
        if asked > MOST_PAIRS:
            break
        if any(problem.key == domain.name for problem in problems):
            continue
        (kind, choice), *_ = ((n, v) for n, v in values.items() if n != domain.name)
        _, faults = _tried(task, overrides, spaced, domain, values)
        beside = f"beside {kind} = {checking.literal(choice)}: "
        faults = [replace(each, fact=beside + each.fact) for each in faults]
        problems += _with_condition(faults, domain, domains)
    return problems


def _with_condition(
    problems: list[Problem], domain: Domain, domains: Sequence[Domain]
) -> list[Problem]:
    """Return problems of a key that belongs to one kind, and the space chooses among several."""
    kind = domain.name.rpartition(".")[0] + ".kind"
    if all(each.name != kind for each in domains):
        return problems
    cure = f'when = {{ "{kind}" = [...] }} names the kinds with which it is there'
    return [replace(each, cure=cure) if each.code == "RC011" else each for each in problems]


def _beside_kinds(domains: list[Domain]) -> Iterator[tuple[dict[str, Any], Domain]]:
    """Give each value of a key beside each kind that the space chooses of something else."""
    kinds = [d for d in domains if d.name.endswith(".kind") and isinstance(d.model, Choices)]
    for kind in kinds:
        for choice in kind.tried():
            for domain in domains:
                chosen = {kind.name: choice}
                if domain is kind or not set(domain.when) <= {kind.name}:
                    continue
                if domain.is_there(chosen):
                    for value in domain.tried():
                        yield {**chosen, domain.name: value}, domain


def _tried(
    task: Any, overrides: Any, spaced: Spaced, domain: Domain, values: Mapping[str, Any]
) -> tuple[Resolved | None, list[Problem]]:
    """Return the task with values, or what it has against them, at their place in the space."""
    try:
        resolved = varied(task, overrides, values, "the space")
        check_compatibility(resolved)
    except RecurraError as error:
        place = spaced.place(domain)
        got = checking.literal(values[domain.name])
        return None, [
            replace(each, key=domain.name, place=place, got=each.got or got)
            for each in error.problems
        ]
    return resolved, []


def _size(spaced: Spaced, domains: list[Domain]) -> list[Problem]:
    """Return a problem for each domain without an end in a grid, or of a grid that is too large."""
    if spaced.space.sampler.kind != "grid":
        return []
    problems, size = [], 1.0
    for domain in domains:
        size *= domain.count
        if domain.count == float("inf"):
            fact = f"{domain.name} has values without number, and a grid has each of them"
            cure = "give it a step, or a list of values"
            problems.append(Problem("RC014", fact, domain.name, spaced.place(domain), cure=cure))
    if not problems and size > 100_000:
        fact = f"the grid has {size:,.0f} points"
        place = spaced.document.place(("space",))
        problems.append(Problem("RC013", fact, "space", place, allowed="100,000 points"))
    return problems


def _metrics(
    base: Resolved, spaced: Spaced, domains: list[Domain]
) -> tuple[dict[str, Direction], list[Problem]]:
    """Return what is judged, and which way it is good; or what is wrong with it."""
    monitor = base.task.training.monitor
    free = free_figures(base.target, base.answers)
    every = known(base.target, base.answers, base.levels)
    # What the network answers by itself is measured in validation only where it is monitored.
    absent = set() if monitor in free else free
    figures = {name: figure for name, figure in every.items() if name not in absent}
    place = spaced.document.place(("metrics",))
    names = spaced.space.metrics or [monitor]
    metrics: dict[str, Direction] = {}
    problems = []
    for name in names:
        if name in COSTS and name not in figures:
            metrics[name] = Direction(higher=False)
            continue
        if name in figures:
            metrics[name] = Direction(higher=figures[name].higher, aim=figures[name].aim)
            continue
        names_there = [*figures, *COSTS]
        fact = f"a validation of this task gives no {name!r}"
        cure = f'training.monitor = "{name}" has it measured' if name in absent else ""
        close = nearest(name, names_there)
        allowed = listing(names_there)
        problems.append(Problem("RC013", fact, "metrics", place, name, allowed, close, cure))
    if "loss" in metrics:
        for domain in domains:
            if domain.name == "loss" or domain.name.startswith("loss."):
                fact = f"{domain.name} is varied, and losses are no figure to compare them by"
                allowed = listing(name for name in figures if name != "loss")
                where = spaced.place(domain)
                cure = "name another figure in metrics"
                problems.append(Problem("RC014", fact, domain.name, where, "", allowed, "", cure))
    first = next(iter(metrics), None)
    if first in COSTS and spaced.space.pruner.kind != "none":
        fact = f"{first} is no figure of validation, by which a trial could be pruned"
        problems.append(Problem("RC014", fact, "pruner", spaced.document.place(("pruner",))))
    return metrics, problems
