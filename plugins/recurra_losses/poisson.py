"""Negative log-likelihood of counts that come by themselves, at a rate."""

from __future__ import annotations

import torch
from torch import Tensor

from recurra_losses.counted import Counted
from recurra_losses.options import PoissonOptions


class Poisson(Counted[PoissonOptions]):
    """-log p(k) = m - k log m + log k!, where m is the mean in counts, the mean over features.

    The variance is the mean. The network gives F numbers. CRPS: Jordan, Krueger & Lerch 2019,
    doi:10.18637/jss.v090.i12.
    """

    def _log_chance(self, count: Tensor, output: Tensor, scale: Tensor | None) -> Tensor:
        mean = self._mean(output, scale)
        # What is nearly as large as the logs of factorials is taken off in double precision.
        large, of = count.double(), mean.double()
        log = large * of.log() - of - torch.lgamma(large + 1)
        return log.to(mean.dtype)

    def _up_to(self, count: Tensor, output: Tensor, scale: Tensor | None) -> Tensor:
        mean = self._mean(output, scale)
        chance: Tensor = torch.special.gammaincc(count + 1, mean)
        return chance

    def _about(self, mean: Tensor, output: Tensor, scale: Tensor | None) -> Tensor:
        return mean + 2 * mean.sqrt()

    def crps(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor | None:
        """Return the score in its closed form, in scaled units."""
        output = output.double()
        mean = self._mean(output, scale)
        count = target.double() if scale is None else (target.double() * scale.double()).round()
        below = self._up_to(count, output, scale)
        chance = self._log_chance(count, output, scale).exp()
        bessel = torch.special.i0e(2 * mean) + torch.special.i1e(2 * mean)
        score: Tensor = (count - mean) * (2 * below - 1) + 2 * mean * chance - mean * bessel
        return score if scale is None else score / scale.double()
