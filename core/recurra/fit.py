"""Whether the parts of a task fit each other: what each gives and takes, and what the task needs of a cell."""

from __future__ import annotations

from typing import Any

from recurra.contracts.cell import Cell
from recurra.contracts.component import CAPABILITIES
from recurra.contracts.declared import misdeclared
from recurra.contracts.encoder import Encoder
from recurra.contracts.loss import Loss
from recurra.contracts.source import Source
from recurra.contracts.vocabulary import Vocabulary
from recurra.errors import InputError, PluginError, Problem, listing
from recurra.resolve import Part, Resolved
from recurra.spec.tables import Generation, Task
from recurra.train.metrics import known

NO_METRIC = "there is no such metric here"


def check_fit(resolved: Resolved) -> None:
    """Check that the components fit each other and the task. Raises `InputError` (RC014, RC030, RC031), all at once."""
    parts = resolved.parts
    vocabulary, encoder, loss = (_expect(parts[name], base) for name, base in _BASES.items() if name != "source")
    offers = _expect(parts["source"], Source).offers
    problems = []
    if vocabulary.reads not in offers:
        problems.append(
            _misfit(parts, "vocabulary", "source", f"reads {vocabulary.reads}", f"gives {' or '.join(offers)}")
        )
    for name, component in (("encoder", encoder), ("loss", loss)):
        if vocabulary.yields not in component.reads:
            takes = f"takes {' or '.join(component.reads)}"
            problems.append(_misfit(parts, name, "vocabulary", takes, f"gives {vocabulary.yields}", resolved))
    for index, cell in enumerate(resolved.cells):
        _expect(cell, Cell)
        key = resolved.cell_key(index)
        if cell.options.bidirectional:
            fact = 'target = "next" must be causal: a cell that reads both ways has seen what it predicts'
            problems.append(Problem("RC031", fact, f"{key}.bidirectional", cure="leave bidirectional out"))
        problems += _lacking(resolved, cell, key)
    problems += _lacking(resolved, parts["encoder"], "encoder")
    problems += _generation_problems(resolved, vocabulary)
    if problems:
        raise InputError(resolved.place(problem) for problem in problems)


def needs(task: Task) -> dict[str, str]:
    """Return the capabilities that a task asks of its cells and its encoder, each with the reason."""
    asked = {"carry": "evaluation and generation go on from the state of the step before"}
    if task.sequence.carry:
        asked["resets"] = "with sequence.carry = true a new sequence can begin inside a window"
    if task.device.precision == "float64":
        asked["float64"] = 'device.precision = "float64"'
    return asked


def _lacking(resolved: Resolved, part: Part, key: str) -> list[Problem]:
    """Return a problem for each thing that the task needs and a component lacks, with those of its kind that fit."""
    asked, component = needs(resolved.task), part.entry.component
    able = [e for e in resolved.catalog.of_kind(component.kind) if asked.keys().isdisjoint(e.component.lacks)]
    allowed = listing(resolved.catalog.name_of(entry) for entry in able)
    return [
        Problem(
            "RC031",
            f"{component.kind} {component.name!r} lacks {capability} ({CAPABILITIES[capability]}), "
            f"which the task needs: {reason}",
            f"{key}.kind",
            allowed=allowed,
        )
        for capability, reason in asked.items()
        if capability in component.lacks
    ]


_BASES: dict[str, type] = {"source": Source, "vocabulary": Vocabulary, "encoder": Encoder, "loss": Loss}


def _expect(part: Part, base: type) -> Any:
    """Return a component's class if it keeps the contract of its kind. Raises `PluginError` (RC071)."""
    target = part.entry.target
    if not (isinstance(target, type) and issubclass(target, base)):
        fact = f"{part.entry.component.target} is not a subclass of recurra.{base.__name__}"
        raise PluginError.of("RC071", f"{part.entry.qualified}: {fact}")
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if missing:
        raise PluginError.of("RC071", f"{part.entry.qualified}: {target.__name__} does not define {', '.join(missing)}")
    faults = misdeclared(target)
    if faults:
        raise PluginError([Problem("RC071", f"{part.entry.qualified}: {fault}") for fault in faults])
    return target


def _misfit(
    parts: dict[str, Part], name: str, other: str, takes: str, gives: str, resolved: Resolved | None = None
) -> Problem:
    mine, theirs = (parts[n].entry.component.name for n in (name, other))
    allowed = ""
    if resolved is not None:
        wanted = gives.removeprefix("gives ")
        fitting = [e for e in resolved.catalog.of_kind(name) if e.takes(wanted)]
        allowed = ", ".join(e.component.name for e in fitting)
    fact = f"{name} {mine!r} {takes}, but {other} {theirs!r} {gives}"
    return Problem("RC030", fact, f"{name}.kind", allowed=allowed)


def _generation_problems(resolved: Resolved, vocabulary: type[Vocabulary[Any]]) -> list[Problem]:
    task = resolved.task
    problems = []
    symbolic = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop")
    if vocabulary.yields == "numbers":
        plain = Generation()  # a resolved task names every key, at its default too
        changed = [name for name in symbolic if getattr(task.generation, name) != getattr(plain, name)]
        problems += [
            Problem("RC031", f"{name} is for symbols; numbers are forecast", f"generation.{name}") for name in changed
        ]
    figures = known(vocabulary)
    asked = ["training.monitor"] * (task.training.monitor not in figures)
    asked += [f"expect.metrics.{name}" for name in task.expect.metrics or {} if name not in figures]
    problems += [Problem("RC013", NO_METRIC, key, allowed=", ".join(figures)) for key in asked]
    if task.training.schedule.kind == "plateau" and not task.sequence.split[1]:
        cure = "give sequence.split a validation share, or take another schedule"
        problems.append(Problem("RC014", "plateau needs a validation split", "training.schedule", cure=cure))
    if task.training.patience and not task.sequence.split[1]:
        cure = "give sequence.split a validation share, or leave patience out"
        problems.append(Problem("RC014", "patience needs a validation split", "training.patience", cure=cure))
    return problems
