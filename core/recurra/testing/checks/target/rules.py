"""Checks of what stands beside a model: the verdict's figure, and simple rules that know no more.

They came in with version 1.1 of the suite, as targets did.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.metric import Figure, Metric, Metrics
from recurra.contracts.source import OF_STEPS
from recurra.contracts.target import Target, Window
from recurra.testing import splits
from recurra.testing.answers import demand
from recurra.testing.check import Measured, check
from recurra.testing.measure import FLOAT64, worst
from recurra.testing.questions import Case, drawn, fill, measured, perfect, relative
from recurra.testing.subjects.target import TargetSubject
from recurra.train.metrics import Tally

SINCE = "1.1"
TRAINED, HELD = slice(6), slice(6, None)
"""Sequences of a case that rules learn from, and those that they are asked about."""
LATTICE = 101
"""Numbers among which the best constant prediction is sought."""
TOLERANCE = 1e-3
"""By how much a rule may be better than what was found to be the best constant prediction."""


def asked(subject: TargetSubject, case: Case) -> None:
    """Ask a target all that it can say of some sequences: what counts, figures, rules, verdict."""
    target = subject.target()
    tally = measured(case, target, case.network(target))
    tally.columns()
    tally.detail()
    train = splits.examples(case, TRAINED, case.scale)
    held_out = splits.examples(case, HELD, case.scale)
    rules = subject.rules(target, train, held_out)
    subject.figures(target, case)
    rows = [tally.values(), *rules.values()]
    target.judged(case.kind, rows, case.columns)


@check("T07", "the verdict is about what all have", "target", firm=True, since=SINCE)
def judged_by(subject: TargetSubject) -> None:
    """`judged` names a figure that the model and every simple rule have, in each row.

    Tried with the rows of sequences of symbols, of one column of numbers and of two, with errors
    that have a scale and without, and with no rule at all. A verdict about a figure that the rules
    lack compares with nothing, and says so in place of what the user asked. To mend it: name a
    figure of `metrics` that `baselines` gives too, and look into the rows for what is not always
    there.
    """
    for width in (1, 2):
        for case in subject.cases(width):
            target = subject.target()
            names = subject.figures(subject.target(), case)
            for rows in _tables(subject, target, case):
                before = [dict(row) for row in rows]
                key = target.judged(case.kind, rows, case.columns)
                demand(isinstance(key, str), f"judged gives {key!r:.60}, not the name of a figure")
                demand(key in names, f"judged names {key!r}, which no metric gives")

                # The model's row and those of all rules.
                lacking = [row for row in rows if key not in row]
                share = f"{len(lacking)} of {len(rows)} rows"
                demand(not lacking, f"judged names {key!r}, which {share} lack")
                demand(rows == before, "judged changes the rows")


def _tables(subject: TargetSubject, target: Target[Any], case: Case) -> Iterator[list[Metrics]]:
    """Give the rows of a model and of the rules, and the model's alone; without a scale too."""
    network_loss = case.network(target).loss
    for scale in (case.scale, None):
        tally = Tally(target, case.answers, scale)
        fill(tally, case, network_loss, *drawn(case, 20))
        train = splits.examples(case, TRAINED, scale)
        held_out = splits.examples(case, HELD, scale)
        rules = subject.rules(target, train, held_out)
        yield [tally.values(), *rules.values()]
        yield [tally.values()]


@check("T08", "no rule knows what is asked of it", "target", firm=True, since=SINCE)
def rules_are_blind(subject: TargetSubject) -> Measured:
    """Asked one question many times, each time with another answer, a rule only guesses.

    Copies of one sequence are held out, whose answers are all that there are, one of them more
    often, and that in turn each. A rule that learned from training alone says the same of every
    copy, and which answer is common it cannot know: on average over all turns no figure of it is
    better than that of the best constant prediction. Each figure is one that `metrics` gives,
    finite and within its bounds; asked again it is the same; and what a rule is given it only
    reads. A rule that has seen what came makes an honest model look bad. To mend it: learn from
    `train`, and look at the answers of `held` to count what was right.
    """
    findings = []
    for case in _cases(subject):
        target = subject.target()
        figures = subject.figures(target, case)
        # In each turn another answer is the common one.
        turns = []
        for turn in range(splits.count_of_answers(case)):
            train, held_out = splits.turn(case, target, turn)
            turns.append((splits.locked(train), splits.locked(held_out)))

        tables = [subject.rules(target, *examples) for examples in turns]
        _sound(figures, tables)
        again = subject.rules(target, *turns[0])
        demand(again == tables[0], f"{case.reads}: asked again, a rule has other figures")
        if tables[0]:
            findings += _gains(subject, case, target, figures, tables)
    return worst(findings) if findings else Measured(detail="it has no rules")


