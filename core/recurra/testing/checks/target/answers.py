"""Checks of a target: what it asks, which steps are scored, and how good an answer is.

They came in with version 1.1 of the suite, as targets did.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import torch
from torch import Tensor

from recurra.contracts.declared import misdeclared
from recurra.contracts.metric import LOSS, Figure, Metric, Metrics
from recurra.contracts.target import Target, Window
from recurra.contracts.vocabulary import Vocabulary
from recurra.testing.answers import demand
from recurra.testing.check import Broken, Measured, NotApplicable, check
from recurra.testing.measure import EXACT, FLOAT64, gaps, worst
from recurra.testing.questions import Case, drawn, freely, given, outputs, perfect, placed, relative
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
    step by the next element, or by several from it on: what looks `ahead` is asked for numbers
    alone, the input's own. An answer that follows is asked of the role "answer", one step ahead
    and in symbols, by a causal network, and `at_most` is a whole number from 0. The core cuts its
    windows by these before anything is trained: a wrong one gives a network that is asked what it
    has just been told. To mend it: set them on the class, and let only `causal` and `pooling` hang
    on options.
    """
    kind, target = subject.entry.target, subject.target()
    faults = misdeclared(kind)
    demand(not faults, "; ".join(faults))
    fact = f"pooling is {target.pooling!r:.40}, not one of {', '.join(POOLINGS)}"
    demand(target.pooling in POOLINGS, fact)
    fact = f"causal is {target.causal!r:.40}, not True or False"
    demand(isinstance(target.causal, bool), fact)

    # Whether the elements themselves are the answers, and whether each sequence has but one.
    own = kind.asks == "input"
    whole = kind.scope == "sequence"
    fact = "an answer follows where the scope and the column asked are both `answer`"
    demand((kind.scope == "answer") == (kind.asks == "answer"), fact)
    if kind.scope == "answer":
        fact = f"an answer that follows is read one step ahead, and reach is {kind.reach}"
        demand(kind.reach == 1, fact)
        demand(target.causal, "an answer that follows is asked of what came before it alone")
        demand(kind.answers == "symbols", "an answer that follows is made of symbols")
        _sound_limit(target)
    elif whole:
        fact = "it answers a sequence once, and asks for its elements: a column must say what"
        demand(not own, fact)
        fact = f"a sequence that is answered once has no step {kind.reach} steps past another"
        demand(not kind.reach, fact)
    elif own:
        demand(kind.reach > 0, "reach is 0: an element is its own answer, which has just been read")
        demand(target.causal, "it asks for elements that a network which reads both ways has seen")
    _sound_ahead(target)
    if kind.generates:
        goes_on = own and not whole and kind.reach == 1
        demand(goes_on, "it generates, and its answers are not the next elements")


DECODERS = ("linear", "cell")
"""What may give the answers of a target that looks ahead."""


def _sound_ahead(target: Target[Any]) -> None:
    """Raise `Broken` if what is answered by several elements is not what can be."""
    kind, ahead = type(target), target.ahead
    whole = isinstance(ahead, int) and not isinstance(ahead, bool) and ahead >= 0
    demand(whole, f"ahead is {ahead!r:.40}, not a whole number from 0")
    fact = f"decoder is {target.decoder!r:.40}, and answers come of one of {', '.join(DECODERS)}"
    demand(target.decoder in DECODERS, fact)
    for name in ("last_origin", "seasonal", "added"):
        value = getattr(target, name)
        demand(isinstance(value, bool), f"{name} is {value!r:.40}, not True or False")
        demand(
            bool(ahead) or not value, f"{name} is of a target that looks ahead, and this is none"
        )
    if ahead:
        next_ones = kind.asks == "input" and kind.scope == "step" and kind.reach == 1
        demand(
            next_ones, "several elements answer a step from the next one on: asks input, reach 1"
        )
        fact = f"several numbers can answer a step, and takes is {kind.takes!r:.60}"
        demand(tuple(kind.takes) == ("numbers",), fact)


