"""Negative log-likelihood of counts that vary more than their mean."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recurra_losses.beta import betainc
from recurra_losses.counted import Counted
from recurra_losses.options import NegativeBinomialOptions

LEAST = 1e-4
"""The smallest alpha: of a smaller one what is counted is a Poisson distribution's."""


class NegativeBinomial(Counted[NegativeBinomialOptions]):
    """-log p(k) of a mean m and a dispersion alpha, the mean over features; r = 1 / alpha.

        log p = lgamma(k + r) - lgamma(k + 1) - lgamma(r) + r log(r / (r + m)) + k log(m / (r + m))

    The variance is m + alpha m^2. The network gives F numbers of means, then F of which softplus
    makes alpha; with a scale it is divided by its root (DeepAR, arXiv:1704.04110, 3.1).
    """

    def __init__(self, size: int, options: NegativeBinomialOptions) -> None:
        super().__init__(size, options)
        self.output_size = 2 * size

    def _shape(self, output: Tensor, scale: Tensor | None) -> Tensor:
        """Return r."""
        alpha = functional.softplus(output[..., self.size :]) + LEAST
        if scale is not None:
            alpha = alpha / scale.to(alpha).sqrt()
        return 1 / alpha

    def _log_chance(self, count: Tensor, output: Tensor, scale: Tensor | None) -> Tensor:
        mean, shape = self._mean(output, scale), self._shape(output, scale)
        # The difference of logs of factorials is much smaller than they are.
        k, m, r = count.double(), mean.double(), shape.double()
        ways = torch.lgamma(k + r) - torch.lgamma(k + 1) - torch.lgamma(r)
        log = ways - r * torch.log1p(m / r) - k * torch.log1p(r / m)
        return log.to(mean.dtype)

    def _up_to(self, count: Tensor, output: Tensor, scale: Tensor | None) -> Tensor:
        mean, shape = self._mean(output, scale), self._shape(output, scale)
        total = mean + shape
        k = count + torch.zeros_like(total)
        r = shape + torch.zeros_like(k)
        nothing = torch.zeros_like(k)
        return betainc(r, k + 1, shape / total + nothing, mean / total + nothing)

    def _about(self, mean: Tensor, output: Tensor, scale: Tensor | None) -> Tensor:
        return mean + 2 * (mean + mean.square() / self._shape(output, scale)).sqrt()
