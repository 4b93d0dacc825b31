"""The plan of a comparison: widths for the budget, paths chosen once, times taken in turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy
import torch

import recurra
from recurra.attribution import blaming
from recurra.comparing.costs import (
    COSTS,
    Timed,
    at_width,
    flops,
    in_turns,
    layers,
    parameters,
    share_of_time,
    state,
)
from recurra.comparing.folder import Direction, Plan, PlannedVariant
from recurra.comparing.variants import Variant, check_stack, slug
from recurra.comparing.widths import Width, nearest_width
from recurra.compatibility import check_compatibility, expectable
from recurra.data.reads import reading_once
from recurra.errors import InputError, Problem, listing
from recurra.job.build import build_optimizer
from recurra.job.data import Data, load_data
from recurra.job.fresh import Prepared, prepared
from recurra.job.paths import Execution
from recurra.job.summary import measure, memory
from recurra.model.device import arithmetic
from recurra.resolve import resolve
from recurra.resolved import Resolved
from recurra.spec.overrides import Said, key_of, leaves, overriding
from recurra.spec.spelling import dotted
from recurra.train import optimizer as optimizers
from recurra.trials.pool import Ahead

MATCHES = ("parameters", "state", "flops", "time", "none")
"""What may be made equal of the recurrent layers; of time that of the whole network."""
WITHIN = {"time": 0.2}
"""The share of a budget by which it may be missed, by what is matched."""
OTHERWISE = 0.1
NEAR, AROUND = 0.05, 3
"""Where a time is missed by more, so many widths on either side of the nearest are looked at.

It does not grow smoothly.
"""
APART = 1_000_000
"""How far the seed with which learning rates are tried is from the first that is judged."""
STEP = math.sqrt(10)
"""Between two neighbouring learning rates that are tried."""

ONE_THREAD = {"device.threads": 1}
"""What every trial has: as many as there are cores are trained beside each other."""

Telling = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class Question:
    """What is asked for: the variants, over which seeds, at which budget, judged by what."""

    variants: list[Variant]
    cells: Sequence[str] = ()
    seeds: int = 5
    match: str = "parameters"
    metric: str | None = None
    rates: int = 0


@dataclass
class Planned:
    """A plan, and the tasks of its variants."""

    plan: Plan
    tasks: list[Resolved]


@reading_once
def planned(
    task: Any,
    overrides: Mapping[str, Any] | Sequence[str],
    question: Question,
    tell: Telling,
    ahead: Ahead | None = None,
) -> Planned:
    """Return the plan of a comparison. Raises `InputError` for all that can be refused of it.

    Processes of its trials begin `ahead`, while the data is read, and are idle while paths and
    steps are timed.
    """
    base = resolve(task, overrides)
    check_data(base)
    check_stack(base, question.cells, question.match != "none")
    tasks = [
        varied(task, overrides, variant.overrides, f"variant {variant.name}")
        for variant in question.variants
    ]
    for each in tasks:
        check_stack(each, (), question.match != "none")

    if ahead is not None:
        ahead.begin(len(tasks) * max(question.seeds, question.rates))
    with blaming(tasks[0]), arithmetic(tasks[0].task.device):
        check_compatibility(tasks[0])
        load_data(tasks[0])
    if ahead is not None:
        ahead.wait()

    readied: list[Prepared] = []
    errors: list[float | None] = []
    reference: Reference | None = None
    for variant, resolved in zip(question.variants, tasks, strict=True):
        with blaming(resolved), arithmetic(resolved.task.device):
            ready = prepared(resolved)
            if reference is None:
                reference = Reference(question.match, ready)
            matched = None
            if question.match != "none":
                matched = reference.matched(variant.name, ready)
                if matched.width != _hidden(resolved):
                    variant.overrides["cell.hidden_size"] = matched.width
                    ready = prepared(varied(task, overrides, variant.overrides))
        readied.append(ready)
        errors.append(None if matched is None else matched.error)

    tell(["timing a step of each, in turns"])
    with arithmetic(readied[0].resolved.task.device):
        timed = [Timed(each.resolved, each.data, each.network) for each in readied]
        seconds = in_turns(timed)
        rows = [
            _variant(number, variant.name, ready, each, error, second)
            for number, (variant, ready, each, error, second) in enumerate(
                zip(question.variants, readied, timed, errors, seconds, strict=True), 1
            )
        ]
    return Planned(_plan(question, readied, rows), [each.resolved for each in readied])


def check_data(resolved: Resolved) -> None:
    """Refuse data that other processes cannot read. Raises `InputError` (RC080)."""
    if "data" in resolved.parts["source"].entry.component.lacks:
        fact = "data that is given in Python is in this process alone, and trials are others"
        cure = "write the data to a file, and name that in [source]"
        raise InputError([resolved.place(Problem("RC080", fact, "source.kind", cure=cure))])


def varied(task: Any, overrides: Any, changes: Mapping[str, Any], by: str = "") -> Resolved:
    """Return a task with some keys changed, and one thread. Raises `InputError`.

    They stand above what is overridden for all, and do not contradict it. Errors call them what
    `by` says.
    """
    asked = {
        Said(dotted(key), each.label): value
        for each in overriding(overrides)
        for key, value in leaves(each.tables)
    }
    own = {
        Said(name := dotted(key_of(key)), by or f"override {name}"): value
        for key, value in {**changes, **ONE_THREAD}.items()
    }
    kept = {key: value for key, value in asked.items() if key not in own}
    return resolve(task, kept | own)


def _hidden(resolved: Resolved) -> int | None:
    """Return the hidden size, where there is one cell."""
    if len(resolved.cells) > 1:
        return None
    return int(resolved.cells[0].options.hidden_size)


class Reference:
    """The first variant, whose recurrent layers are the budget of all."""

    def __init__(self, match: str, ready: Prepared) -> None:
        self.match = match
        self.timed: Timed | None = None
        if match == "time":
            self.timed = Timed(ready.resolved, ready.data, ready.network)
            self.budget = 1.0
        elif match != "none":
            self.budget = COSTS[match](_built(ready))
        self.options = None if match == "none" else ready.resolved.cells[0].table()

    def matched(self, name: str, ready: Prepared) -> Width:
        """Return the width that comes nearest to the budget. Raises `InputError` (RC080)."""
        resolved = ready.resolved
        if resolved.cells[0].table() == self.options and self.budget:
            return Width(int(resolved.cells[0].options.hidden_size), self.budget, 0.0)
        cost = cache(self._cost(ready))
        found = nearest_width(cost, self.budget) if self.budget else None
        within = WITHIN.get(self.match, OTHERWISE)
        if self.match == "time" and found is not None and abs(found.error) > NEAR:
            found = nearest_width(cost, self.budget, around=AROUND)
        if found is None or abs(found.error) > within:
            of = "a step's time" if self.match == "time" else f"{self.budget:,.0f} {self.match}"
            fact = f"no width gives {name} the budget of the first, {of}"
            if found is not None:
                fact += f": the nearest, {found.width}, is {found.error:+.0%} off"
            if found is not None and found.least > self.budget:
                more = found.least / self.budget - 1
                fact += f"; what it costs at any width is above the budget, by {more:.0%}"
            allowed = f"within {within:.0%}"
            cure = "change the first's cell.hidden_size, match something else, or match none"
            raise InputError.of("RC080", fact, allowed=allowed, cure=cure)
        return found

    def _cost(self, ready: Prepared) -> Callable[[int], float | None]:
        resolved = ready.resolved
        if self.timed is not None:
            return share_of_time(resolved, ready.data, self.timed)
        inputs = int(ready.network.encoder.output_size)

        def cost(width: int) -> float | None:
            task = at_width(resolved, width)
            made = None if task is None else layers(task, inputs)
            return None if made is None else COSTS[self.match](made)

        return cost


def _built(ready: Prepared) -> Sequence[Any]:
    """Return the recurrent layers of a task, built apart: what they are asked changes them."""
    made = layers(ready.resolved, int(ready.network.encoder.output_size))
    assert made is not None
    return made


def _variant(
    number: int, name: str, ready: Prepared, timed: Timed, error: float | None, seconds: float
) -> PlannedVariant:
    resolved, network = ready.resolved, ready.network
    built = _built(ready)
    recurrent, encoder = int(parameters(built)), int(parameters([network.encoder]))
    total = sum(weight.numel() for weight in network.parameters())
    _, activations = measure(network, timed.batch, resolved.task.sequence.length)
    optimizer = build_optimizer(resolved, network)
    return PlannedVariant(
        name=name,
        folder=slug(number, name),
        hidden_size=_hidden(resolved),
        encoder=encoder,
        recurrent=recurrent,
        head=total - recurrent - encoder,
        state=int(state(built)),
        flops=int(flops(built)),
        memory=memory(network, optimizer, activations).total,
        error=error,
        seconds=seconds,
        rate=rate_of(resolved),
        execution=asdict(Execution.chosen(ready.choices)),
        notes=resolved.notes,
    )


def rate_of(resolved: Resolved) -> float | None:
    """Return the learning rate of a task: the one it says, or the optimizer's own."""
    kind, arguments = optimizers.chosen(resolved.task.training.optimizer)
    rate = arguments.get("lr", optimizers.options_of(kind).model_fields["lr"].default)
    return float(rate) if isinstance(rate, int | float) else None