def _gains(
    subject: TargetSubject,
    case: Case,
    target: Target[Any],
    figures: dict[str, Figure],
    tables: list[dict[str, Metrics]],
) -> list[Measured]:
    """Return by how much each rule is better than the best constant prediction.

    `tables` are those of the rules, one a turn.
    """
    best = _constant(subject, case, target, figures)
    findings = []
    # What stands in one place may be called otherwise each turn: the best of some n-grams.
    for place, rule in enumerate(tables[0]):
        rows = [list(table.values())[place] for table in tables]
        for name, cost in _costs(figures, rows).items():
            least = best[name]
            gain = max(least - cost, 0.0) / max(1.0, abs(least))
            what = f"{case.reads}: {rule}, {name}, better than a guess by"
            findings.append(Measured(gain, TOLERANCE, what))
    return findings


def _cases(subject: TargetSubject) -> Iterator[Case]:
    """Give what rules are asked about; of numbers that are answered, one column."""
    kind = subject.entry.target
    numbers = kind.asks == "input" or kind.answers == "numbers"
    yield from subject.cases(1 if numbers else 2)


def _sound(figures: dict[str, Figure], rows: list[dict[str, Metrics]]) -> None:
    """Raise `Broken` if a figure of a rule is none of the metrics', or not what it can be."""
    for row in rows:
        fact = f"there are rules {sorted(row)} and {sorted(rows[0])}"
        demand(len(row) == len(rows[0]), fact)
        for rule, values in row.items():
            what = f"rule {rule!r} has"
            demand(bool(values), f"{what} no figure")
            for name, value in values.items():
                fact = f"{what} {name!r:.40}, which no metric gives"
                demand(name in figures, fact)
                figure = figures[name]
                slack = FLOAT64 * max(1.0, abs(value))
                inside = figure.least - slack <= value <= figure.most + slack
                bounds = f"{figure.least:g} to {figure.most:g}"
                fact = f"{what} {name} {value:g}, not {bounds}"
                demand(inside and math.isfinite(value), fact)


def _costs(figures: dict[str, Figure], rows: list[Metrics]) -> Metrics:
    """Return of each figure what is to become small, on average over the turns; all have it."""
    costs = {}
    for name in rows[0]:
        if name in figures and all(name in row for row in rows):
            mean = float(np.mean([row[name] for row in rows]))
            costs[name] = figures[name].cost(mean)
    return costs


def _constant(
    subject: TargetSubject,
    case: Case,
    target: Target[Any],
    figures: dict[str, Figure],
) -> Metrics:
    """Return the least cost of each figure that a constant prediction has, over all turns."""
    best = dict.fromkeys(figures, math.inf)
    metrics = subject.metrics(target, case)
    turns = [
        _targets(case, splits.asked_in(case, turn)) for turn in range(splits.count_of_answers(case))
    ]
    for guess in _guesses(case):
        rows = [_figures_of(subject, case, metrics, guess, answers) for answers in turns]
        for name, cost in _costs(figures, rows).items():
            best[name] = min(best[name], cost)
    return best


def _figures_of(
    subject: TargetSubject,
    case: Case,
    metrics: Sequence[type[Metric]],
    guess: Tensor,
    answers: Tensor,
) -> Metrics:
    """Return the figures of saying the same to every question."""
    output = guess.expand(len(answers), -1).contiguous()
    figures: Metrics = {}
    for metric in metrics:
        sums = subject.filled(metric, case, (output, answers))
        figures |= subject.values(sums, metric.__name__)
    return figures


def _targets(case: Case, answers: NDArray[np.int64]) -> Tensor:
    """Return answers as a metric takes them."""
    if case.kind == "symbols":
        return torch.from_numpy(answers)
    numbers = np.array(splits.FINALS)[answers]
    return torch.from_numpy(case.answers.encode(numbers[:, None]))


def _guesses(case: Case) -> Iterator[Tensor]:
    """Give constant predictions: each class, all alike, some drawn; numbers as far as they come."""
    if case.kind == "numbers":
        lattice = [*np.linspace(min(splits.FINALS), max(splits.FINALS), LATTICE), *splits.FINALS]
        guesses = case.answers.encode(np.array(lattice)[:, None])
        yield from torch.from_numpy(guesses)
        return
    size = case.answers.size
    yield from perfect(case, torch.arange(size))
    yield torch.zeros(size, dtype=torch.float64)
    yield from drawn(case, 2 * size)[0]


