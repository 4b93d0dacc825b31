"""What a few seeds tell, against simulations, brute force and another library."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.comparing import statistics

DRAWS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.standard_t(2, size=shape),
    "skewed": lambda rng, shape: rng.exponential(size=shape),
    "few values": lambda rng, shape: rng.integers(0, 3, size=shape) / 360,
    "coin": lambda rng, shape: rng.integers(0, 2, size=shape).astype(float),
}
"""How figures of one cell may fall from seed to seed."""


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("variants", [2, 4])
def test_a_cell_under_several_names_is_noise(name: str, variants: int) -> None:
    """Of comparisons of one cell with itself, all pairs are noise in 19 of 20, whatever falls."""
    rng, trials, wrong = np.random.default_rng(1), 1200, 0
    for _ in range(trials):
        costs = DRAWS[name](rng, (variants, 5))
        wrong += any(pair.better is not None for pair in statistics.pairs(costs))
    allowed = 0.05
    assert wrong / trials <= allowed + 3 * math.sqrt(allowed * (1 - allowed) / trials)


def test_a_large_difference_is_seen() -> None:
    """What is six spreads apart is found in nearly all comparisons, and on the right side."""
    rng, found = np.random.default_rng(2), 0
    for _ in range(200):
        costs = rng.normal(size=(2, 5))
        costs[0] -= 6
        (pair,) = statistics.pairs(costs)
        assert pair.better in (0, None)
        found += pair.better == 0
    assert found > 190


@given(st.integers(1, 40), st.floats(0.01, 5))
@settings(max_examples=40)
def test_students_t_is_the_integral_of_its_density(freedom: int, t: float) -> None:
    """The chance to lie inside is the integral that defines it, taken step by step."""
    x = np.linspace(0, t, 4_001)
    density = (1 + x * x / freedom) ** (-(freedom + 1) / 2)
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2)
    share = 2 * scale / math.sqrt(freedom * math.pi) * np.trapezoid(density, x)
    assert statistics.inside(t, freedom) == pytest.approx(float(share), abs=1e-6)
    assert statistics.student(float(share), freedom) == pytest.approx(t, rel=1e-3)


@pytest.mark.parametrize(
    ("level", "freedom", "t"),
    [(0.95, 1, 12.7062), (0.95, 4, 2.776445), (0.99, 4, 4.604095), (0.95, 9, 2.262157)],
)
def test_students_t_is_that_of_the_tables(level: float, freedom: int, t: float) -> None:
    """The quantiles are the printed ones."""
    assert statistics.student(level, freedom) == pytest.approx(t, rel=1e-5)


def test_the_bootstrap_is_that_of_every_resample() -> None:
    """The interval of 5 values is that of all 5^5 resamples, but for the draw."""
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    means = [np.mean(each) for each in itertools.product(values, repeat=5)]
    low, high = np.quantile(means, [0.025, 0.975])
    found = statistics.interval(values)
    assert found is not None
    assert found == pytest.approx((low, high), abs=0.25)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=4))
def test_fewer_than_five_seeds_tell_no_interval(values: list[float]) -> None:
    """No interval and no verdict are made of them."""
    assert statistics.interval(np.array(values)) is None
    (pair,) = statistics.pairs(np.array([values, [value + 100 for value in values]]))
    assert pair.interval is None and pair.better is None and pair.why == "too few seeds"


COSTS = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, math.inf]), min_size=5, max_size=5),
    min_size=2,
    max_size=4,
).map(np.array)


@given(COSTS)
def test_one_that_fails_stands_behind_all_that_do_not(costs: np.ndarray) -> None:
    """Ranks go by failures first, then by means; no interval and no verdict come of a failure."""
    ranks = statistics.ranks(costs)
    failures = np.isinf(costs).sum(axis=1)
    for one, other in itertools.permutations(range(len(costs)), 2):
        if failures[one] < failures[other]:
            assert ranks[one] < ranks[other]
    assert min(ranks) == 1
    for pair in statistics.pairs(costs):
        if failures[pair.first] or failures[pair.second]:
            assert (pair.why, pair.better, pair.interval) == ("failed", None, None)


@given(COSTS)
def test_the_chance_of_improvement_is_counted(costs: np.ndarray) -> None:
    """It is the share of all pairs of runs, counted one by one; both ways it adds up to 1."""
    one, other = costs[:2]
    wins = sum(1.0 if a < b else 0.5 if a == b else 0.0 for a in one for b in other) / 25
    assert statistics.improvement(one, other) == pytest.approx(wins)
    assert statistics.improvement(other, one) == pytest.approx(1 - wins)
