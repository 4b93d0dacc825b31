"""Distributions as losses: densities, chances, quantiles, draws and scores by other means."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import softplus

from recurra.contracts.distribution import DECILES
from recurra.randomness import derive, uniforms
from recurra_losses.beta import betainc
from recurra_losses.gaussian_nll import GaussianNLL
from recurra_losses.laplace_nll import LaplaceNLL
from recurra_losses.options import (
    GaussianNLLOptions,
    LaplaceNLLOptions,
    QuantileOptions,
    StudentTOptions,
)
from recurra_losses.quantile import Quantile
from recurra_losses.student_t import StudentT

LEAST = 1e-3
LEVELS = (0.001, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 0.999)
laws = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 999)


def normal(location, scale):
    return torch.distributions.Normal(location, scale)


def laplace(location, scale):
    return torch.distributions.Laplace(location, scale)


def student(location, scale, freedom):
    return torch.distributions.StudentT(softplus(freedom) + 2, location, scale)


LOCATED = {
    "gaussian_nll": (lambda size: GaussianNLL(size, GaussianNLLOptions()), normal),
    "laplace_nll": (lambda size: LaplaceNLL(size, LaplaceNLLOptions()), laplace),
    "student_t": (lambda size: StudentT(size, StudentTOptions()), student),
}
located = pytest.mark.parametrize("kind", LOCATED)


def outputs(loss, steps=4, seed=0, wide=1.0):
    draw = torch.Generator().manual_seed(seed)
    return wide * torch.randn(steps, loss.output_size, generator=draw, dtype=torch.float64)


def reference(kind, output, size):
    """Return torch's own distribution of the outputs."""
    location, raw, *form = output.split(size, dim=-1)
    return LOCATED[kind][1](location, softplus(raw) + LEAST, *form)


@located
@laws
@given(seed=seeds, size=st.integers(1, 3))
def test_densities_are_torchs(kind, seed, size):
    """The loss is minus torch's log density, its mean over the columns."""
    loss = LOCATED[kind][0](size)
    output, target = outputs(loss, 5, seed, 2), outputs(loss, 5, seed + 1, 3)[:, :size]
    expected = reference(kind, output, size).log_prob(target)
    torch.testing.assert_close(loss.log_prob(output, target), expected)
    torch.testing.assert_close(loss.elementwise(output, target), -expected)
    torch.testing.assert_close(loss(output, target), -expected.mean(dim=-1))
    assert torch.equal(loss.point(output), output[:, :size])


@pytest.mark.parametrize("kind", ["gaussian_nll", "laplace_nll"])
def test_chances_and_quantiles_are_torchs(kind):
    """Chances up to a number, and numbers up to a chance, are those of torch."""
    loss = LOCATED[kind][0](2)
    output, target = outputs(loss, 50, wide=2), outputs(loss, 50, 1, 3)[:, :2]
    torchs = reference(kind, output, 2)
    torch.testing.assert_close(loss.cdf(output, target), torchs.cdf(target))
    for level in LEVELS:
        expected = torchs.icdf(torch.full((50, 2), level, dtype=torch.float64))
        found = loss.quantile(output, [level])[..., 0]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def chance_of_t(z, freedom):
    """Return the chance of no more than z, by mpmath."""
    with mpmath.workdps(40):
        inside = freedom / (freedom + mpmath.mpf(z) ** 2)
        tail = mpmath.betainc(freedom / 2, 0.5, 0, inside, regularized=True) / 2
    return tail if z < 0 else 1 - tail


def test_chances_of_students_t_are_those_of_mpmath():
    """From 2.001 degrees of freedom to a million, in the centre and far out."""
    freedoms, places = [2.001, 3.0, 7.5, 40.0, 1e3, 1e6], [-60.0, -3.0, -1e-6, 0.0, 0.4, 2.5, 9.0]
    raw = torch.tensor(freedoms, dtype=torch.float64) - 2
    raw = raw + torch.log(-torch.expm1(-raw))  # softplus back
    loss = StudentT(1, StudentTOptions(least=1e-9))
    one = math.log(math.e - 1)
    for free, inverse in zip(freedoms, raw.tolist(), strict=True):
        for z in places:
            output = torch.tensor([0.0, one, inverse], dtype=torch.float64)
            found = float(loss.cdf(output, torch.tensor([z], dtype=torch.float64)))
            expected = float(chance_of_t(z / (1 + 1e-9), free))
            assert found == pytest.approx(expected, rel=1e-7, abs=1e-300), (free, z)


