"""The regularised incomplete beta function, which torch lacks."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-300
NEAR = 1e-15
"""A factor so near to 1 ends a continued fraction."""
MOST = 20_000
"""Terms of it, at most: it takes about the root of the larger of a and b."""


def betainc(a: Tensor, b: Tensor, x: Tensor, rest: Tensor) -> Tensor:
    """Return I_x(a, b) for a, b > 0 and x from 0 to 1, of one shape and in double precision.

    `rest` is 1 - x, given because it may be known better than what is left of the difference. It
    is the continued fraction 8.17.22 of dlmf.nist.gov, for x or for the rest, whichever comes
    sooner to an end, by the method of Lentz (doi:10.1364/AO.15.000668).
    """
    if x.device.type == "meta":
        return torch.empty_like(x)
    turned = x > (a + 1) / (a + b + 2)
    one, two = torch.where(turned, b, a), torch.where(turned, a, b)
    below, above = torch.where(turned, rest, x), torch.where(turned, x, rest)

    log_front = one * below.log() + two * above.log()
    log_front = log_front + torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    front = torch.where(below > 0, log_front.exp() / one, 0.0)
    value = front * _fraction(one, two, below)
    return torch.where(turned, 1 - value, value)


def _fraction(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """Return the value of the continued fraction; of each element until it no longer changes."""
    shape = x.shape
    a, b, x = (part.flatten() for part in (a, b, x))
    value = torch.ones_like(x)
    c, d = torch.ones_like(x), _inverted(1 - (a + b) * x / (a + 1))
    value = d.clone()

    left = torch.arange(len(x), device=x.device)
    whole = value.clone()
    for m in range(1, MOST):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = _inverted(1 + even * d), _kept(1 + even / c)
        value = value * d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = _inverted(1 + odd * d), _kept(1 + odd / c)
        factor = d * c
        value = value * factor

        going = ~((factor - 1).abs() <= NEAR) & ~factor.isnan()
        if m % 8 and bool(going.any()):
            continue
        whole[left] = value
        if not bool(going.any()):
            break
        left = left[going]
        a, b, x, c, d, value = (part[going] for part in (a, b, x, c, d, value))
    return whole.reshape(shape)


def _kept(term: Tensor) -> Tensor:
    """Return a term by which others are divided: none is 0."""
    return torch.where(term.abs() < TINY, TINY, term)


def _inverted(term: Tensor) -> Tensor:
    return 1 / _kept(term)
