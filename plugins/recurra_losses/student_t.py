"""Negative log-likelihood of Student's t distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import Chebyshev
from torch import Tensor
from torch.nn import functional

from recurra_losses.beta import betainc
from recurra_losses.located import Located
from recurra_losses.options import StudentTOptions

LEAST = 2.0
"""Degrees of freedom are above this: with fewer there is no variance."""
DEGREE = 48
"""That of the polynomial in 1 / degrees of freedom which gives a quantile at a fixed level."""
HALF_STEP = 2.0**-53
"""Half of what lies between two numbers that draws are made of: none of them is 0, or 1."""
REFINED = 3
"""Times that a quantile is made better: each squares its error."""


class StudentT(Located[StudentTOptions]):
    """-log p(y) of y = m + s t, the mean over features.

        log p = lgamma((n + 1) / 2) - lgamma(n / 2) - log(pi n) / 2 - (n + 1) / 2 log(1 + t^2 / n)
                - log s

    The network gives F locations m, F numbers of scales s and F of degrees of freedom n, which are
    2 + softplus of them, so that there are a mean and a variance (DeepAR, arXiv:1704.04110, as
    GluonTS has it). The best guess is m, the median and the mean. CRPS: Jordan, Krueger & Lerch
    2019, doi:10.18637/jss.v090.i12.
    """

    PARTS = 3

    def _log_form(self, z: Tensor, raw: Tensor) -> Tensor:
        freedom = _freedom(raw)
        tail = -(freedom + 1) / 2 * torch.log1p(z.square() / freedom)
        return _log_peak(freedom) + tail

    def _below(self, z: Tensor, raw: Tensor) -> Tensor:
        tail = _tail(z.abs(), _freedom(raw))
        return torch.where(z < 0, tail, 1 - tail)

    def _quantile(self, chance: Tensor, raw: Tensor, refined: int = REFINED) -> Tensor:
        freedom = _freedom(raw)
        chance, freedom = chance + torch.zeros_like(freedom), freedom + torch.zeros_like(chance)
        if chance.device.type == "meta":
            return torch.empty_like(freedom)
        return _inverse(chance, freedom, refined)

    def sample(self, output: Tensor, uniforms: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return draws: quantiles that are made better once, which no number of draws tells."""
        location, wide, raw = self._parts(output.double())
        return location + wide * self._quantile(uniforms.double() + HALF_STEP, raw, 1)

    def quantile(
        self, output: Tensor, levels: Sequence[float], scale: Tensor | None = None
    ) -> Tensor:
        """Return quantiles; a level for all is a polynomial of 1 / n, far quicker than each."""
        location, wide, raw = self._parts(output.double())
        freedom = _freedom(raw)
        each = [location + wide * _at_level(level, freedom) for level in levels]
        if not each:
            return location.new_zeros((*location.shape, 0))
        return torch.stack(each, dim=-1)

    def _score(self, z: Tensor, raw: Tensor) -> Tensor:
        n = _freedom(raw)
        below = self._below(z, raw)
        density = self._log_form(z, raw).exp()
        # B(1/2, n - 1/2) / B(1/2, n/2)^2
        log_ratio = torch.lgamma(n - 0.5) - torch.lgamma(n)
        log_ratio = log_ratio - 2 * (torch.lgamma(n / 2) - torch.lgamma(n / 2 + 0.5))
        apart = log_ratio.exp() / math.sqrt(math.pi)
        own = z * (2 * below - 1) + 2 * density * (n + z.square()) / (n - 1)
        return own - 2 * n.sqrt() / (n - 1) * apart


def _freedom(raw: Tensor) -> Tensor:
    """Return the degrees of freedom."""
    return functional.softplus(raw) + LEAST


def _log_peak(freedom: Tensor) -> Tensor:
    """Return the log density at 0.

    It is the difference of two large numbers, of which single precision would leave little.
    """
    n = freedom.double()
    log = torch.lgamma((n + 1) / 2) - torch.lgamma(n / 2) - (math.pi * n).log() / 2
    return log.to(freedom.dtype)


def _tail(z: Tensor, freedom: Tensor) -> Tensor:
    """Return the chance of more than z >= 0."""
    square = z.square()
    total = freedom + square
    # Where z is infinite, so is the square.
    inside = torch.where(torch.isinf(square), 0.0, freedom / total)
    outside = torch.where(torch.isinf(square), 1.0, square / total)
    return betainc(freedom / 2, torch.full_like(freedom, 0.5), inside, outside) / 2


def _inverse(chance: Tensor, freedom: Tensor, refined: int = REFINED) -> Tensor:
    """Return quantiles: Hill's (1970, "Algorithm 396", doi:10.1145/355598.355600), made better."""
    tail = torch.minimum(chance, 1 - chance)
    z = _hill(tail, freedom)
    for _ in range(refined):
        # A step of second order, for the density is known in closed form.
        log = _log_peak(freedom) - (freedom + 1) / 2 * torch.log1p(z.square() / freedom)
        step = (_tail(z, freedom) - tail) / log.exp()
        bend = z * (freedom + 1) / (2 * (z.square() + freedom))
        z = (z + step * (1 + step * bend)).clamp(min=0)
    return torch.where(chance < 0.5, -z, z)


def _hill(tail: Tensor, n: Tensor) -> Tensor:
    """Return about what more of has the chance `tail`, at most 0.5."""
    both = 2 * tail
    a = 1 / (n - 0.5)
    b = 48 / a.square()
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * (a * math.pi / 2).sqrt() * n
    y = (d * both).pow(2 / n)

    x = torch.special.ndtri(tail)
    few = torch.where(n < 5, c + 0.3 * (n - 4.5) * (x + 0.6), c)
    near = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + few
    square = x.square()
    inner = (((0.4 * square + 6.3) * square + 36) * square + 94.5) / near
    centre = torch.expm1(a * (((inner - square - 3) / b + 1) * x).square())

    last = 0.5 / (n + 4)
    outer = 1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3)
    far = ((outer + last) * y - 1) * (n + 1) / (n + 2) + 1 / y
    return (n * torch.where(y > 0.05 + a, centre, far)).clamp(min=0).sqrt()


def _at_level(level: float, freedom: Tensor) -> Tensor:
    """Return quantiles at one level."""
    inverse = (1 / freedom).cpu().numpy()
    values = _polynomial(level)(inverse)
    return torch.from_numpy(np.asarray(values)).to(freedom)


@lru_cache(maxsize=256)
def _polynomial(level: float) -> Chebyshev:
    """Return a quantile as a polynomial of 1 / n, which is at most 1 / 2; 0 is the normal one."""

    def of_inverse(inverse: np.ndarray) -> np.ndarray:
        freedom = torch.from_numpy(1 / inverse)
        return _inverse(torch.full_like(freedom, level), freedom).numpy()

    return Chebyshev.interpolate(of_inverse, DEGREE, domain=[0.0, 1 / LEAST])