@check("T09", "what is not asked reaches nothing", "target", firm=True, since=SINCE)
def only_what_is_asked(subject: TargetSubject) -> Measured:
    """NaN behind the end of a row, and whatever lies outside of both splits, changes no figure.

    A rule is given the whole data, and where in it each split lies: what stands between them
    belongs to validation, or to nobody, and a mean over all of `values` has looked at it. A
    sequence whose label training has not shown is not scored of the model, and so of no rule. Of a
    split without a sequence nothing is said. Where each step is asked for what is said of it, and a
    step may see only what came before it, no rule sees more: steps that are asked one by one have
    the figures of all. To mend it: read `[low, high)` of training, and what lies from `begin` up to
    a question; leave out answers of -1.
    """
    findings = []
    for case in _cases(subject):
        target = subject.target()
        usual, *others = [splits.turn(case, target, 0, strange) for strange in _strange(case)]
        train, held_out = usual
        rules = subject.rules(target, train, held_out)
        for other in others:
            what = f"{case.reads}, other data between the splits"
            findings.append(_compared(rules, subject.rules(target, *other), what))
        if held_out.answers is not None and case.kind == "symbols":
            more = subject.rules(target, train, splits.with_unseen(held_out))
            what = f"{case.reads}, labels that training has not shown"
            findings.append(_compared(rules, more, what))

        if subject.entry.target.asks in OF_STEPS and target.causal:
            train, held_out = (splits.examples(case, rows, case.scale) for rows in (TRAINED, HELD))
            single = splits.one_by_one(held_out)
            rules, alone = (subject.rules(target, train, part) for part in (held_out, single))
            what = f"{case.reads}, steps asked one by one, of which none shows what follows it"
            findings.append(_compared(rules, alone, what))

        # Of nothing, nothing is said: it must not fail.
        subject.rules(target, train, splits.empty(held_out))
        if not subject.by_sequence:
            _poisoned(subject, case, target)
    return worst(findings)


def _compared(one: dict[str, Metrics], other: dict[str, Metrics], what: str) -> Measured:
    """Return how the figures of rules differ. Raises `Broken` if there are others."""
    demand(one.keys() == other.keys(), f"{what}: there are other rules")
    for rule, row in one.items():
        alike = row.keys() == other[rule].keys()
        demand(alike, f"{what}: rule {rule!r} has other figures")

    differences = [relative(other[rule], row) for rule, row in one.items()]
    return Measured(max(differences, default=0.0), FLOAT64, what)


def _strange(case: Case) -> list[Any]:
    """Return what stands where nothing is asked: usual elements, and others not to be seen."""
    if case.reads == "numbers":
        return [6.0, 1e6, np.nan]
    return [0, case.vocabulary.size - 1]


def _poisoned(subject: TargetSubject, case: Case, target: Target[Any]) -> None:
    """Raise `Broken` if what stands behind the end of a row reaches flags, loss or a figure."""
    split = case.split(target)
    steps = split.high - split.low - target.reach
    low, steps = split.low[steps > 0], steps[steps > 0]
    batch = case.reader(target).cut(low, steps, low)
    ends = torch.from_numpy(steps)
    behind = torch.arange(batch.x.shape[1]) >= ends[:, None]

    # NaN, where there is one; an id that exists, where there is none.
    x, answers = batch.x.clone(), batch.y.clone()
    for part in (x, answers):
        part[behind] = torch.nan if part.is_floating_point() else 0
    flags = subject.scored(target, Window(x, answers, batch.position)) & ~behind
    if target.ahead:
        # Of the elements ahead those before the end of a row can be asked.
        at = torch.arange(batch.x.shape[1])[:, None] + 1 + torch.arange(target.ahead)
        flags = flags[..., None] & (at <= ends[:, None, None])
    same = torch.equal(flags, batch.mask)
    demand(same, f"{case.reads}: nan behind the end of a row changes what is scored")

    output, _ = drawn(case, int(flags.sum()))
    tally = Tally(target, case.answers, case.scale)
    fill(tally, case, case.network(target).loss, output, answers[flags])
    figures = tally.values()
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    fact = f"{case.reads}: nan behind the end of a row reaches {wrong[:1]}"
    demand(not wrong, fact)
