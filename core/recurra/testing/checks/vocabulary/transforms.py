"""What transforms of numbers owe: a series in parts is the series, and it comes back."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.transform import Floats, Transform
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Chain, States
from recurra.data.splits import Split
from recurra.data.store import Store
from recurra.testing.answers import demand, through_json
from recurra.testing.check import Measured, NotApplicable, check
from recurra.testing.checks.vocabulary.encoding import same
from recurra.testing.measure import FLOAT64, worst
from recurra.testing.subjects.vocabulary import VocabularySubject

ROWS = 60
"""Rows of each series beyond those that have no value."""
CUTS = (1, 7, 8)
"""Rows after which a series is cut."""


@check(
    "V15",
    "a series goes through its transforms and comes back",
    "vocabulary",
    firm=True,
    since="1.1",
)
def transformed(subject: VocabularySubject) -> Measured:
    """Each row is undone by its origins, which saw nothing but the rows before; parts make the
    whole; all is saved.

    A series cut anywhere, beside another one or alone, gives the same rows, origins and states to
    the bit; the origins of a row do not move when that row or a later one does, so that a forecast
    is undone by what is known when it is made; the origins of the row to come are those that it has
    once it came. Undone, rows are what they were within 1e-9, but for the `lag` first. What is
    handed in is not written on, and what was learned is in what the vocabulary saves. Where it has
    `against`, that is `apply` by origins, and those of the `period` rows to come are known. One
    that is of some `features` alone names each of them once. What `origins_each` and `apply_each`
    make of a row of several series is what `origins` and `apply` make of each. To mend it: keep
    nothing of a series on the object, all of it in the state, and build new arrays.
    """
    subject.yielding("numbers")
    built = subject.vocabulary(_series(ROWS, 0))
    _sound(built)
    if not built.transforms():
        raise NotApplicable("it has no transforms")
    # The longer the lag, the longer a series must be.
    lag = Chain(built).lag
    series = [_series(lag + ROWS, salt) for salt in (0, 1)]
    chain = _fitted(subject, series)
    findings = [_comes_back(chain, values) for values in series]
    findings += [_ahead(chain, values) for values in series if not chain.lacks_ahead()]
    _keeps_apart(chain, series)
    _side_by_side(chain, series)
    _is_saved(subject, chain, series[0])
    return worst(findings)


def _sound(vocabulary: Vocabulary[Any]) -> None:
    """Raise `Broken` unless the transforms are the same at each call, with whole numbers."""
    one, other = vocabulary.transforms(), vocabulary.transforms()
    sound = all(isinstance(step, Transform) for step in one)
    demand(sound, "transforms() gives what is no Transform")
    pairs = zip(one, other, strict=False)
    alike = len(one) == len(other) and all(a is b for a, b in pairs)
    demand(alike, "transforms() gives new objects at each call: what they have learned is lost")

    for step in one:
        for name, least in (("lag", 0), ("width", 0), ("period", 1)):
            value = getattr(step, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
            fact = f"{name} of {type(step).__name__} is {value!r}, not a whole number from {least}"
            demand(whole, fact)
        places = step.features
        fact = f"features of {type(step).__name__} are {places!r}, no places of two features"
        known = places is None or (len({*places}) == len(places) > 0 and {*places} <= {0, 1})
        demand(known, fact)


def _series(rows: int, salt: int) -> Floats:
    """Return numbers above 0 that wander, of two features."""
    draw = np.random.Generator(np.random.Philox(salt))
    steps = draw.normal(0, 0.1, (rows, 2))
    walk = np.exp(steps.cumsum(axis=0))
    values: Floats = walk * (1 + 10 * salt)
    return values


def _fitted(subject: VocabularySubject, series: list[Floats]) -> Chain:
    """Return the chain of a vocabulary that is fitted on all series."""
    copies = [values.copy() for values in series]
    chain = Chain(subject.vocabulary(*copies))
    sizes = np.array([len(values) for values in series])
    ends = sizes.cumsum()
    starts = ends - sizes
    store = Store(np.concatenate(series), starts, "")
    chain.fit(store, Split(starts, ends, starts))
    return chain


def _comes_back(chain: Chain, values: Floats) -> Measured:
    """Return how far a series that is transformed and undone is from what it was.

    Raises `Broken` if parts, or later rows, tell on it.
    """
    rows = chain.scaled(values)
    start = chain.start(rows)
    old_rows, old_start = copy.deepcopy((rows, start))
    whole, end = chain.apply(rows, start, 0)
    origins = chain.origins(rows, start)
    unspoilt = same(rows, old_rows) and _alike(start, old_start)
    demand(unspoilt, "apply or origins writes on the rows or the state that it is given")

    shape = [len(rows) + 1, chain.width, rows.shape[1]]
    fact = f"origins are {list(origins.shape)}, not {shape}"
    demand(list(origins.shape) == shape, fact)
    fact = f"apply gives {list(whole.shape)} for rows {list(rows.shape)}"
    demand(whole.shape == rows.shape, fact)
    demand(bool(np.isfinite(whole).all()), "a row becomes what is not finite")

    for cut in (*CUTS, chain.lag, len(rows)):
        head, between = chain.apply(rows[:cut], start, 0)
        tail, after = chain.apply(rows[cut:], between, cut)
        parts = same(np.concatenate([head, tail]), whole) and _alike(after, end)
        demand(parts, f"cut after {cut} rows, a series becomes another")
        rest = chain.origins(rows[cut:], between)
        demand(same(rest, origins[cut:]), f"cut after {cut} rows, a series has other origins")

        # The origins of row `cut` itself are made of the rows before it.
        moved = rows.copy()
        moved[cut:] *= 1.5
        early = chain.origins(moved, start)[: cut + 1]
        fact = f"the origins of row {cut} move with a row that has not come before it"
        demand(same(early, origins[: cut + 1]), fact)

    # The first rows have no origin: they are lost.
    undone = chain.invert(whole, origins[:-1])
    back, expected = undone[chain.lag :], values[chain.lag :]
    scale = np.abs(expected).max(axis=0)
    gap = np.abs(back - expected) / scale
    return Measured(float(gap.max()), FLOAT64)


def _ahead(chain: Chain, values: Floats) -> Measured:
    """Return how far rows that are told several at once, and undone, are from what they were.

    Raises `Broken` if what they are told by is not known before they come, or `against` is another
    map than `apply`.
    """
    rows = chain.scaled(values)
    start = chain.start(rows)
    whole, _ = chain.apply(rows, start, 0)
    own = chain.origins(rows, start)
    told = chain.against(rows, own[:-1])
    alike = np.allclose(told[chain.lag :], whole[chain.lag :], rtol=FLOAT64, atol=FLOAT64)
    demand(alike, "against makes another row than apply, by the same origins")

    at, steps = chain.lag + 7, max(1, len(rows) - chain.lag - 7)
    _, states = chain.apply(rows[:at], start, 0)
    known = chain.origins_ahead(states, steps)
    turns = chain.turns(steps) + at
    expected = own[turns, np.arange(chain.width)]
    fact = "the origins of rows to come, as many as `period` says, move with these rows"
    demand(same(known, expected), fact)

    back = chain.invert(chain.against(rows[at:], known), known)
    gap = np.abs(back - values[at:]) / np.abs(values).max(axis=0)
    return Measured(float(gap.max()), FLOAT64)


def _alike(one: States, other: States) -> bool:
    """Tell whether the states of all transforms are the same."""
    if len(one) != len(other):
        return False
    return all(same(a, b) for a, b in zip(one, other, strict=True))


def _keeps_apart(chain: Chain, series: list[Floats]) -> None:
    """Raise `Broken` if one series tells on another that is read between its rows."""
    rows = [chain.scaled(values) for values in series]
    alone = []
    for each in rows:
        whole, _ = chain.apply(each, chain.start(each), 0)
        alone.append(whole)

    # A few rows of one, a few of the other, in turns.
    states = [chain.start(each) for each in rows]
    parts: list[list[NDArray[Any]]] = [[], []]
    for at in range(0, len(rows[0]), 11):
        for index, each in enumerate(rows):
            few = each[at : at + 11]
            part, states[index] = chain.apply(few, states[index], at)
            parts[index].append(part)

    for of_series, whole in zip(parts, alone, strict=True):
        apart = same(np.concatenate(of_series), whole)
        demand(apart, "a series becomes another when a second one is read beside it")


def _side_by_side(chain: Chain, series: list[Floats]) -> None:
    """Raise `Broken` unless the next rows of several series go their way as each does alone."""
    rows = [chain.scaled(values) for values in series]
    # One lies a row behind the other.
    rows = [each[: len(each) - index] for index, each in enumerate(rows)]
    states = [chain.apply(each[:-1], chain.start(each), 0)[1] for each in rows]
    together = [np.stack(state) for state in zip(*states, strict=True)]
    last = np.stack([each[-1] for each in rows])
    origins = chain.origins_each(together)
    after = chain.after_each(last, together)

    for index, (row, own) in enumerate(zip(last, states, strict=True)):
        alone = chain.origins(row[None][:0], own)
        fact = "origins_each gives a series other origins than it has alone"
        demand(same(origins[index : index + 1], alone), fact)
        _, expected = chain.apply(row[None], own, len(series[0]))
        fact = "apply_each leaves a series in another state than apply does"
        demand(_alike([state[index] for state in after], expected), fact)


def _is_saved(subject: VocabularySubject, chain: Chain, values: Floats) -> None:
    """Raise `Broken` unless a vocabulary that is restored transforms as the one that was saved."""
    again = subject.vocabulary()
    again.restore(through_json(chain.vocabulary.save()))
    restored = Chain(again)
    rows = chain.scaled(values)
    expected, _ = chain.apply(rows, chain.start(rows), 0)
    transformed, _ = restored.apply(rows, restored.start(rows), 0)
    fact = "what is restored transforms otherwise: save what the transforms have learned too"
    demand(same(transformed, expected), fact)