def _sound_limit(target: Target[Any]) -> None:
    """Raise `Broken` if the most symbols of an answer are no whole number from 0."""
    for longest in (0, 1, 7, 1000):
        limit = target.at_most(longest)
        whole = isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0
        demand(whole, f"at_most({longest}) is {limit!r:.40}, not a whole number from 0")


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
        target = subject.target()
        window = _window(case, target.ahead)
        before = [part.clone() for part in window]
        flags = subject.scored(target, window)
        first = flags.clone()
        pairs = zip(window, before, strict=True)
        equal = all(torch.equal(part, old) for part, old in pairs)
        written = any(part._version for part in window)
        demand(equal and not written, f"{case.reads}: scored changes what it is given")

        rows = []
        for row in range(len(flags)):
            alone = Window(*(part[row : row + 1] for part in window))
            rows.append(subject.scored(target, alone))
        same = torch.equal(torch.cat(rows), first)
        demand(same, f"{case.reads}: a row alone is scored otherwise than among others")

        # Cut anywhere, the second part says by its positions where it begins.
        for at in range(1, first.shape[1]):
            parts = [subject.scored(target, part) for part in _cut(window, at)]
            same = torch.equal(torch.cat(parts, dim=1), first)
            demand(same, f"{case.reads}: cut at step {at}, a window is scored otherwise")
        demand(torch.equal(flags, first), f"{case.reads}: flags that were given change afterwards")
        _on_another_device(subject, target, window)


def _window(case: Case, ahead: int) -> Window:
    """Return three rows of twelve steps, at the start of a sequence and in its midst."""
    draw = torch.Generator().manual_seed(5)
    shape = (3, 12)
    x = _elements(case.vocabulary, shape, draw)
    answers = _elements(case.answers, (*shape, ahead) if ahead else shape, draw)
    return Window(x, answers, torch.tensor([0, 7, 100]))


