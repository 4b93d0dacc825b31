"""Checks of a target: what it asks, which steps are scored, and how good an answer is.

They came in with version 1.1 of the suite, as targets did.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from recurra.contracts.declared import misdeclared
from recurra.contracts.metric import LOSS, Figure, Metric, Metrics
from recurra.contracts.target import Target, Window
from recurra.testing.answers import demand
from recurra.testing.check import Broken, Measured, NotApplicable, check
from recurra.testing.measure import EXACT, FLOAT64, gaps, worst
from recurra.testing.questions import Case, drawn, outputs, perfect, relative
from recurra.testing.subjects.target import TargetSubject

Pair: TypeAlias = tuple[Tensor, Tensor]
"""Outputs, and the answers to them."""

SINCE = "1.1"
POOLINGS = ("last", "mean", "max", "attention")
MANY, PARTS = 40, [1, 7, 12, 20]
"""Answers that are measured, and the parts in which they come."""
ROUNDING = 1e-9
"""How far beyond its bounds a figure may lie, and how much better than right be a wrong answer."""


@check("T01", "it says what it asks", "target", firm=True, since=SINCE)
def declared(subject: TargetSubject) -> None:
    """`asks`, `scope`, `reach` and `generates` are of their types, and agree; so is `pooling`.

    An element is answered after it was read only by copying it: where the input is asked, `reach`
    is 1 or more, and the target is `causal`. Of whole sequences something else than the input is
    asked, and there is no step past which an answer could lie. What `generates` is answered at each
    step by the next element. The core cuts its windows by these before anything is trained: a wrong
    one gives a network that is asked what it has just been told. To mend it: set them on the class,
    and let only `causal` and `pooling` hang on options.
    """
    kind, target = subject.entry.target, subject.target()
    faults = misdeclared(kind)
    demand(not faults, "; ".join(faults))
    demand(
        target.pooling in POOLINGS,
        f"pooling is {target.pooling!r:.40}, not one of {', '.join(POOLINGS)}",
    )
    demand(isinstance(target.causal, bool), f"causal is {target.causal!r:.40}, not True or False")
    own, whole = kind.asks == "input", kind.scope == "sequence"
    if whole:
        demand(
            not own,
            "it answers a sequence once, and asks for its elements: a column must say what",
        )
        demand(
            not kind.reach,
            f"a sequence that is answered once has no step {kind.reach} steps past another",
        )
    elif own:
        demand(kind.reach > 0, "reach is 0: an element is its own answer, which has just been read")
        demand(target.causal, "it asks for elements that a network which reads both ways has seen")
    if kind.generates:
        goes_on = own and not whole and kind.reach == 1
        demand(goes_on, "it generates, and its answers are not the next elements")


@check("T02", "what is scored is a row's own", "target", firm=True, since=SINCE)
def scored_steps(subject: TargetSubject) -> None:
    """`scored` gives bool `[B, T]` on the window's device: the same alone, among others, and cut.

    A window is cut wherever memory asks for it, and evaluated beside rows that chance puts there;
    each row says where in its sequence it begins. Flags that count from the start of the window, or
    look at the whole batch, score other steps with each batch size, and every figure with them.
    What it is given it only reads, and what it has said stays said. To mend it: ask `position`
    where in the sequence a step stands, and decide step by step.
    """
    if subject.by_sequence:
        raise NotApplicable("it answers whole sequences")
    for case in subject.cases():
        target, window = subject.target(), _window(case)
        held = [part.clone() for part in window]
        flags = subject.scored(target, window)
        first = flags.clone()
        same = all(torch.equal(part, other) for part, other in zip(window, held, strict=True))
        demand(
            same and not any(part._version for part in window),
            f"{case.reads}: scored changes what it is given",
        )

        alone = [Window(*(part[i : i + 1] for part in window)) for i in range(len(flags))]
        rows = [subject.scored(target, row) for row in alone]
        demand(
            torch.equal(torch.cat(rows), first),
            f"{case.reads}: a row alone is scored otherwise than among others",
        )
        for at in range(1, first.shape[1]):
            parts = torch.cat([subject.scored(target, part) for part in _cut(window, at)], dim=1)
            demand(
                torch.equal(parts, first),
                f"{case.reads}: cut at step {at}, a window is scored otherwise",
            )
        demand(torch.equal(flags, first), f"{case.reads}: flags that were given change afterwards")
        _on_another_device(subject, target, window)


def _window(case: Case) -> Window:
    """Return three rows of twelve steps, at the start of a sequence and in its midst."""
    draw = torch.Generator().manual_seed(5)
    shape = (3, 12)
    x, answers = (_elements(kind, shape, draw) for kind in (case.vocabulary, case.answers))
    return Window(x, answers, torch.tensor([0, 7, 100]))


def _elements(vocabulary: Any, shape: tuple[int, int], draw: torch.Generator) -> Tensor:
    return DRAWN[vocabulary.yields](vocabulary.size, shape, draw)


def _ids(size: int, shape: tuple[int, int], draw: torch.Generator) -> Tensor:
    return torch.randint(size, shape, generator=draw)


def _rows(size: int, shape: tuple[int, int], draw: torch.Generator) -> Tensor:
    return torch.randn(*shape, size, generator=draw, dtype=torch.float64)


DRAWN = {"symbols": _ids, "numbers": _rows}


def _cut(window: Window, at: int) -> tuple[Window, Window]:
    """Return a window as two: up to a step, and from it on."""
    before = Window(window.x[:, :at], window.answers[:, :at], window.position)
    return before, Window(window.x[:, at:], window.answers[:, at:], window.position + at)


def _on_another_device(subject: TargetSubject, target: Target[Any], window: Window) -> None:
    """Raise `Broken` if flags of a window on another device stand elsewhere.

    One that must see the values of a window cannot be asked there.
    """
    try:
        subject.scored(target, Window(*(part.to("meta") for part in window)))
    except (RuntimeError, NotImplementedError):
        return


@check("T03", "an answer changes the score, and no output", "target", firm=True, since=SINCE)
def answers_are_no_input(subject: TargetSubject) -> Measured:
    """Another answer in the data changes no output, to the bit, and every metric sees it.

    The network must not be told what it is asked. And a figure that is the same whatever came, such
    as how sure the network was, says nothing of how right it was. To mend it: leave `x` of a window
    as it is, and compare outputs with answers in `add`.
    """
    found = []
    for case in subject.cases():
        target, other = subject.target(), case.answered_otherwise()
        network = case.network(target)
        before, after = (outputs(each, target, network) for each in (case, other))
        found.append(Measured(gaps(after, before, "outputs"), EXACT, f"{case.reads}, outputs"))
        _, answers = drawn(case, MANY)
        wrong = (answers + 1) % case.answers.size if case.kind == "symbols" else answers + 1
        output = perfect(case, answers)
        for metric in subject.metrics(target, case):
            right = _figures(subject, metric, case, (output, answers))
            missed = _figures(subject, metric, case, (output, wrong))
            demand(
                right != missed,
                f"{metric.__name__} says the same of right and of wrong answers: {right}"[:200],
            )
    return worst(found)


def _figures(subject: TargetSubject, metric: type[Metric], case: Case, *pairs: Pair) -> Metrics:
    return subject.values(subject.filled(metric, case, *pairs), metric.__name__)


def _each_metric(subject: TargetSubject) -> Iterator[tuple[Case, type[Metric]]]:
    """Give what is measured of each kind of answers: symbols, one column of numbers, and two."""
    cases = [case for width in (1, 2) for case in subject.cases(width)]
    for case in {(case.kind, case.answers.size): case for case in cases}.values():
        for metric in subject.metrics(subject.target(), case):
            yield case, metric


@check("T04", "every figure is there, within its bounds", "target", firm=True, since=SINCE)
def figures_are_made(subject: TargetSubject) -> None:
    """Each figure that `figures` names comes, is finite, and lies from `least` to `most`.

    No other comes; what `detail` gives beside them is plain JSON, and the figures of columns are of
    the same names. Validation watches a figure by its name, `[expect]` holds a run to it, and a
    table shows its bounds: one that is not there, or is beyond them, is an error at the end of a
    training. To mend it: name in `figures` what `values` gives, with bounds that it keeps.
    """
    for case in subject.cases():
        metrics = subject.metrics(subject.target(), case)
        names = [figure.name for metric in metrics for figure in subject.figures_of(metric, case)]
        twice = [name for name, times in Counter([LOSS.name, *names]).items() if times > 1]
        demand(not twice, f"there are two figures called {twice[:1]}")
    for case, metric in _each_metric(subject):
        named = {figure.name: figure for figure in subject.figures_of(metric, case)}
        output, answers = drawn(case, MANY)
        sums = subject.filled(metric, case, (output, answers))
        found = subject.values(sums, metric.__name__)
        demand(
            found.keys() >= named.keys(),
            f"{metric.__name__} gives no {sorted(named.keys() - found.keys())[:1]}",
        )
        rows = [
            found,
            *(_figures(subject, metric, case, pair) for pair in _hard(case, output, answers)),
        ]
        rows += [dict(column.metrics()) for column in sums.columns()]
        for row in rows:
            _within(metric, named, row)
        _plain(metric, sums.detail())


def _hard(case: Case, output: Tensor, answers: Tensor) -> Iterator[Pair]:
    """Give what careless figures fail at: all right, all wrong, one alone, all alike, float32."""
    yield perfect(case, answers), answers
    yield perfect(case, answers.roll(1, 0)), answers
    yield output[:1], answers[:1]
    yield output, answers[:1].expand(answers.shape).clone()
    yield output.float(), answers.float() if case.kind == "numbers" else answers


def _within(metric: type[Metric], named: dict[str, Figure], row: Metrics) -> None:
    """Raise `Broken` if a figure has no name, is no number, or lies beyond its bounds."""
    for name, value in row.items():
        demand(name in named, f"{metric.__name__} gives {name!r:.40}, which figures does not name")
        figure = named[name]
        demand(math.isfinite(value), f"{name} is {value}")
        slack = ROUNDING * max(1.0, abs(value))
        inside = figure.least - slack <= value <= figure.most + slack
        demand(inside, f"{name} is {value:g}, not between {figure.least:g} and {figure.most:g}")


def _plain(metric: type[Metric], detail: Any) -> None:
    """Raise `Broken` if what is more than numbers is no plain JSON."""
    demand(
        isinstance(detail, dict),
        f"detail of {metric.__name__} gives {type(detail).__name__}, not a table",
    )
    try:
        text = json.dumps(detail, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Broken(f"detail of {metric.__name__} gives what is no plain JSON: {error}") from error
    demand(json.loads(text) == detail, f"detail of {metric.__name__} is another one after JSON")


@check("T05", "figures are made of sums", "target", firm=True, since=SINCE)
def sums(subject: TargetSubject) -> Measured:
    """However answers are split, in whatever order they come, the figures are the same within 1e-9.

    Two that are filled in turns do not mix, being asked changes nothing, and what is added is only
    read: the next metric is given the same tensors. A batch is as large as memory allows, and a
    mean of means weighs a short one as much as a long one. To mend it: add up in `add`, divide in
    `values`, and keep the sums on the instance.
    """
    found = []
    for case, metric in _each_metric(subject):
        output, answers = drawn(case, MANY)
        whole = _figures(subject, metric, case, (output, answers))
        pieces = list(zip(torch.split(output, PARTS), torch.split(answers, PARTS), strict=True))
        turned = output.flip(0), answers.flip(0)
        rows = {"in parts": _in_turns(subject, metric, case, pieces)}
        rows["in parts the other way round"] = _figures(subject, metric, case, *reversed(pieces))
        rows["backwards"] = _figures(subject, metric, case, turned)
        for name, row in rows.items():
            demand(
                row.keys() == whole.keys(),
                f"{metric.__name__}, {name}: other figures than of the whole",
            )
            what = f"{case.reads}, {metric.__name__}, {name}"
            found.append(Measured(relative(row, whole), FLOAT64, what))
        sums = metric(case.answers, case.scale)
        sums.add(output, answers)
        written = output._version or answers._version
        demand(not written, f"{metric.__name__} changes what is added")
    return worst(found)


def _in_turns(
    subject: TargetSubject,
    metric: type[Metric],
    case: Case,
    pieces: list[Pair],
) -> Metrics:
    """Return the figures of pieces that are asked for in between, while others are filled too."""
    mine, others = metric(case.answers, case.scale), metric(case.answers, case.scale)
    for output, answers in pieces:
        mine.add(output.clone(), answers.clone())
        others.add(*drawn(case, MANY, salt=3))
        mine.values(), mine.detail(), others.values()
    return subject.values(mine, metric.__name__)


@check("T06", "what is right is best", "target", firm=True, since=SINCE)
def right_is_best(subject: TargetSubject) -> None:
    """No prediction has a better figure than those that are right, by what it calls better.

    `higher` tells early stopping, a sweep and the verdict which of two values to prefer: one that
    is turned round keeps the worst network of a training. To mend it: `Figure(name, higher=True)`
    where more is better.
    """
    for case, metric in _each_metric(subject):
        _, answers = drawn(case, MANY)
        right = _figures(subject, metric, case, (perfect(case, answers), answers))
        others = [drawn(case, MANY, salt)[0] for salt in (1, 2)]
        others += [perfect(case, answers.roll(1, 0)), -perfect(case, answers)]
        for output in others:
            row = _figures(subject, metric, case, (output, answers))
            for figure in subject.figures_of(metric, case):
                if figure.name not in row or figure.name not in right:
                    continue
                best, cost = (figure.cost(values[figure.name]) for values in (right, row))
                values = f"{row[figure.name]:g} for others, {right[figure.name]:g} for right"
                holds = best <= cost + ROUNDING * max(1.0, abs(cost))
                demand(holds, f"{figure.name}: {values}")
