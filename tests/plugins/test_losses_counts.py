"""Distributions of counts: chances by torch, by mpmath and by sums, and what a scale means."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from recurra.contracts.distribution import DECILES
from recurra.randomness import derive, uniforms
from recurra_losses.counted import LEAST
from recurra_losses.negative_binomial import LEAST as LEAST_ALPHA
from recurra_losses.negative_binomial import NegativeBinomial
from recurra_losses.options import NegativeBinomialOptions, PoissonOptions
from recurra_losses.poisson import Poisson

KINDS = {
    "poisson": lambda size: Poisson(size, PoissonOptions()),
    "negative_binomial": lambda size: NegativeBinomial(size, NegativeBinomialOptions()),
}
kinds = pytest.mark.parametrize("kind", KINDS)
scales = pytest.mark.parametrize("scale", [None, 1.0, 0.37, 250.0])


def outputs(loss, steps=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(steps, loss.output_size, generator=draw, dtype=torch.float64)


def parts(kind, output, scale):
    """Return mean and dispersion in counts, as the formulas of the pages say."""
    scale = 1.0 if scale is None else scale
    raw = output.chunk(1 if kind == "poisson" else 2, dim=-1)
    mean = (softplus(raw[0]) + LEAST) * scale
    if kind == "poisson":
        return mean, None
    return mean, (softplus(raw[1]) + LEAST_ALPHA) / math.sqrt(scale)


def torchs(kind, output, scale):
    mean, alpha = parts(kind, output, scale)
    if kind == "poisson":
        return torch.distributions.Poisson(mean)
    r = 1 / alpha
    return torch.distributions.NegativeBinomial(r, probs=mean / (mean + r))


def filled(scale, like):
    return None if scale is None else torch.full_like(like, scale)


@kinds
@scales
def test_chances_are_torchs_at_any_scale(kind, scale):
    """A target y is y scale counts, rounded, and of what the network gives the mean is scaled."""
    loss = KINDS[kind](2)
    output = outputs(loss)
    counts = torch.tensor([[0, 1], [2, 7], [30, 3], [400, 0], [1, 1]], dtype=torch.float64)
    target = counts / (scale or 1.0)
    expected = torchs(kind, output, scale).log_prob(counts)
    found = loss.log_prob(output, target, filled(scale, target))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        loss(output, target, filled(scale, target)), -expected.mean(dim=-1), rtol=1e-9, atol=1e-9
    )
    mean, _ = parts(kind, output, scale)
    torch.testing.assert_close(loss.point(output) * (scale or 1.0), mean)


@kinds
@scales
def test_chances_add_up_and_quantiles_are_counts(kind, scale):
    """The chance up to a count is the sum of those to it, and a quantile is the first that reaches
    its level.
    """
    loss = KINDS[kind](1)
    output = outputs(loss, 4)
    counts = torch.arange(1500, dtype=torch.float64)[:, None]
    for row in output:
        row = row.expand(1500, -1)
        many = filled(scale, counts)
        target = counts / (scale or 1.0)
        sums = loss.log_prob(row, target, many).exp().cumsum(dim=0)
        torch.testing.assert_close(loss.cdf(row, target, many), sums, rtol=1e-8, atol=1e-9)
        for level in (1e-4, *DECILES, 0.999):
            if float(sums[-1]) < level + 1e-9:
                continue
            one = None if scale is None else many[:1]
            found = loss.quantile(row[:1], [level], one)[..., 0] * (scale or 1.0)
            first = int((sums[:, 0] < level).sum())
            assert float(found) == pytest.approx(first, abs=1e-6)


def test_large_counts_are_counted_as_mpmath_counts_them():
    """Means and counts of a million, in single precision too."""
    mean, alpha, count = 1.2e6, 0.03, 1.1e6
    with mpmath.workdps(40):
        r = 1 / mpmath.mpf(alpha)
        log = mpmath.loggamma(count + r) - mpmath.loggamma(count + 1) - mpmath.loggamma(r)
        log += r * mpmath.log(r / (r + mean)) + count * mpmath.log(mean / (r + mean))
        poisson = count * mpmath.log(mean) - mean - mpmath.loggamma(count + 1)
    raw = math.log(math.expm1(alpha - LEAST_ALPHA))
    for dtype, near in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        output = torch.tensor([[mean - LEAST, raw]], dtype=dtype)
        target = torch.tensor([[count]], dtype=dtype)
        found = KINDS["negative_binomial"](1).log_prob(output, target)
        assert float(found) == pytest.approx(float(log), rel=near)
        found = KINDS["poisson"](1).log_prob(output[:, :1], target)
        assert float(found) == pytest.approx(float(poisson), rel=near)
    quantile = KINDS["poisson"](1).quantile(output[:, :1].double(), [0.5])
    assert abs(float(quantile) - mean) < 2


@kinds
def test_gradients_are_those_of_the_function(kind):
    """By finite differences, in double precision, with a scale and without."""
    loss = KINDS[kind](2)
    output = outputs(loss, 3, 7).requires_grad_()
    target = torch.tensor([[0.0, 3.0], [1.0, 12.0], [2.0, 0.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda out: loss(out, target), (output,))
    many = torch.full_like(target, 6.0)
    assert torch.autograd.gradcheck(lambda out: loss(out, target, many), (output,))


@scales
def test_the_score_of_a_poisson_distribution_is_its_sum(scale):
    """CRPS is the sum over the counts of (F(k) - [k >= y])^2, in scaled units."""
    loss = KINDS["poisson"](1)
    output = outputs(loss, 3, 5)
    counts = torch.arange(3000, dtype=torch.float64)[:, None]
    for row, came in zip(output, (0.0, 4.0, 90.0), strict=True):
        target = torch.tensor([came / (scale or 1.0)], dtype=torch.float64)
        many = filled(scale, counts)
        below = loss.cdf(row.expand(3000, -1), counts / (scale or 1.0), many)
        expected = (below - (counts >= came).double()).square().sum() / (scale or 1.0)
        found = loss.crps(row, target, filled(scale, target))
        assert float(found) == pytest.approx(float(expected), rel=1e-7, abs=1e-9)


@kinds
def test_draws_have_the_mean_and_the_variance(kind):
    """As the formulas have them; each of its own number."""
    loss = KINDS[kind](1)
    output = torch.tensor([[1.0, -1.0]], dtype=torch.float64)[:, : loss.output_size]
    output = output.expand(20_000, -1)
    numbers = torch.from_numpy(uniforms(derive(0, kind), 0, 20_000, 1))
    many = torch.full_like(numbers, 9.0)
    drawn = loss.sample(output, numbers, many) * 9
    assert torch.equal(drawn.round(), drawn.round().clamp(min=0))
    torch.testing.assert_close(drawn, drawn.round(), rtol=0, atol=1e-9)
    mean, alpha = parts(kind, output[:1], 9.0)
    variance = mean + (0 if alpha is None else alpha * mean**2)
    assert float(drawn.mean()) == pytest.approx(float(mean), rel=0.03)
    assert float(drawn.var()) == pytest.approx(float(variance), rel=0.06)
    torch.testing.assert_close(
        torch.cat([loss.sample(output[:1], numbers[i : i + 1], many[:1]) for i in range(5)]),
        loss.sample(output, numbers, many)[:5],
    )


@kinds
def test_less_than_nothing_has_no_chance(kind):
    """It is infinitely unlikely, and not a number nowhere."""
    loss = KINDS[kind](1)
    output, target = outputs(loss, 1), torch.tensor([[-1.0]], dtype=torch.float64)
    assert float(loss.log_prob(output, target)) == -np.inf
    assert float(loss.cdf(output, target)) == 0