def _elements(vocabulary: Vocabulary[Any], shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    """Return ids of a shape, or numbers with an axis more."""
    return DRAWN[vocabulary.yields](vocabulary.size, shape, draw)


def _ids(size: int, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    """Return ids below a size."""
    return torch.randint(size, shape, generator=draw)


def _rows(size: int, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    """Return numbers drawn from N(0, 1), `size` of them at each place."""
    return torch.randn(*shape, size, generator=draw, dtype=torch.float64)


DRAWN = {"symbols": _ids, "numbers": _rows}
"""How elements are drawn, by what they are."""


def _cut(window: Window, at: int) -> tuple[Window, Window]:
    """Return a window as two: up to a step, and from it on."""
    x, answers, position = window
    before = Window(x[:, :at], answers[:, :at], position)
    after = Window(x[:, at:], answers[:, at:], position + at)
    return before, after


def _on_another_device(subject: TargetSubject, target: Target[Any], window: Window) -> None:
    """Raise `Broken` if flags of a window on another device stand elsewhere.

    One that must see the values of a window cannot be asked there.
    """
    meta = Window(*(part.to("meta") for part in window))
    with suppress(RuntimeError, NotImplementedError):
        subject.scored(target, meta)


@check("T03", "an answer changes the score, and no output", "target", firm=True, since=SINCE)
def answers_are_no_input(subject: TargetSubject) -> Measured:
    """Another answer in the data changes no output, to the bit, and every metric sees it.

    The network must not be told what it is asked. And a figure that is the same whatever came, such
    as how sure the network was, says nothing of how right it was. To mend it: leave `x` of a window
    as it is, and compare outputs with answers in `add`.
    """
    findings = []
    for case in subject.cases():
        target, other = subject.target(), case.answered_otherwise()
        network = case.network(target)
        before = outputs(case, target, network)
        after = outputs(other, target, network)
        value = gaps(after, before, "outputs")
        findings.append(Measured(value, EXACT, f"{case.reads}, outputs"))
        if subject.follows:
            order = range(len(case.store.starts))
            own = [given(each, target, network, 64, order) for each in (case, other)]
            demand(own[0] == own[1], f"{case.reads}: an answer is other where another is right")

        # Outputs that say `answers`: right for these, wrong for any others.
        _, answers = drawn(case, MANY)
        wrong = answers + 1
        if case.kind == "symbols":
            wrong %= case.answers.size
        output = perfect(case, answers)
        for metric in subject.metrics(target, case):
            right = _figures(subject, metric, case, (output, answers))
            missed = _figures(subject, metric, case, (output, wrong))
            fact = f"{metric.__name__} says the same of right and of wrong answers: {right}"
            demand(right != missed, fact[:200])
    return worst(findings)


def _figures(subject: TargetSubject, metric: type[Metric], case: Case, *pairs: Pair) -> Metrics:
    """Return the figures of outputs and answers."""
    sums = subject.filled(metric, case, *pairs)
    return subject.values(sums, metric.__name__)


def each_metric(subject: TargetSubject) -> Iterator[tuple[Case, type[Metric]]]:
    """Give what is measured of each kind of answers: symbols, one column of numbers, and two."""
    # Of cases whose answers are alike, the last one.
    cases = {}
    for width in (1, 2):
        for case in subject.cases(width):
            cases[case.kind, case.answers.size] = case
    for case in cases.values():
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
        _named_once(subject, case)
    for case, metric in each_metric(subject):
        figures = {figure.name: figure for figure in subject.figures_of(metric, case)}
        output, answers = drawn(case, MANY)
        sums = subject.filled(metric, case, (output, answers))
        values = subject.values(sums, metric.__name__)
        missing = sorted(figures.keys() - values.keys())
        fact = f"{metric.__name__} gives no {missing[:1]}"
        demand(not missing, fact)

        # The same bounds hold for hard answers, and for each column alone.
        rows = [values]
        for pair in _hard(case, output, answers):
            rows.append(_figures(subject, metric, case, pair))
        for column in sums.columns():
            rows.append(dict(column.metrics()))
        for row in rows:
            _within(metric, figures, row)
        _plain(metric, sums.detail())


def _named_once(subject: TargetSubject, case: Case) -> None:
    """Raise `Broken` if two figures have one name, that of the loss for one."""
    names = [LOSS.name]
    for metric in subject.metrics(subject.target(), case):
        names += [figure.name for figure in subject.figures_of(metric, case)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    demand(not twice, f"there are two figures called {twice[:1]}")


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
        fact = f"{metric.__name__} gives {name!r:.40}, which figures does not name"
        demand(name in named, fact)
        figure = named[name]
        demand(math.isfinite(value), f"{name} is {value}")
        slack = ROUNDING * max(1.0, abs(value))
        inside = figure.least - slack <= value <= figure.most + slack
        bounds = f"{figure.least:g} and {figure.most:g}"
        fact = f"{name} is {value:g}, not between {bounds}"
        demand(inside, fact)


def _plain(metric: type[Metric], detail: Any) -> None:
    """Raise `Broken` if what is more than numbers is no plain JSON."""
    what = f"detail of {metric.__name__}"
    fact = f"{what} gives {type(detail).__name__}, not a table"
    demand(isinstance(detail, dict), fact)
    try:
        text = json.dumps(detail, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Broken(f"{what} gives what is no plain JSON: {error}") from error
    demand(json.loads(text) == detail, f"{what} is another one after JSON")


@check("T05", "figures are made of sums", "target", firm=True, since=SINCE)
def sums(subject: TargetSubject) -> Measured:
    """However answers are split, in whatever order they come, the figures are the same within 1e-9.

    So it is of steps that come with their places: longer sequences come first, and a window may end
    between two steps that a figure takes together. Two that are filled in turns do not mix, being
    asked changes nothing, and what is added is only read: the next metric is given the same
    tensors. A batch is as large as memory allows, and a mean of means weighs a short one as much as
    a long one. To mend it: add up in `add`, divide in `values`, and keep the sums on the instance;
    ask `places` what stands beside an answer.
    """
    findings = []
    for case, metric in each_metric(subject):
        output, answers = drawn(case, MANY)
        whole = _figures(subject, metric, case, (output, answers))

        parts = torch.split(output, PARTS), torch.split(answers, PARTS)
        pieces = list(zip(*parts, strict=True))
        turned = output.flip(0), answers.flip(0)
        rows = {
            "in parts": _in_turns(subject, metric, case, pieces),
            "in parts the other way round": _figures(subject, metric, case, *reversed(pieces)),
            "backwards": _figures(subject, metric, case, turned),
        }
        for name, row in rows.items():
            fact = f"{metric.__name__}, {name}: other figures than of the whole"
            demand(row.keys() == whole.keys(), fact)
            what = f"{case.reads}, {metric.__name__}, {name}"
            findings.append(Measured(relative(row, whole), FLOAT64, what))

        # These very tensors, and not copies of them.
        sums = metric(case.answers, case.scale)
        added = list(freely(case, output, answers)) if metric.free else [(output, answers)]
        for said, came in added:
            sums.add(said, came)
        written = any(said._version or came._version for said, came in added)
        demand(not written, f"{metric.__name__} changes what is added")
        if not (metric.free or subject.by_sequence):
            findings.append(_at_places(subject, metric, case, output, answers))
    return worst(findings)


def _at_places(
    subject: TargetSubject, metric: type[Metric], case: Case, output: Tensor, answers: Tensor
) -> Measured:
    """Return how figures of steps at their places differ, whatever parts and order they come in."""
    places = placed(MANY, subject.target().ahead)
    mixed = torch.randperm(MANY, generator=torch.Generator().manual_seed(7))
    orders = [torch.arange(MANY), torch.arange(MANY).flip(0), mixed]
    rows: list[Metrics] = []
    for order in orders:
        sums = metric(case.answers, case.scale)
        for part in torch.split(order, PARTS if rows else [MANY]):
            sums.add_at(output[part], answers[part], places[part])
        rows.append(subject.values(sums, metric.__name__))

    named = {figure.name: figure for figure in subject.figures_of(metric, case)}
    _within(metric, named, rows[0])
    what = f"{case.reads}, {metric.__name__}, at their places"
    demand(all(row.keys() == rows[0].keys() for row in rows), f"{what}: other figures in parts")
    difference = max(relative(row, rows[0]) for row in rows[1:])
    return Measured(difference, FLOAT64, f"{what}, in parts")


def _in_turns(
    subject: TargetSubject,
    metric: type[Metric],
    case: Case,
    pieces: list[Pair],
) -> Metrics:
    """Return the figures of pieces that are asked for in between, while others are filled too."""
    mine = metric(case.answers, case.scale)
    others = metric(case.answers, case.scale)
    for output, answers in pieces:
        subject.add(mine, case, output.clone(), answers.clone())
        subject.add(others, case, *drawn(case, MANY, salt=3))
        # Being asked in between must change nothing.
        mine.values()
        mine.detail()
        others.values()
    return subject.values(mine, metric.__name__)


@check("T06", "what is right is best", "target", firm=True, since=SINCE)
def right_is_best(subject: TargetSubject) -> None:
    """No prediction has a better figure than those that are right, by what it calls better.

    `higher` tells early stopping, a sweep and the verdict which of two values to prefer: one that
    is turned round keeps the worst network of a training. To mend it: `Figure(name, higher=True)`
    where more is better.
    """
    for case, metric in each_metric(subject):
        _, answers = drawn(case, MANY)
        output = perfect(case, answers)
        right = _figures(subject, metric, case, (output, answers))
        others = [drawn(case, MANY, salt)[0] for salt in (1, 2)]
        others += [perfect(case, answers.roll(1, 0)), -output]
        for other in others:
            row = _figures(subject, metric, case, (other, answers))
            for figure in subject.figures_of(metric, case):
                if figure.name in row and figure.name in right:
                    _prefers(figure, right[figure.name], row[figure.name])


def _prefers(figure: Figure, right: float, other: float) -> None:
    """Raise `Broken` if a figure is better for another prediction than for a right one."""
    best, cost = figure.cost(right), figure.cost(other)
    holds = best <= cost + ROUNDING * max(1.0, abs(cost))
    fact = f"{figure.name}: {other:g} for others, {right:g} for right"
    demand(holds, fact)
