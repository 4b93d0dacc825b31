"""From logits to a symbol: each rule against the set it must leave, and draws against their
probabilities.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recurra.generate.draws import begun
from recurra.generate.sampling import Sampling, penalised

logits = st.lists(st.integers(-384, 384).map(lambda n: n / 64), min_size=1, max_size=9)
NONE_SEEN = torch.zeros(1, 1, dtype=torch.bool)


def _chances(values: list[float], **rules: float) -> list[float]:
    return Sampling(**{"temperature": 1.0, **rules}).chances(torch.tensor([values]))[0].tolist()  # type: ignore[arg-type]


def _softmax(values: list[float], temperature: float) -> list[float]:
    weights = [math.exp((value - max(values)) / temperature) for value in values]
    return [weight / sum(weights) for weight in weights]


def _left(
    values: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> list[int]:
    """Return the symbols that may be drawn, by the rules in their order, one symbol at a time."""
    chances = _softmax(values, temperature)
    ranked = sorted(range(len(values)), key=lambda i: (-chances[i], i))
    if top_k:
        ranked = ranked[:top_k]
    whole = sum(chances[i] for i in ranked)
    kept, sum_before = [], 0.0
    for index in ranked:
        # Neither side of the border can be right about a rounding error.
        assume(abs(sum_before - top_p) > 1e-5)
        if sum_before < top_p or top_p == 1:
            kept.append(index)
        sum_before += chances[index] / whole
    share = [chances[i] / chances[ranked[0]] for i in kept]
    assume(all(abs(s - min_p) > 1e-5 for s in share[1:]))
    return [index for index, s in zip(kept, share, strict=True) if s >= min_p or index == ranked[0]]


@given(
    values=logits, temperature=st.floats(0.05, 5), top_k=st.integers(0, 10),
    top_p=st.just(1.0) | st.floats(0.01, 0.99), min_p=st.just(0.0) | st.floats(0.01, 0.99),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_what_may_be_drawn_is_what_the_rules_leave(
    values: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    """Temperature, top-k, top-p and min-p, in this order, leave just these symbols, in the
    proportions of before.
    """
    left = _left(values, temperature, top_k, top_p, min_p)
    found = _chances(values, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    plain = _softmax(values, temperature)
    assume(all(plain[i] > 1e-30 for i in left))
    assert sum(found) == pytest.approx(1, abs=1e-5)
    assert {i for i, chance in enumerate(found) if chance > 0} == set(left)
    whole = sum(plain[i] for i in left)
    assert [found[i] for i in left] == pytest.approx([plain[i] / whole for i in left], abs=1e-5)


@given(values=logits, rules=st.fixed_dictionaries({}, optional={
    "top_k": st.integers(1, 9), "top_p": st.floats(0.01, 1), "min_p": st.floats(0, 0.99),
}))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_the_likeliest_may_always_be_drawn(values: list[float], rules: dict[str, float]) -> None:
    """However strict the rules, the likeliest symbol is left."""
    assert _chances(values, **rules)[values.index(max(values))] > 0


@given(values=logits, temperature=st.sampled_from([0.0, 1e-320, 1e-46, 1e-20, 1e-4]))
@settings(max_examples=100, deadline=None)
def test_greedy_is_the_first_of_the_likeliest_and_the_limit_of_cold(
    values: list[float], temperature: float
) -> None:
    """Temperature 0 picks the argmax, and so does any temperature that is close enough to it."""
    best = values.index(max(values))
    assume(all(max(values) - v > 1e-2 for i, v in enumerate(values) if i != best))
    picked = Sampling(temperature=temperature).pick(torch.tensor([values]), NONE_SEEN, begun(0))
    assert picked.tolist() == [best]


EXTREMES = st.sampled_from([5e-324, 1e-300, 1e-45, 1e-38, 1e-7, 1.0, 1e7, 1e38, 1e300, 1.7e308])


@given(
    values=st.lists(st.sampled_from([0.0, -0.0, 1e-45, 0.5, -0.5, 80.0, -80.0, 3e38, -3e38]),
        min_size=1, max_size=6),
    temperature=EXTREMES, penalty=EXTREMES, marks=st.lists(st.booleans(), min_size=6, max_size=6),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_setting_is_too_large_or_too_small(
    values: list[float], temperature: float, penalty: float, marks: list[bool]
) -> None:
    """Whatever a table takes as temperature and penalty, there are chances that add up to 1, and a
    symbol is drawn.
    """
    row, seen = torch.tensor([values]), torch.tensor([marks[: len(values)]])
    rule = Sampling(temperature=temperature, repetition_penalty=penalty)
    chances = rule.chances(torch.where(seen, penalised(row, penalty), row))
    assert float(chances.sum()) == pytest.approx(1, abs=1e-5) and bool((chances >= 0).all())
    assert 0 <= int(rule.pick(row, seen, begun(0))) < len(values)


def test_heat_evens_out() -> None:
    """The higher the temperature, the closer the chances come to each other."""
    spread = [
        max(c) - min(c)
        for t in (0.3, 1.0, 3.0, 1e6)
        for c in [_chances([0.0, 1.0, 2.0], temperature=t)]
    ]
    assert spread == sorted(spread, reverse=True) and spread[-1] < 1e-5


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"temperature": 0.5},
        {"top_k": 3},
        {"top_p": 0.8},
        {"min_p": 0.3},
        {"top_k": 4, "top_p": 0.9, "min_p": 0.05},
    ],
)
def test_draws_follow_the_chances(rules: dict[str, float]) -> None:
    """40,000 draws under one seed are as often as they should be, by Pearson's chi-square, and
    never what is barred.
    """
    values = [1.0, 0.2, -0.5, 0.9, -2.0, 0.0]
    chances, draws = _chances(values, **rules), 40_000
    rule = Sampling(**{"temperature": 1.0, **rules})  # type: ignore[arg-type]
    picked = rule.pick(torch.tensor([values]).expand(draws, -1), NONE_SEEN, begun(11))
    counts = torch.bincount(picked, minlength=len(values)).tolist()
    live = [
        (count, chance * draws) for count, chance in zip(counts, chances, strict=True) if chance
    ]
    assert sum(count for count, _ in live) == draws
    freedom = len(live) - 1
    assert (
        sum((count - wanted) ** 2 / wanted for count, wanted in live)
        < freedom + 4 * math.sqrt(2 * freedom) + 4
    )


@given(values=logits, penalty=st.floats(1.01, 10), seen=st.data())
@settings(max_examples=100, deadline=None)
def test_a_penalty_above_one_makes_what_has_come_less_likely(
    values: list[float], penalty: float, seen: st.DataObject
) -> None:
    """Divided above 0, multiplied below: a penalty above 1 never raises a logit, and one below 1
    never lowers it.
    """
    marks = torch.tensor(
        [seen.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))]
    )
    row = torch.tensor([values])
    lower, higher = penalised(row, penalty), penalised(row, 1 / penalty)
    assert bool((lower <= row).all()) and bool((higher >= row).all())
    assert bool((lower < row)[row.abs() > 1e-3].all())
    after = torch.where(marks, lower, row)
    assume(len(after[0].topk(min(2, len(values))).values.unique()) == min(2, len(values)))
    rule = Sampling(repetition_penalty=penalty)
    assert rule.pick(row, marks, torch.Generator()).tolist() == [int(after.argmax())]


def test_the_penalty_comes_before_the_temperature() -> None:
    """Greedy too is penalised: a symbol that has come gives way to one that is nearly as likely."""
    row, seen = torch.tensor([[2.0, 1.9]]), torch.tensor([[True, False]])
    assert Sampling().pick(row, seen, torch.Generator()).tolist() == [0]
    assert Sampling(repetition_penalty=1.2).pick(row, seen, torch.Generator()).tolist() == [1]


def test_top_p_looks_at_what_top_k_has_left() -> None:
    """Of 0.4, 0.3, 0.2, 0.1, the two likeliest hold 4/7 and 3/7: a share of 0.55 of them is the
    first alone.
    """
    values = [math.log(p) for p in (0.4, 0.3, 0.2, 0.1)]
    assert [c > 0 for c in _chances(values, top_p=0.55)] == [True, True, False, False]
    assert [c > 0 for c in _chances(values, top_k=2, top_p=0.55)] == [True, False, False, False]
