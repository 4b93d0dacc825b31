"""Checks of what stands beside a model: the verdict's figure, and simple rules that know no more.

They came in with version 1.1 of the suite, as targets did.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.metric import Figure, Metric, Metrics, Scale
from recurra.contracts.target import Elements, Examples, Target, Window
from recurra.data.labels import UNSEEN
from recurra.testing.answers import demand
from recurra.testing.check import Measured, check
from recurra.testing.measure import FLOAT64, worst
from recurra.testing.questions import Case, drawn, measured, perfect, relative
from recurra.testing.subjects.target import TargetSubject
from recurra.train.metrics import Tally

SINCE = "1.1"
SEASON = 2
TRAINED, HELD = slice(6), slice(6, None)
"""Sequences of a case that rules learn from, and those that they are asked about."""
STEPS = 6
"""Steps of a sequence of numbers that is asked, times those that an answer lies ahead."""
OFTEN = 3
"""How often the commonest answer comes, where each other comes once."""
FINALS = (5.0, 6.0, 8.0)
"""Numbers that come next."""
Answered: TypeAlias = Sequence[tuple[NDArray[Any], int]]
"""Sequences, and the number of the answer to each."""
Splits: TypeAlias = tuple[Examples, Examples]
"""Training, and what is held out."""
LATTICE = 101
"""Numbers among which the best constant prediction is sought."""
TOLERANCE = 1e-3
"""By how much a rule may be better than what was found to be the best constant prediction."""
GAP = 5
"""Elements that stand between the splits."""


def asked(subject: TargetSubject, case: Case) -> None:
    """Ask a target all that it can say of some sequences: what counts, figures, rules, verdict."""
    target = subject.target()
    tally = measured(case, target, case.network(target))
    tally.columns(), tally.detail()
    train, held = (_of(case, part, case.scale) for part in (TRAINED, HELD))
    rules = subject.rules(target, train, held)
    subject.figures(target, case)
    target.judged(case.kind, [tally.values(), *rules.values()], case.columns)


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
            target, names = subject.target(), subject.figures(subject.target(), case)
            for rows in _tables(subject, target, case):
                held = [dict(row) for row in rows]
                key: Any = target.judged(case.kind, rows, case.columns)
                demand(isinstance(key, str), f"judged gives {key!r:.60}, not the name of a figure")
                demand(key in names, f"judged names {key!r}, which no metric gives")
                lacking = f"{sum(key not in row for row in rows)} of {len(rows)} rows"
                everywhere = all(key in row for row in rows)
                demand(everywhere, f"judged names {key!r}, which {lacking} lack")
                demand(rows == held, "judged changes the rows")


def _tables(subject: TargetSubject, target: Target[Any], case: Case) -> Iterator[list[Metrics]]:
    """Give the rows of a model and of the rules, and the model's alone; without a scale too."""
    network_loss = case.network(target).loss
    for scale in (case.scale, None):
        tally = Tally(target, case.answers, scale)
        tally.add(*drawn(case, 20), network_loss)
        train, held = (_of(case, part, scale) for part in (TRAINED, HELD))
        rules = list(subject.rules(target, train, held).values())
        yield [tally.values(), *rules]
        yield [tally.values()]


def _of(case: Case, rows: slice, scale: Scale | None) -> Examples:
    """Return some sequences of a case, as a baseline sees them."""
    low, high = case.store.starts[rows], case.store.ends[rows]
    labels = None if case.labels is None else case.labels[rows]
    sizes = case.vocabulary.size, case.answers.size
    return Examples(case.reads, case.store.values, low, high, low, *sizes, labels, SEASON, scale)


def _locked(examples: Examples) -> Examples:
    """Return examples that can only be read, as a corpus is that is mapped from its file."""

    def view(array: NDArray[Any]) -> NDArray[Any]:
        found = array.view()
        found.flags.writeable = False
        return found

    answers = None if examples.answers is None else view(examples.answers)
    low, high, begin = (view(place) for place in (examples.low, examples.high, examples.begin))
    values = view(examples.values)
    return replace(examples, values=values, low=low, high=high, begin=begin, answers=answers)


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
    found = []
    for case in _cases(subject):
        target = subject.target()
        figures = subject.figures(target, case)
        turns = [tuple(map(_locked, _turn(case, target, turn))) for turn in range(_answers(case))]
        rows = [subject.rules(target, *examples) for examples in turns]
        _sound(figures, rows)
        demand(
            subject.rules(target, *turns[0]) == rows[0],
            f"{case.reads}: asked again, a rule has other figures",
        )
        if not rows[0]:
            continue
        best = _constant(subject, case, target, figures)
        # What stands in one place may be called otherwise each turn: the best of some n-grams.
        for place, rule in enumerate(rows[0]):
            mine = [list(row.values())[place] for row in rows]
            for name, cost in _costs(figures, mine).items():
                gain = max(best[name] - cost, 0.0) / max(1.0, abs(best[name]))
                what = f"{case.reads}: {rule}, {name}, better than a guess by"
                found.append(Measured(gain, TOLERANCE, what))
    return worst(found) if found else Measured(detail="it has no rules")


