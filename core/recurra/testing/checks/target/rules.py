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
from recurra.contracts.target import Examples, Target, Window
from recurra.data.labels import UNSEEN
from recurra.testing.answers import demand
from recurra.testing.check import Measured, check
from recurra.testing.measure import FLOAT64, worst
from recurra.testing.questions import Case, drawn, fill, marks_of, measured, perfect, relative
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
    tally.columns()
    tally.detail()
    train = _of(case, TRAINED, case.scale)
    held_out = _of(case, HELD, case.scale)
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
        train = _of(case, TRAINED, scale)
        held_out = _of(case, HELD, scale)
        rules = subject.rules(target, train, held_out)
        yield [tally.values(), *rules.values()]
        yield [tally.values()]


def _of(case: Case, rows: slice, scale: Scale | None) -> Examples:
    """Return some sequences of a case, as a baseline sees them."""
    begin, high = case.store.starts[rows], case.store.ends[rows]
    low = begin if case.asked is None else case.asked[rows]
    labels = None if case.labels is None else _plain(case, case.labels[rows])
    sizes = case.vocabulary.size, case.answers.size
    return Examples(case.reads, case.store.values, low, high, begin, *sizes, labels, SEASON, scale)


def _locked(examples: Examples) -> Examples:
    """Return examples that can only be read, as a corpus is that is mapped from its file."""

    def view(array: NDArray[Any]) -> NDArray[Any]:
        locked = array.view()
        locked.flags.writeable = False
        return locked

    return replace(
        examples,
        values=view(examples.values),
        low=view(examples.low),
        high=view(examples.high),
        begin=view(examples.begin),
        answers=None if examples.answers is None else view(examples.answers),
    )


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
        for turn in range(_answers(case)):
            train, held_out = _turn(case, target, turn)
            turns.append((_locked(train), _locked(held_out)))

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


def _plain(case: Case, labels: NDArray[Any]) -> NDArray[Any]:
    """Return the answers to sequences as rules see them: ids, or numbers in their own units."""
    return np.asarray(case.answers.decode(labels)) if case.kind == "numbers" else labels


def _answers(case: Case) -> int:
    """Return how many different answers there are."""
    return len(FINALS) if case.kind == "numbers" else case.answers.size


def _asked(case: Case, turn: int) -> NDArray[np.int64]:
    """Return the number of each answer that comes, one of them `OFTEN`: another one each turn."""
    count = _answers(case)
    first_turn = np.array([0] * OFTEN + [*range(1, count)])
    return (first_turn + turn) % count


def _turn(case: Case, target: Target[Any], turn: int, strange: Any = 0) -> Splits:
    """Return a training split that has every answer to each sequence, and copies of one, held out.

    Both are parts of one array; before, between and after them stand `strange` elements that are
    nobody's.
    """
    kinds = [_sequence(case, target.reach, salt) for salt in range(3)]
    copied = kinds[0]
    learned = []
    for sequence in kinds:
        learned += [(sequence, answer) for answer in range(_answers(case))]
    copies = [(copied, answer) for answer in _asked(case, turn).tolist()]
    train = _examples(case, learned, asked_last=False)
    held_out = _examples(case, copies, asked_last=True)

    gap = np.full((GAP, *copied.shape[1:]), strange, copied.dtype)
    values = np.concatenate([gap, train.values, gap, held_out.values, gap])
    second = GAP + len(train.values) + GAP
    return _moved(train, values, GAP), _moved(held_out, values, second)


def _moved(part: Examples, values: NDArray[Any], by: int) -> Examples:
    """Return examples that stand in a larger array."""
    low, high, begin = part.low + by, part.high + by, part.begin + by
    return replace(part, values=values, low=low, high=high, begin=begin)


def _sequence(case: Case, reach: int, salt: int) -> NDArray[Any]:
    """Return a sequence that is no reason to prefer one answer.

    Of symbols each comes as often as all others, and all sequences end with the same.
    """
    draw = np.random.Generator(np.random.Philox(20 + salt))
    times, size = max(reach, 1), case.vocabulary.size
    if case.asked is not None:
        size = marks_of(case).begin
    if case.reads == "numbers":
        return draw.normal(6, 1, (STEPS * times, size))
    last = size - 1
    symbols = np.append(draw.permutation(last), last)
    return np.tile(symbols, times).astype(np.uint8)