@pytest.mark.parametrize("a", [0.02, 0.5, 3.0, 80.0, 300.0])
@pytest.mark.parametrize("b", [0.02, 0.5, 3.0, 80.0, 300.0])
def test_the_incomplete_beta_function_is_that_of_mpmath(a, b):
    """For small and large a and b, at both ends and where the weight lies."""
    middle = a / (a + b)
    places = [0.0, 1e-12, middle * 0.7, middle, 1 - 0.8 * (1 - middle), 1 - 1e-9, 1.0]
    x = torch.tensor(places, dtype=torch.float64)
    whole = torch.full_like(x, a), torch.full_like(x, b)
    found = betainc(*whole, x, 1 - x)
    for place, value in zip(places, found.tolist(), strict=True):
        expected = float(mpmath.betainc(a, b, 0, mpmath.mpf(place), regularized=True))
        assert value == pytest.approx(expected, rel=1e-8, abs=1e-200), place
    parts = *whole, x, 1 - x
    alone = [betainc(*(part[place : place + 1] for part in parts)) for place in range(len(x))]
    torch.testing.assert_close(torch.cat(alone), found, rtol=1e-13, atol=0)


@pytest.mark.parametrize("kind", [*LOCATED, "quantile"])
@laws
@given(seed=seeds)
def test_quantiles_are_where_the_chance_is_reached(kind, seed):
    """The chance up to the quantile of a level is the level; a level for all, and each alone."""
    loss = Quantile(2, QuantileOptions()) if kind == "quantile" else LOCATED[kind][0](2)
    output = outputs(loss, 6, seed, 2)
    for level in LEVELS:
        quantile = loss.quantile(output, [level])[..., 0]
        torch.testing.assert_close(
            loss.cdf(output, quantile), torch.full_like(quantile, level), rtol=1e-7, atol=1e-9
        )
    draw = torch.Generator().manual_seed(seed)
    chance = torch.rand(6, 2, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(
        loss.cdf(output, loss.icdf(output, chance)), chance, rtol=1e-9, atol=1e-11
    )
    many = loss.quantile(output, LEVELS)
    assert (many.diff(dim=-1) > 0).all()


def test_a_quantile_of_students_t_is_the_same_by_either_way():
    """At a level for all, which is a polynomial, and at each chance by itself; as one alone is."""
    loss = StudentT(1, StudentTOptions())
    freedom = torch.cat([torch.linspace(-8, 8, 100), torch.linspace(9, 1e6, 50)]).double()
    output = torch.stack([torch.zeros_like(freedom), torch.zeros_like(freedom), freedom], dim=-1)
    for level in (0.0005, 0.05, 0.4, 0.5, 0.93):
        of_all = loss.quantile(output, [level])[..., 0]
        chance = torch.full_like(of_all, level)
        each = loss.icdf(output, chance)
        torch.testing.assert_close(of_all, each, rtol=1e-8, atol=1e-9)
        alone = torch.cat([loss.icdf(row[None], chance[:1]) for row in output[::20]])
        torch.testing.assert_close(alone, each[::20], rtol=1e-11, atol=0)


@pytest.mark.parametrize("kind", [*LOCATED, "quantile"])
def test_draws_are_of_the_distribution_and_each_of_its_own_number(kind):
    """The share of draws below a quantile is its level; a draw alone is the one in company."""
    loss = Quantile(1, QuantileOptions()) if kind == "quantile" else LOCATED[kind][0](1)
    output = outputs(loss, 1, 3).expand(4000, -1)
    numbers = torch.from_numpy(uniforms(derive(0, "test"), 0, 4000, 1))
    drawn = loss.sample(output, numbers)
    for level in DECILES:
        share = (drawn <= loss.quantile(output[:1], [level])[..., 0]).double().mean()
        assert abs(float(share) - level) < 5 * math.sqrt(level * (1 - level) / 4000)
    alone = torch.cat([loss.sample(output[:1], one) for one in numbers[:7, None]])
    torch.testing.assert_close(alone, drawn[:7], rtol=1e-12, atol=1e-12)
    ends = torch.tensor([[0.0], [1 - 2.0**-52]], dtype=torch.float64)
    assert torch.isfinite(loss.sample(output[:2], ends)).all()


@located
def test_the_score_is_the_integral_of_what_chances_are_off(kind):
    """CRPS is the integral of (F(x) - [x >= y])^2, by a fine sum."""
    loss = LOCATED[kind][0](1)
    output, target = outputs(loss, 3, 5), outputs(loss, 3, 6)[:, :1]
    ends = loss.quantile(output, [1e-5, 1 - 1e-5])[:, 0]
    for row in range(3):
        low = min(float(ends[row, 0]), float(target[row, 0])) - 1
        high = max(float(ends[row, 1]), float(target[row, 0])) + 1
        nodes = low + (high - low) * np.linspace(0, 1, 400_001)
        x = torch.from_numpy(nodes)[:, None]
        off = loss.cdf(output[row], x)[:, 0] - (x[:, 0] >= target[row]).double()
        expected = np.trapezoid(off.square().numpy(), nodes)
        assert float(loss.crps(output[row], target[row])) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", [*LOCATED, "quantile"])
def test_gradients_are_those_of_the_function(kind):
    """By finite differences, in double precision."""
    loss = Quantile(2, QuantileOptions()) if kind == "quantile" else LOCATED[kind][0](2)
    output = outputs(loss, 3, 7).requires_grad_()
    target = outputs(loss, 3, 8)[:, :2] * 2
    assert torch.autograd.gradcheck(lambda out: loss(out, target), (output,))


@located
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_single_precision_is_near_double(kind, size):
    """Small and large answers, narrow and wide, and many degrees of freedom."""
    loss = LOCATED[kind][0](1)
    draw = torch.Generator().manual_seed(1)
    spread = torch.linspace(-30, 3000, 40, dtype=torch.float64)
    parts = [size * torch.randn(40, generator=draw, dtype=torch.float64), spread, spread.flip(0)]
    output = torch.stack(parts, dim=-1)[:, : loss.output_size]
    target = size * torch.randn(40, 1, generator=draw, dtype=torch.float64)
    # The same numbers for both.
    output, target = output.float(), target.float()
    exact = loss(output.double(), target.double())
    torch.testing.assert_close(loss(output, target).double(), exact, rtol=2e-4, atol=2e-4)


def test_quantiles_cost_what_pinballs_do():
    """Twice the mean pinball loss; of the median alone the absolute error."""
    levels = [0.05, 0.3, 0.5, 0.6]
    loss = Quantile(2, QuantileOptions(levels=levels))
    output, target = outputs(loss, 4, 9), outputs(loss, 4, 10)[:, :2]
    found = loss.elementwise(output, target)
    quantiles = loss.quantile(output, levels)
    for row in range(4):
        for column in range(2):
            costs = []
            for place, level in enumerate(levels):
                error = float(target[row, column] - quantiles[row, column, place])
                costs.append(2 * (level * error if error > 0 else (level - 1) * error))
            assert float(found[row, column]) == pytest.approx(np.mean(costs))
    alone = Quantile(2, QuantileOptions(levels=[0.5]))
    torch.testing.assert_close(
        alone(output[:, :2], target), (output[:, :2] - target).abs().mean(dim=-1)
    )
    assert torch.equal(loss.point(output), loss.quantile(output, [0.5])[..., 0])


def test_a_network_that_says_nothing_gives_the_quantiles_of_a_normal_distribution():
    """Zeros are N(0, 1), at any levels; what lies between two levels is on the line of theirs."""
    levels = [0.1, 0.4, 0.7, 0.95]
    loss = Quantile(1, QuantileOptions(levels=levels))
    nothing = torch.zeros(1, loss.output_size, dtype=torch.float64)
    quantiles = loss.quantile(nothing, levels)[0, 0]
    gaps = torch.special.ndtri(torch.tensor(levels, dtype=torch.float64)).diff()
    torch.testing.assert_close(quantiles.diff(), gaps)
    middle = loss.quantile(nothing, [0.5])[0, 0]
    torch.testing.assert_close(loss.point(nothing)[0].double(), middle)
    torch.testing.assert_close(middle[0], quantiles[1] + (quantiles[2] - quantiles[1]) / 3)


@pytest.mark.parametrize(
    ("levels", "named"),
    [
        ([], "at least 1"),
        ([0.5, 0.5], "above"),
        ([0.9, 0.5], "above"),
        ([0.6, 0.9], "median"),
        ([0.0, 0.5], "greater"),
        ([0.5, 1.0], "less"),
    ],
)
def test_levels_are_chances_in_order_about_the_median(levels, named):
    """Others are refused with what they must be."""
    with pytest.raises(ValueError, match=named):
        QuantileOptions(levels=levels)


def test_what_learns_a_distribution_finds_it():
    """A loss of one's own draws is least, on average, for the outputs that they were drawn of."""
    for kind in LOCATED:
        loss = LOCATED[kind][0](1)
        truth = outputs(loss, 1, 11)
        numbers = torch.from_numpy(uniforms(derive(1, kind), 0, 20_000, 1))
        drawn = loss.sample(truth.expand(20_000, -1), numbers)
        best = loss(truth.expand(20_000, -1), drawn).mean()
        for part in range(loss.output_size):
            for change in (-0.3, 0.3):
                other = truth.clone()
                other[0, part] += change
                assert loss(other.expand(20_000, -1), drawn).mean() > best


@pytest.mark.parametrize("kind", [*LOCATED, "quantile"])
@pytest.mark.parametrize("sick", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_no_number_has_no_finite_loss(kind, sick):
    """Wherever it stands, training sees it, and ends as of any other divergence."""
    loss = Quantile(1, QuantileOptions()) if kind == "quantile" else LOCATED[kind][0](1)
    output, target = outputs(loss, 1, 2), torch.ones(1, 1, dtype=torch.float64)
    output[0, loss.anchor if kind == "quantile" else 0] = sick
    assert not torch.isfinite(loss(output, target)).any()


def test_draws_of_student_t_are_its_quantiles():
    """What makes draws is quicker than what makes quantiles, and no number of draws tells."""
    loss = LOCATED["student_t"][0](1)
    output = outputs(loss, 40, 5).repeat_interleave(100, dim=0)
    numbers = torch.from_numpy(uniforms(derive(1, "test"), 0, len(output), 1))
    exact = loss.icdf(output, numbers + 2.0**-53)
    torch.testing.assert_close(loss.sample(output, numbers), exact, rtol=1e-6, atol=1e-7)
