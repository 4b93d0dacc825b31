"""Whether the parts of a task fit each other: what each gives, takes and needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recurra.contracts.cell import Cell
from recurra.contracts.component import CAPABILITIES
from recurra.contracts.declared import misdeclared
from recurra.contracts.encoder import Encoder
from recurra.contracts.loss import Loss
from recurra.contracts.source import Source
from recurra.contracts.target import Target
from recurra.contracts.vocabulary import Vocabulary
from recurra.errors import InputError, PluginError, Problem, listing
from recurra.generate.elements import ELEMENTS
from recurra.resolved import Part, Resolved
from recurra.spec.tables import MOST, Generation, Sequence, Task
from recurra.train.metrics import known

NO_METRIC = "there is no such metric here"


def check_compatibility(resolved: Resolved) -> None:
    """Check that the components fit each other and the task.

    Raises `InputError` (RC014, RC030, RC031), all at once.
    """
    parts = resolved.parts
    source, vocabulary, encoder, loss, _ = (
        _expect(parts[name], base) for name, base in _BASES.items()
    )
    offers, target = source.offers, resolved.target
    problems = []
    if vocabulary.reads not in offers:
        problems.append(
            _misfit(
                parts,
                "vocabulary",
                "source",
                f"reads {vocabulary.reads}",
                f"gives {' or '.join(offers)}",
            )
        )
    asked = "vocabulary" if target.asks == "input" else "target"
    for name, component, giver, gives in (
        ("encoder", encoder, "vocabulary", vocabulary.yields),
        ("loss", loss, asked, resolved.answers.yields),
    ):
        if gives not in component.reads:
            takes = f"takes {' or '.join(component.reads)}"
            problems.append(_misfit(parts, name, giver, takes, f"gives {gives}", resolved))
    problems += _column_problems(resolved)
    for index, cell in enumerate(resolved.cells):
        _expect(cell, Cell)
        key = resolved.cell_key(index)
        if cell.options.bidirectional and target.causal:
            name = parts["target"].entry.component.name
            fact = (
                f"target {name!r} must be causal: a cell that reads both ways has seen what it is"
                " to answer"
            )
            problems.append(
                Problem("RC031", fact, f"{key}.bidirectional", cure="leave bidirectional out")
            )
        problems += _lacking(resolved, cell, key)
    problems += _lacking(resolved, parts["encoder"], "encoder")
    problems += _generation_problems(resolved, vocabulary)
    if problems:
        raise InputError(resolved.place(problem) for problem in problems)


def _column_problems(resolved: Resolved) -> Iterator[Problem]:
    """Give a problem for a column that is asked for and not given.

    Likewise for keys that a whole sequence does not use.
    """
    target, sequence, parts = resolved.target, resolved.task.sequence, resolved.parts
    name, source = (parts[kind].entry.component.name for kind in ("target", "source"))
    if "fold" in resolved.roles:
        yield from _fold_problems(sequence, source)
    yield from _cut_problems(sequence, target, name)
    if target.asks not in ("input", *resolved.roles):
        gives = " and ".join(resolved.roles)
        fact = f"target {name!r} asks for a {target.asks}, and this {source} source gives {gives}"
        cure = f"name the column in [source]: {target.asks} = ..., if this kind can have one"
        yield Problem("RC030", fact, "target.kind", cure=cure)
    if target.scope == "step":
        if target.asks != "input" and sequence.carry:
            fact = f"target {name!r} asks for a {target.asks} a sequence, "
            fact += "and with carry a split may end within one"
            yield Problem("RC031", fact, "sequence.carry", cure="leave carry out")
        if not sequence.length:
            fact = "length is not allowed: 0 is for sequences that are answered once"
            yield Problem(
                "RC013",
                fact,
                "sequence.length",
                got="0",
                allowed=f"an integer, at least 1, at most {MOST}",
            )
        return
    for key, idle in (
        ("carry", sequence.carry),
        ("stride", sequence.stride),
        ("season", sequence.season),
    ):
        if idle:
            fact = (
                f"target {name!r} answers a sequence once, from its first step to its last: {key}"
                " has no use"
            )
            yield Problem("RC031", fact, f"sequence.{key}", cure=f"leave {key} out")


def _cut_problems(sequence: Sequence, target: Target[Any], name: str) -> Iterator[Problem]:
    """Give a problem for a way to split that the target, or a carried state, has no use for."""
    by = sequence.split_by
    if target.scope == "sequence" and by not in ("auto", "sequence"):
        fact = f"target {name!r} answers a sequence once, and split_by = {by!r} would cut it"
        yield Problem("RC031", fact, "sequence.split_by", cure="leave split_by out")
    if sequence.carry and by not in ("auto", "position"):
        fact = (
            f"with carry = true state goes on along one line of steps, and split_by = {by!r} would"
            " tear it"
        )
        yield Problem("RC014", fact, "sequence.split_by", cure="leave split_by out, or carry")


def _fold_problems(sequence: Sequence, source: str) -> Iterator[Problem]:
    """Give a problem for each key that says otherwise than the data where a sequence belongs."""
    given = f"this {source} source gives each sequence its fold"
    if sequence.split != Sequence().split:
        fact = f"{given}, and split would deal them out otherwise"
        yield Problem("RC014", fact, "sequence.split", cure="leave split out, or the fold")
    if sequence.split_by != "auto":
        fact = f"{given}, and split_by says how to deal them out"
        yield Problem("RC014", fact, "sequence.split_by", cure="leave split_by out, or the fold")
    if sequence.carry:
        fact = f"{given}, and with carry a split is one stretch of the data"
        yield Problem("RC014", fact, "sequence.carry", cure="leave carry out, or the fold")


def validates(resolved: Resolved) -> bool:
    """Tell whether there may be a validation split: which folds there are, only the data tells."""
    return bool(resolved.task.sequence.split[1]) or "fold" in resolved.roles


def needs(task: Task) -> dict[str, str]:
    """Return the capabilities that a task asks of its cells and its encoder, with the reasons."""
    asked = {"carry": "evaluation and generation go on from the state of the step before"}
    if task.sequence.carry:
        asked["resets"] = "with sequence.carry = true a new sequence can begin inside a window"
    if task.device.precision == "float64":
        asked["float64"] = 'device.precision = "float64"'
    return asked


def _lacking(resolved: Resolved, part: Part, key: str) -> list[Problem]:
    """Return a problem for each thing that the task needs and a component lacks.

    It names those of its kind that fit.
    """
    asked, component = needs(resolved.task), part.entry.component
    able = [
        e
        for e in resolved.catalog.of_kind(component.kind)
        if asked.keys().isdisjoint(e.component.lacks)
    ]
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


_BASES: dict[str, type] = {
    "source": Source,
    "vocabulary": Vocabulary,
    "encoder": Encoder,
    "loss": Loss,
    "target": Target,
}


def _expect(part: Part, base: type) -> Any:
    """Return a component's class if it keeps the contract of its kind.

    Raises `PluginError` (RC071).
    """
    target = part.entry.target
    if not (isinstance(target, type) and issubclass(target, base)):
        fact = f"{part.entry.component.target} is not a subclass of recurra.{base.__name__}"
        raise PluginError.of("RC071", f"{part.entry.qualified}: {fact}")
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if missing:
        raise PluginError.of(
            "RC071",
            f"{part.entry.qualified}: {target.__name__} does not define {', '.join(missing)}",
        )
    faults = misdeclared(target)
    if faults:
        raise PluginError(
            [Problem("RC071", f"{part.entry.qualified}: {fault}") for fault in faults]
        )
    return target


def _misfit(
    parts: dict[str, Part],
    name: str,
    other: str,
    takes: str,
    gives: str,
    resolved: Resolved | None = None,
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
    task, plain = resolved.task, Generation()  # a resolved task names every key, at its default too
    changed = [
        key
        for key in Generation.model_fields
        if getattr(task.generation, key) != getattr(plain, key)
    ]
    problems = [
        Problem("RC031", f"{name} is for symbols; numbers are forecast", f"generation.{name}")
        for name in ELEMENTS[vocabulary.yields].unused
        if name in changed
    ]
    if not resolved.target.generates:
        name = resolved.parts["target"].entry.component.name
        fact = (
            f"nothing is generated where target {name!r} is asked: its answers cannot be read as"
            " what comes next"
        )
        problems += [
            Problem("RC031", fact, f"generation.{key}", cure="leave [generation] out")
            for key in changed
        ]
    figures = known(resolved.target, resolved.answers)
    asked = ["training.monitor"] * (task.training.monitor not in figures)
    asked += [f"expect.metrics.{name}" for name in task.expect.metrics or {} if name not in figures]
    problems += [Problem("RC013", NO_METRIC, key, allowed=", ".join(figures)) for key in asked]
    if not validates(resolved):
        problems += validation_problems(task)
    return problems


def validation_problems(task: Task) -> Iterator[Problem]:
    """Give a problem for each key that needs a validation split, where there is none."""
    if task.training.schedule.kind == "plateau":
        cure = "give sequence.split a validation share, or take another schedule"
        yield Problem("RC014", "plateau needs a validation split", "training.schedule", cure=cure)
    if task.training.patience:
        cure = "give sequence.split a validation share, or leave patience out"
        yield Problem("RC014", "patience needs a validation split", "training.patience", cure=cure)