def _examples(case: Case, rows: Answered, *, asked_last: bool) -> Examples:
    """Return sequences with their answers, each of which may be asked its last element alone.

    Where the elements are the answers, the answer is one more of them.
    """
    own = case.labels is None
    parts, answered = [], []
    for sequence, answer in rows:
        element = _element(case, answer)
        part = [sequence, element] if own else [sequence]
        parts.append(np.concatenate(part))
        answered.append(len(element))

    high = np.cumsum([len(part) for part in parts])
    begin = np.concatenate([[0], high[:-1]])
    low = high - 1 if own and asked_last else begin
    if case.asked is not None:
        # What follows the mark before an answer is asked.
        low = high - np.array(answered) + 1
    labels = None if own else _labels(case, [answer for _, answer in rows])
    sizes = case.vocabulary.size, case.answers.size
    values = np.concatenate(parts)
    return Examples(case.reads, values, low, high, begin, *sizes, labels, SEASON, case.scale)


def _labels(case: Case, answers: list[int]) -> NDArray[Any]:
    """Return answers to whole sequences, of numbers a row each."""
    if case.kind == "numbers":
        return np.array(FINALS)[answers][:, None]
    return np.array(answers)


def _element(case: Case, answer: int) -> NDArray[Any]:
    """Return an answer as an element, or as elements between marks."""
    if case.kind == "numbers":
        return np.array([[FINALS[answer]]])
    if case.asked is not None:
        marks = marks_of(case)
        return marks.around(case.answer(answer).numpy()[:-1]).astype(np.uint8)
    return np.array([answer], np.uint8)


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
    turns = [_targets(case, _asked(case, turn)) for turn in range(_answers(case))]
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
    numbers = np.array(FINALS)[answers]
    return torch.from_numpy(case.answers.encode(numbers[:, None]))


def _guesses(case: Case) -> Iterator[Tensor]:
    """Give constant predictions: each class, all alike, some drawn; numbers as far as they come."""
    if case.kind == "numbers":
        lattice = [*np.linspace(min(FINALS), max(FINALS), LATTICE), *FINALS]
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
    split without a sequence nothing is said. To mend it: read `[low, high)` of training, and what
    lies from `begin` up to a question; leave out answers of -1.
    """
    findings = []
    for case in _cases(subject):
        target = subject.target()
        usual, *others = [_turn(case, target, 0, strange) for strange in _strange(case)]
        train, held_out = usual
        rules = subject.rules(target, train, held_out)
        for other in others:
            what = f"{case.reads}, other data between the splits"
            findings.append(_compared(rules, subject.rules(target, *other), what))
        if held_out.answers is not None and case.kind == "symbols":
            more = subject.rules(target, train, _with_unseen(held_out))
            what = f"{case.reads}, labels that training has not shown"
            findings.append(_compared(rules, more, what))

        # Of nothing, nothing is said: it must not fail.
        subject.rules(target, train, _empty(held_out))
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


def _with_unseen(examples: Examples) -> Examples:
    """Return a split with sequences more whose label training has not shown."""
    assert examples.answers is not None, "a column is asked"
    places = [examples.low, examples.high, examples.begin]
    low, high, begin = (np.append(place, place[:2]) for place in places)
    answers = np.append(examples.answers, [UNSEEN, UNSEEN])
    return replace(examples, low=low, high=high, begin=begin, answers=answers)


def _empty(examples: Examples) -> Examples:
    """Return a split without a sequence."""
    answers = None if examples.answers is None else examples.answers[:0]
    places = [examples.low, examples.high, examples.begin]
    low, high, begin = (place[:0] for place in places)
    return replace(examples, low=low, high=high, begin=begin, answers=answers)


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
    same = torch.equal(flags, batch.mask)
    demand(same, f"{case.reads}: nan behind the end of a row changes what is scored")

    output, _ = drawn(case, int(flags.sum()))
    tally = Tally(target, case.answers, case.scale)
    fill(tally, case, case.network(target).loss, output, answers[flags])
    figures = tally.values()
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    fact = f"{case.reads}: nan behind the end of a row reaches {wrong[:1]}"
    demand(not wrong, fact)