def _cases(subject: TargetSubject) -> Iterator[Case]:
    """Give what rules are asked about; of numbers that come next, one column."""
    yield from subject.cases(1 if subject.entry.target.asks == "input" else 2)


def _answers(case: Case) -> int:
    """Return how many different answers there are."""
    return len(FINALS) if case.kind == "numbers" else case.answers.size


def _asked(case: Case, turn: int) -> NDArray[np.int64]:
    """Return the number of each answer that comes, one of them `OFTEN`: another one each turn."""
    count = _answers(case)
    return (np.array([0] * OFTEN + [*range(1, count)]) + turn) % count


def _turn(case: Case, target: Target[Any], turn: int, strange: Any = 0) -> Splits:
    """Return a training split that has every answer to each sequence, and copies of one, held out.

    Both are parts of one array; before, between and after them stand `strange` elements that are
    nobody's.
    """
    count, asked = _answers(case), _asked(case, turn)
    kinds = [_sequence(case, target.reach, salt) for salt in range(3)]
    known = [(sequence, answer) for sequence in kinds for answer in range(count)]
    copies = [(kinds[0], answer) for answer in asked.tolist()]
    parts = [_examples(case, known, asked_last=False), _examples(case, copies, asked_last=True)]

    gap = np.full((GAP, *kinds[0].shape[1:]), strange, kinds[0].dtype)
    values = np.concatenate([part for examples in parts for part in (gap, examples.values)] + [gap])
    offsets = GAP, 2 * GAP + len(parts[0].values)
    return _moved(parts[0], values, offsets[0]), _moved(parts[1], values, offsets[1])


def _moved(part: Examples, values: NDArray[Any], by: int) -> Examples:
    """Return examples that stand in a larger array."""
    low, high, begin = (place + by for place in (part.low, part.high, part.begin))
    return replace(part, values=values, low=low, high=high, begin=begin)


def _sequence(case: Case, reach: int, salt: int) -> NDArray[Any]:
    """Return a sequence that is no reason to prefer one answer.

    Of symbols each comes as often as all others, and all sequences end with the same.
    """
    draw = np.random.Generator(np.random.Philox(20 + salt))
    times, size = max(reach, 1), case.vocabulary.size
    if case.reads == "numbers":
        return draw.normal(6, 1, (STEPS * times, size))
    return np.tile(np.append(draw.permutation(size - 1), size - 1), times).astype(np.uint8)


def _examples(case: Case, rows: Answered, *, asked_last: bool) -> Examples:
    """Return sequences with their answers, each of which may be asked its last element alone.

    Where the elements are the answers, the answer is one more of them.
    """
    own, kind = case.labels is None, case.kind
    parts = [sequence for sequence, _ in rows]
    if own:
        parts = [np.concatenate([sequence, _element(kind, answer)]) for sequence, answer in rows]
    high = np.cumsum([len(part) for part in parts])
    begin = np.concatenate([[0], high[:-1]])
    low = high - 1 if own and asked_last else begin
    labels = None if own else np.array([answer for _, answer in rows])
    sizes = case.vocabulary.size, case.answers.size
    values = np.concatenate(parts)
    return Examples(case.reads, values, low, high, begin, *sizes, labels, SEASON, case.scale)


def _element(kind: Elements, answer: int) -> NDArray[Any]:
    """Return an answer as an element."""
    return np.array([[FINALS[answer]]]) if kind == "numbers" else np.array([answer], np.uint8)


def _sound(figures: dict[str, Figure], rows: list[dict[str, Metrics]]) -> None:
    """Raise `Broken` if a figure of a rule is none of the metrics', or not what it can be."""
    for row in rows:
        demand(len(row) == len(rows[0]), f"there are rules {sorted(row)} and {sorted(rows[0])}")
        for rule, values in row.items():
            demand(bool(values), f"rule {rule!r} has no figure")
            for name, value in values.items():
                demand(name in figures, f"rule {rule!r} has {name!r:.40}, which no metric gives")
                figure, slack = figures[name], FLOAT64 * max(1.0, abs(value))
                inside = figure.least - slack <= value <= figure.most + slack
                demand(
                    inside and math.isfinite(value),
                    f"rule {rule!r} has {name} {value:g}, not {figure.least:g} to {figure.most:g}",
                )


def _costs(figures: dict[str, Figure], rows: list[Metrics]) -> Metrics:
    """Return of each figure what is to become small, on average over the turns; all have it."""
    names = [name for name in rows[0] if name in figures and all(name in row for row in rows)]
    return {name: figures[name].cost(float(np.mean([row[name] for row in rows]))) for name in names}