def _plan(question: Question, readied: list[Prepared], rows: list[PlannedVariant]) -> Plan:
    first = readied[0]
    resolved, data = first.resolved, first.data
    figures = expectable(resolved)
    if question.metric is not None and question.metric not in figures:
        fact = f"this task has no figure {question.metric!r}"
        raise InputError.of("RC080", fact, allowed=listing(figures))
    fingerprints = {each.data.store.fingerprint for each in readied}
    return Plan(
        task=resolved.task.name,
        match=question.match,
        metric=question.metric,
        figures={
            name: Direction(higher=each.higher, aim=each.aim) for name, each in figures.items()
        },
        monitor=resolved.task.training.monitor,
        seeds=[resolved.task.seed + number for number in range(question.seeds)],
        tuning_seed=resolved.task.seed + APART,
        rates=_rates(question.rates, readied, data),
        fingerprint=" ".join(sorted(fingerprints)),
        versions=versions(),
        plugins=resolved.local_hashes(),
        variants=rows,
    )


def _rates(count: int, readied: list[Prepared], data: Data) -> list[float]:
    """Return the learning rates that are tried of each variant: half decades round the first's.

    Raises `InputError` (RC080) where nothing tells which is best.
    """
    if not count:
        return []
    if not data.splits["validation"].steps:
        fact = "learning rates are judged on validation, and this task has none"
        cure = "give sequence.split a validation share, or leave tune-lr out"
        raise InputError.of("RC080", fact, cure=cure)
    rate = rate_of(readied[0].resolved)
    if not rate:
        raise InputError.of("RC080", "the optimizer of this task has no learning rate to tune")
    return [float(f"{rate * STEP ** (at - (count - 1) / 2):.4g}") for at in range(count)]


def versions() -> dict[str, str]:
    """Return what figures depend on, beside the task."""
    return {
        "recurra": recurra.__version__,
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }
