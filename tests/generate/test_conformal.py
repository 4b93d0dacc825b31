"""Conformal intervals by brute force: their ranks, their levels and what moves these."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.generate.abreast import Floats, Start
from recurra.generate.conformal import (
    RATE,
    Conformal,
    adapted,
    least,
    missed_by,
    quantile,
    rank,
)
from recurra.train.series import scale_of

LEVELS = st.integers(1, 999).map(lambda tenth: Fraction(tenth, 1000))


def spread(scores: Floats, **more: object) -> Conformal:
    """Return the spread of scores `[K, H, F, n]`."""
    return Conformal(scores.tolist() and [[list(step) for step in o] for o in scores], 1, **more)  # type: ignore[arg-type]


def start(history: Sequence[float]) -> Start:
    return Start(np.array(history, np.float64)[:, None])


@given(LEVELS, st.integers(1, 400))
def test_a_rank_is_the_least_that_holds(chance: Fraction, count: int) -> None:
    """The k-th of n scores lies above the next with chance k / (n + 1), in whole numbers."""
    holds = [k for k in range(1, count + 2) if Fraction(k, count + 1) >= chance]
    if chance >= Fraction(1, 2):
        assert rank(float(chance), count) == holds[0]
    else:
        below = [k for k in range(count + 2) if Fraction(k, count + 1) <= chance]
        assert rank(float(chance), count) == below[-1]
    enough = least(float(chance)) <= count
    assert enough == (1 <= rank(float(chance), count) <= count)


@given(st.integers(1, 30), LEVELS)
def test_what_comes_next_lies_below_a_quantile_as_often_as_it_says(
    count: int, chance: Fraction
) -> None:
    """Of any numbers each may be the next, the others its scores: as many lie below as promised."""
    if least(float(chance)) > count:
        return
    values, below = np.arange(count + 1.0), 0
    for place, value in enumerate(values):
        below += bool(value <= quantile(np.delete(values, place), float(chance)))
    one = Fraction(1, count + 1)
    if chance >= Fraction(1, 2):
        assert chance <= Fraction(below, count + 1) < chance + one
    else:
        assert chance - one < Fraction(below, count + 1) <= chance


@given(
    st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=6), min_size=1, max_size=40),
    st.sampled_from([0.1, 0.2, 0.4, 0.5]),
    st.sampled_from([0.0, 0.05, 0.4]),
)
def test_the_level_moves_as_gibbs_and_candes_have_it(
    origins: list[list[float]], alpha: float, rate: float
) -> None:
    """A plain loop: alpha + rate (alpha - missed), with sets of all scores before an origin."""
    now, seen = alpha, list[float]()
    for scores in origins:
        if len(seen) + 1 >= Fraction(2) / Fraction(str(alpha)):
            missed = 0
            for score in scores:
                ordered = sorted(seen)
                k = math.ceil(round((len(seen) + 1) * (1 - now / 2), 9))
                if now <= 0 or k > len(seen):
                    continue
                outside = score > ordered[k - 1] or score < ordered[len(seen) - k]
                missed += now >= 1 or outside
            now = now + rate * (alpha - missed / len(scores))
        seen += scores
    got = adapted([np.array(scores) for scores in origins], alpha, rate)
    assert got == pytest.approx(now, abs=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([1.0, 1e6, 1e-4]))
def test_an_interval_is_the_quantile_of_its_step_times_the_scale(seed: int, factor: float) -> None:
    """Of each step and column by itself; what is multiplied has its interval multiplied."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(2, 3, 2, 30))
    made = spread(scores)
    history, point = draw.normal(size=(9, 2)), draw.normal(size=(3, 2))
    (got,) = made.quantiles([Start(history * factor)], [point * factor], [0.1, 0.5, 0.9])
    for step in range(3):
        for column in range(2):
            pooled = sorted(scores[:, step, column].ravel().tolist())
            scale = scale_of(history, 1)[column]
            for place, k in enumerate((6, 31, 55)):
                want = (point[step, column] + pooled[k - 1] * scale) * factor
                assert got[place, step, column] == pytest.approx(want, rel=1e-9, abs=1e-12)


def test_a_series_that_does_not_change_has_no_interval() -> None:
    """Nothing tells how large an error of it is: neither a width of 0 nor another series does."""
    made = spread(np.random.default_rng(0).normal(size=(1, 2, 1, 20)))
    points = [np.ones((2, 1)), np.ones((2, 1))]
    flat, other = made.quantiles([start([4, 4, 4]), start([1, 2, 4])], points, [0.1, 0.9])
    assert np.isnan(flat).all() and np.isfinite(other).all()


class Halves:
    """A spread whose 80 % interval is twice as wide as the last number of a series."""

    steps = 0

    def lacks(self, chance: float) -> str:
        """Lack nothing."""
        return ""

    def quantiles(
        self, starts: Sequence[Start], points: Sequence[Floats], chances: Sequence[float]
    ) -> Iterator[Floats]:
        """Give them."""
        for one, point in zip(starts, points, strict=True):
            width = float(one.history[-1, 0])
            yield np.stack([point + (2 * chance - 1) / 0.8 * width for chance in chances])


def test_over_a_distribution_half_its_interval_is_the_unit() -> None:
    scores = np.random.default_rng(1).normal(size=(1, 2, 1, 40))
    made = spread(scores, base=Halves())
    (got,) = made.quantiles([start([1.0, 7.0])], [np.zeros((2, 1))], [0.9])
    pooled = np.sort(scores[0, :, 0], axis=-1)
    np.testing.assert_allclose(got[0, :, 0], pooled[:, math.ceil(41 * 0.9) - 1] * 7)


def test_what_scores_cannot_tell_is_said_with_how_many_it_takes() -> None:
    made = spread(np.zeros((1, 1, 1, 18)))
    assert made.lacks(0.95) == "of a step 18 scores are kept, and it needs 19"
    assert not made.lacks(0.9) and not made.lacks(0.1) and made.lacks(0.05)


def test_misses_move_a_level_from_then_on() -> None:
    """What was missed widens intervals of that level, and of no other; what is unknown none."""
    scores = np.random.default_rng(2).normal(size=(1, 2, 1, 99))
    made = spread(scores, adaptive=True)
    alpha = missed_by(0.9)
    assert alpha == missed_by(0.1) == 0.2
    after = made.after(alpha, np.array([[1.0], [np.nan]])).after(alpha, np.array([[0.5], [np.nan]]))
    assert after.missing(alpha).tolist() == [[0.2 - RATE * 1.1], [0.2]]
    assert after.quantile(0.9)[0, 0] > made.quantile(0.9)[0, 0]
    assert after.quantile(0.9)[1, 0] == made.quantile(0.9)[1, 0]
    np.testing.assert_array_equal(after.quantile(0.95), made.quantile(0.95))