def _constant(
    subject: TargetSubject,
    case: Case,
    target: Target[Any],
    figures: dict[str, Figure],
) -> Metrics:
    """Return the least cost of each figure that a constant prediction has, over all turns."""
    best = dict.fromkeys(figures, math.inf)
    metrics = subject.metrics(target, case)
    turns = [_targets(case, _asked(case, turn)) for turn in range(_answers(case))]
    for guess in _guesses(case):
        rows = [_said(subject, case, metrics, guess, answers) for answers in turns]
        best |= {name: min(best[name], cost) for name, cost in _costs(figures, rows).items()}
    return best


def _said(
    subject: TargetSubject,
    case: Case,
    metrics: Sequence[type[Metric]],
    guess: Tensor,
    answers: Tensor,
) -> Metrics:
    """Return the figures of saying the same to every question."""
    output = guess.expand(len(answers), -1).contiguous()
    found: Metrics = {}
    for metric in metrics:
        found |= subject.values(subject.filled(metric, case, (output, answers)), metric.__name__)
    return found


def _targets(case: Case, asked: NDArray[np.int64]) -> Tensor:
    """Return answers as a metric takes them."""
    if case.kind == "symbols":
        return torch.from_numpy(asked)
    return torch.from_numpy(case.answers.encode(np.array(FINALS)[asked][:, None]))


def _guesses(case: Case) -> Iterator[Tensor]:
    """Give constant predictions: each class, all alike, some drawn; numbers as far as they come."""
    if case.kind == "numbers":
        lattice = [*np.linspace(min(FINALS), max(FINALS), LATTICE), *FINALS]
        yield from torch.from_numpy(case.answers.encode(np.array(lattice)[:, None]))
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
    split without a sequence nothing is said. To mend it: read `[low, high)` of training, and what
    lies from `begin` up to a question; leave out answers of -1.
    """
    found = []
    for case in _cases(subject):
        target = subject.target()
        usual, *others = (_turn(case, target, 0, strange) for strange in _strange(case))
        train, held = usual
        rows = subject.rules(target, train, held)
        for other in others:
            what = f"{case.reads}, other data between the splits"
            found.append(_compared(rows, subject.rules(target, *other), what))
        if held.answers is not None:
            more = subject.rules(target, train, _with_unseen(held))
            found.append(_compared(rows, more, f"{case.reads}, labels that training has not shown"))
        subject.rules(target, train, _empty(held))
        if not subject.by_sequence:
            _poisoned(subject, case, target)
    return worst(found)


def _compared(one: dict[str, Metrics], other: dict[str, Metrics], what: str) -> Measured:
    demand(one.keys() == other.keys(), f"{what}: there are other rules")
    for rule, row in one.items():
        demand(row.keys() == other[rule].keys(), f"{what}: rule {rule!r} has other figures")
    gap = max((relative(other[rule], row) for rule, row in one.items()), default=0.0)
    return Measured(gap, FLOAT64, what)


def _strange(case: Case) -> list[Any]:
    """Return what stands where nothing is asked: usual elements, and others not to be seen."""
    if case.reads == "numbers":
        return [6.0, 1e6, np.nan]
    return [0, case.vocabulary.size - 1]


def _with_unseen(held: Examples) -> Examples:
    """Return a split with sequences more whose label training has not shown."""
    assert held.answers is not None, "a column is asked"
    low, high, begin = (np.append(place, place[:2]) for place in (held.low, held.high, held.begin))
    answers = np.append(held.answers, [UNSEEN, UNSEEN])
    return replace(held, low=low, high=high, begin=begin, answers=answers)


def _empty(held: Examples) -> Examples:
    """Return a split without a sequence."""
    answers = None if held.answers is None else held.answers[:0]
    low, high, begin = (place[:0] for place in (held.low, held.high, held.begin))
    return replace(held, low=low, high=high, begin=begin, answers=answers)


def _poisoned(subject: TargetSubject, case: Case, target: Target[Any]) -> None:
    """Raise `Broken` if what stands behind the end of a row reaches flags, loss or a figure."""
    split = case.split(target)
    steps = split.high - split.low - target.reach
    rows = steps > 0
    batch = case.reader(target).cut(split.low[rows], steps[rows], split.low[rows])
    behind = torch.arange(batch.x.shape[1]) >= torch.from_numpy(steps[rows])[:, None]

    x, answers = batch.x.clone(), batch.y.clone()
    for part in (x, answers):
        part[behind] = torch.nan if part.is_floating_point() else 0
    flags = subject.scored(target, Window(x, answers, batch.position)) & ~behind
    demand(
        torch.equal(flags, batch.mask),
        f"{case.reads}: nan behind the end of a row changes what is scored",
    )
    tally = Tally(target, case.answers, case.scale)
    tally.add(drawn(case, int(flags.sum()))[0], answers[flags], case.network(target).loss)
    wrong = [name for name, value in tally.values().items() if not math.isfinite(value)]
    demand(not wrong, f"{case.reads}: nan behind the end of a row reaches {wrong[:1]}")
