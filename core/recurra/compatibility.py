"""Whether the parts of a task fit each other: what each gives, takes and needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from recurra.contracts.cell import Cell
from recurra.contracts.component import CAPABILITIES
from recurra.contracts.declared import misdeclared
from recurra.contracts.encoder import Encoder
from recurra.contracts.loss import Loss
from recurra.contracts.metric import Figure
from recurra.contracts.source import FUTURE, OF_STEPS, PAST, Source
from recurra.contracts.target import Target
from recurra.contracts.tracker import Tracker
from recurra.contracts.vocabulary import Vocabulary
from recurra.errors import InputError, PluginError, Problem, listing
from recurra.generate import levels as written
from recurra.generate.elements import ELEMENTS
from recurra.resolved import Part, Resolved
from recurra.spec.tables import MOST, TRACK, Generation, Sequence, Task
from recurra.train.metrics import expected_figures, known

NO_METRIC = "there is no such metric here"
TAKES_WHOLE = {
    "sequence": "answers a sequence once",
    "answer": "takes a sequence with its answer as a whole",
}
"""What a target does that cuts no sequence, by its scope."""
GIVES_ANSWERS = {
    "step": "its answers cannot be read as what comes next",
    "sequence": "its answers cannot be read as what comes next",
    "answer": "it answers whole prompts, and goes on with none",
}
"""Why nothing is generated, by the scope of a target."""


def check_compatibility(resolved: Resolved) -> None:
    """Check that the components fit each other and the task.

    Raises `InputError` (RC014, RC030, RC031), all at once.
    """
    parts = resolved.parts
    classes = {name: _expect(parts[name], base) for name, base in _BASES.items()}
    vocabulary = classes["vocabulary"]

    problems = _misfits(resolved, classes)
    problems += _column_problems(resolved)
    problems += _covariate_problems(resolved, vocabulary)
    for index, cell in enumerate(resolved.cells):
        _expect(cell, Cell)
        key = resolved.cell_key(index)
        if cell.options.bidirectional and resolved.target.causal:
            problems.append(_both_ways(resolved, key))
        problems += _lacking(resolved, cell, key)
    problems += _lacking(resolved, parts["encoder"], "encoder")
    problems += _generation_problems(resolved, vocabulary)
    problems += tracker_problems(resolved)
    if problems:
        raise InputError(resolved.place(problem) for problem in problems)


def _misfits(resolved: Resolved, classes: dict[str, Any]) -> list[Problem]:
    """Return a problem for each component that cannot take what another gives it."""
    problems = []
    offers = classes["source"].offers
    vocabulary = classes["vocabulary"]
    if vocabulary.reads not in offers:
        takes = f"reads {vocabulary.reads}"
        gives = f"gives {' or '.join(offers)}"
        problems.append(_misfit(resolved, "vocabulary", "source", takes, gives))

    kind = classes["target"]
    if kind.scope == "answer" and vocabulary.yields not in (kind.answers,):
        takes = f"answers with {kind.answers}"
        gives = f"gives {vocabulary.yields}"
        problems.append(_misfit(resolved, "target", "vocabulary", takes, gives))

    if vocabulary.yields not in kind.takes:
        takes = f"asks for {' or '.join(kind.takes)}"
        gives = f"gives {vocabulary.yields}"
        problems.append(_misfit(resolved, "target", "vocabulary", takes, gives))

    # The loss is about the answers, which are the elements themselves or a column of their own.
    answerer = "vocabulary" if resolved.target.asks == "input" else "target"
    for name, giver, elements in (
        ("encoder", "vocabulary", vocabulary.yields),
        ("loss", answerer, resolved.answers.yields),
    ):
        reads = classes[name].reads
        if elements in reads:
            continue
        fitting = [entry for entry in resolved.catalog.of_kind(name) if entry.takes(elements)]
        allowed = ", ".join(entry.component.name for entry in fitting)
        takes = f"takes {' or '.join(reads)}"
        problems.append(_misfit(resolved, name, giver, takes, f"gives {elements}", allowed))
    return problems


def _misfit(
    resolved: Resolved, name: str, giver: str, takes: str, gives: str, allowed: str = ""
) -> Problem:
    component = resolved.parts[name].entry.component
    other = resolved.parts[giver].entry.component
    fact = f"{name} {component.name!r} {takes}, but {giver} {other.name!r} {gives}"
    return Problem("RC030", fact, f"{name}.kind", allowed=allowed)


def _both_ways(resolved: Resolved, key: str) -> Problem:
    """Return the problem of a cell that reads both ways where no step may see what follows."""
    name = resolved.parts["target"].entry.component.name
    fact = (
        f"target {name!r} must be causal: a cell that reads both ways has seen what it is to answer"
    )
    cure = "leave bidirectional out"
    if "causal" in type(resolved.parts["target"].options).model_fields:
        cure += ", or target.causal = false"
    return Problem("RC031", fact, f"{key}.bidirectional", cure=cure)


def _column_problems(resolved: Resolved) -> Iterator[Problem]:
    """Give a problem for a column that is asked for and not given.

    Likewise for keys that a whole sequence does not use.
    """
    target = resolved.target
    sequence = resolved.task.sequence
    name = resolved.parts["target"].entry.component.name
    source = resolved.parts["source"].entry.component.name
    if "fold" in resolved.roles:
        yield from _fold_problems(sequence, source)
    yield from _cut_problems(sequence, target, name)
    if target.asks not in ("input", *resolved.roles):
        gives = " and ".join(resolved.roles)
        article = "an" if target.asks[0] in "aeiou" else "a"
        fact = (
            f"target {name!r} asks for {article} {target.asks}, and this {source} source gives"
            f" {gives}"
        )
        cure = f"name the column in [source]: {target.asks} = ..., if this kind can have one"
        yield Problem("RC030", fact, "target.kind", cure=cure)
    if target.scope == "step":
        yield from _step_problems(sequence, target, name)
    else:
        yield from _idle_problems(sequence, f"target {name!r} {TAKES_WHOLE[target.scope]}")


def _covariate_problems(resolved: Resolved, vocabulary: type[Vocabulary[Any]]) -> Iterator[Problem]:
    """Give a problem for each covariate that cannot be read, or not where nobody knows it."""
    roles, target = resolved.covariates, resolved.target
    if roles and not ELEMENTS[vocabulary.yields].accompanied:
        name = resolved.parts["vocabulary"].entry.component.name
        fact = f"covariates are read beside numbers, and vocabulary {name!r} gives symbols"
        yield from (Problem("RC030", fact, f"source.{role}", cure="leave it out") for role in roles)
        return
    if resolved.calendar and not ELEMENTS[vocabulary.yields].accompanied:
        name = resolved.parts["vocabulary"].entry.component.name
        fact = f"features of stamps are read beside numbers, and vocabulary {name!r} gives symbols"
        yield Problem("RC030", fact, "source.calendar", cure="leave it out")
        return

    name = resolved.parts["target"].entry.component.name
    if FUTURE in roles and not resolved.asks_ahead:
        fact = f"target {name!r} asks nothing of a step to come, of which these are known before"
        cure = "name them as past_covariates: they are then read with their own step"
        yield Problem("RC031", fact, f"source.{FUTURE}", cure=cure)
    generation = resolved.task.generation
    alone = target.generates and not target.ahead
    if PAST in roles and alone and generation.length > 1:
        fact = (
            "nobody knows the past covariates of a step that is forecast, so that none after it can"
            " be"
        )
        cure = "generation.length = 1, or 0: figures are then of one step ahead; or name as"
        cure += " future_covariates what is known before"
        got = str(generation.length)
        yield Problem("RC031", fact, "generation.length", got=got, cure=cure)
    if (roles or resolved.calendar) and generation.prompt is not None:
        what = "covariates" if roles else "time stamps"
        fact = f"a prompt of the task has no {what} beside it"
        cure = "leave it out: the end of the data is gone on from; or give one in Python"
        yield Problem("RC031", fact, "generation.prompt", cure=cure)


def _step_problems(sequence: Sequence, target: Target[Any], name: str) -> Iterator[Problem]:
    """Give a problem for each key that a target of steps cannot do with."""
    if target.seasonal and not sequence.season:
        fact = f"target {name!r} says again what came a season ago, and there is no season"
        cure = "give the steps of a season, or another residual"
        yield Problem("RC014", fact, "sequence.season", cure=cure)
    if target.last_origin and sequence.carry:
        fact = f"target {name!r} has one origin a sequence: its last, and carry has no use"
        yield Problem("RC031", fact, "sequence.carry", cure="leave carry out")
    whole = target.asks != "input" and target.asks not in OF_STEPS
    if whole and sequence.carry:
        fact = f"target {name!r} asks for a {target.asks} a sequence, "
        fact += "and with carry a split may end within one"
        yield Problem("RC031", fact, "sequence.carry", cure="leave carry out")
    if target.at_once:
        yield from _at_once_problems(sequence, name)
    elif not sequence.length:
        fact = "length is not allowed: 0 is for sequences that are answered once"
        allowed = f"an integer, at least 1, at most {MOST}"
        yield Problem("RC013", fact, "sequence.length", got="0", allowed=allowed)


def _at_once_problems(sequence: Sequence, name: str) -> Iterator[Problem]:
    """Give a problem for each key that would cut a sequence that is read in one window."""
    fact = f"target {name!r} lets a step see what follows it, so that each sequence is one window:"
    for key in ("carry", "stride"):
        if getattr(sequence, key):
            cure = f"leave {key} out, or target.causal = true"
            yield Problem("RC031", f"{fact} {key} has no use", f"sequence.{key}", cure=cure)
    by = sequence.split_by
    if by not in ("auto", "sequence"):
        cure = "leave split_by out, or target.causal = true"
        fact = f"{fact} split_by = {by!r} would cut it"
        yield Problem("RC031", fact, "sequence.split_by", cure=cure)


def _idle_problems(sequence: Sequence, why: str) -> Iterator[Problem]:
    """Give a problem for each key that a target of whole sequences has no use for, and `why`."""
    for key in ("carry", "stride", "season"):
        if getattr(sequence, key):
            fact = f"{why}, from its first step to its last: {key} has no use"
            yield Problem("RC031", fact, f"sequence.{key}", cure=f"leave {key} out")


def _cut_problems(sequence: Sequence, target: Target[Any], name: str) -> Iterator[Problem]:
    """Give a problem for a way to split that the target, or a carried state, has no use for."""
    by = sequence.split_by
    if target.scope in TAKES_WHOLE and by not in ("auto", "sequence"):
        whole = TAKES_WHOLE[target.scope]
        fact = f"target {name!r} {whole}, and split_by = {by!r} would cut it"
        yield Problem("RC031", fact, "sequence.split_by", cure="leave split_by out")
    if sequence.carry and by not in ("auto", "position"):
        fact = (
            f"with carry = true state goes on along one line of steps, and split_by = {by!r} would"
            " tear it"
        )
        yield Problem("RC014", fact, "sequence.split_by", cure="leave split_by out, or carry")


def _fold_problems(sequence: Sequence, source: str) -> Iterator[Problem]:
    """Give a problem for each key that says otherwise than the data where a sequence belongs."""
    dealt = f"this {source} source gives each sequence its fold"
    if sequence.split != Sequence().split:
        fact = f"{dealt}, and split would deal them out otherwise"
        yield Problem("RC014", fact, "sequence.split", cure="leave split out, or the fold")
    if sequence.split_by != "auto":
        fact = f"{dealt}, and split_by says how to deal them out"
        yield Problem("RC014", fact, "sequence.split_by", cure="leave split_by out, or the fold")
    if sequence.carry:
        fact = f"{dealt}, and with carry a split is one stretch of the data"
        yield Problem("RC014", fact, "sequence.carry", cure="leave carry out, or the fold")


def validates(resolved: Resolved) -> bool:
    """Tell whether there may be a validation split: which folds there are, only the data tells."""
    return bool(resolved.task.sequence.split[1]) or "fold" in resolved.roles


def needs(task: Task) -> dict[str, str]:
    """Return the capabilities that a task asks of its cells and its encoder, with the reasons."""
    reasons = {"carry": "evaluation and generation go on from the state of the step before"}
    if task.sequence.carry:
        reasons["resets"] = "with sequence.carry = true a new sequence can begin inside a window"
    if task.device.precision == "float64":
        reasons["float64"] = 'device.precision = "float64"'
    return reasons


def _lacking(resolved: Resolved, part: Part, key: str) -> list[Problem]:
    """Return a problem for each thing that the task needs and a component lacks.

    It names those of its kind that fit.
    """
    catalog = resolved.catalog
    component = part.entry.component
    reasons = needs(resolved.task)
    fitting = []
    for entry in catalog.of_kind(component.kind):
        if reasons.keys().isdisjoint(entry.component.lacks):
            fitting.append(catalog.name_of(entry))

    problems = []
    for capability, reason in reasons.items():
        if capability not in component.lacks:
            continue
        fact = (
            f"{component.kind} {component.name!r} lacks {capability} ({CAPABILITIES[capability]}), "
            f"which the task needs: {reason}"
        )
        problems.append(Problem("RC031", fact, f"{key}.kind", allowed=listing(fitting)))
    return problems


def check_trackers(resolved: Resolved) -> None:
    """Check that the trackers that are asked for can be told. Raises `InputError` (RC031)."""
    if problems := list(tracker_problems(resolved)):
        raise InputError(resolved.place(problem) for problem in problems)


def tracker_problems(resolved: Resolved) -> Iterator[Problem]:
    """Give a problem for each tracker that is asked for and lacks what it imports.

    Raises `PluginError` (RC071).
    """
    for index, part in enumerate(resolved.trackers):
        target = _expect(part, Tracker)
        missing = lacking_modules(target)
        if missing:
            name, needs = part.entry.component.name, " and ".join(missing)
            verb = "is" if len(missing) == 1 else "are"
            fact = f"tracker {name!r} needs {needs}, which {verb} not installed"
            yield Problem("RC031", fact, f"{TRACK}[{index}].kind", cure=target.install)


def lacking_modules(tracker: type[Tracker[Any]]) -> list[str]:
    """Return the modules that a tracker imports and that are not installed."""
    return [name for name in tracker.requires if not _there(name)]


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        # What it is a part of is not there, or was put there by hand.
        return module in sys.modules


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
    qualified = part.entry.qualified
    target = part.entry.target
    if not isinstance(target, type) or not issubclass(target, base):
        fact = f"{part.entry.component.target} is not a subclass of recurra.{base.__name__}"
        raise PluginError.of("RC071", f"{qualified}: {fact}")
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if missing:
        fact = f"{target.__name__} does not define {', '.join(missing)}"
        raise PluginError.of("RC071", f"{qualified}: {fact}")
    faults = misdeclared(target)
    if faults:
        raise PluginError([Problem("RC071", f"{qualified}: {fault}") for fault in faults])
    return target


def _generation_problems(resolved: Resolved, vocabulary: type[Vocabulary[Any]]) -> list[Problem]:
    """Return the problems of [generation], and of the figures that the task names."""
    task = resolved.task
    # A resolved task names every key, at its default too.
    plain = Generation()
    changed = []
    for key in Generation.model_fields:
        if getattr(task.generation, key) != getattr(plain, key):
            changed.append(key)

    problems = []
    for key in ELEMENTS[vocabulary.yields].unused:
        if key in changed:
            own = ELEMENTS[vocabulary.yields]
            fact = f"{key} is for {own.other}, and {own.name} are {own.followed}"
            problems.append(Problem("RC031", fact, f"generation.{key}"))
    if resolved.target.conformal != "none" and "levels" in ELEMENTS[vocabulary.yields].unused:
        fact = "target.conformal is about forecasts of numbers, and symbols are drawn"
        problems.append(Problem("RC031", fact, "target.conformal"))
    if not resolved.target.generates:
        name = resolved.parts["target"].entry.component.name
        fact = (
            f"nothing is generated where target {name!r} is asked:"
            f" {GIVES_ANSWERS[resolved.target.scope]}"
        )
        cure = "leave [generation] out"
        problems += [Problem("RC031", fact, f"generation.{key}", cure=cure) for key in changed]

    ahead, length = resolved.target.ahead, task.generation.length
    if ahead and length > ahead:
        name = resolved.parts["target"].entry.component.name
        fact = f"target {name!r} answers {ahead} steps, and {length} are to be generated"
        cure = f"leave length out, or target.length = {length}"
        problems.append(Problem("RC031", fact, "generation.length", cure=cure))

    figures = known(resolved.target, resolved.answers, resolved.levels)
    if task.training.monitor not in figures:
        allowed = ", ".join(figures)
        problems.append(Problem("RC013", NO_METRIC, "training.monitor", allowed=allowed))
    figures = expectable(resolved)
    for name in task.expect.metrics or {}:
        if name not in figures:
            key, allowed = f"expect.metrics.{name}", ", ".join(figures)
            problems.append(Problem("RC013", NO_METRIC, key, allowed=allowed))
    if not validates(resolved):
        problems += validation_problems(task)
    return problems


def expectable(resolved: Resolved) -> dict[str, Figure]:
    """Return each figure that a run of a task may end with, those of intervals among them."""
    levels = resolved.task.generation.levels or written.DEFAULT
    told = written.chances(sorted(levels)) if resolved.target.conformal != "none" else ()
    return expected_figures(resolved.target, resolved.answers, resolved.levels, told)


def validation_problems(task: Task) -> Iterator[Problem]:
    """Give a problem for each key that needs a validation split, where there is none."""
    if task.training.schedule.kind == "plateau":
        cure = "give sequence.split a validation share, or take another schedule"
        yield Problem("RC014", "plateau needs a validation split", "training.schedule", cure=cure)
    if task.training.patience:
        cure = "give sequence.split a validation share, or leave patience out"
        yield Problem("RC014", "patience needs a validation split", "training.patience", cure=cure)
