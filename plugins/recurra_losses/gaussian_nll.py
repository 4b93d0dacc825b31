"""Negative log-likelihood of a normal distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recurra_losses.located import Located
from recurra_losses.options import GaussianNLLOptions

LOG_ROOT = math.log(2 * math.pi) / 2


class GaussianNLL(Located[GaussianNLLOptions]):
    """-log p(y) = z^2 / 2 + log s + log(2 pi) / 2, where z = (y - m) / s, the mean over features.

    The best guess is the mean m, which is the median too. CRPS: Gneiting & Raftery 2007,
    doi:10.1198/016214506000001437.
    """

    def _log_form(self, z: Tensor) -> Tensor:
        return -z.square() / 2 - LOG_ROOT

    def _below(self, z: Tensor) -> Tensor:
        below: Tensor = torch.special.ndtr(z)
        return below

    def _quantile(self, chance: Tensor) -> Tensor:
        quantile: Tensor = torch.special.ndtri(chance)
        return quantile

    def _score(self, z: Tensor) -> Tensor:
        density = self._log_form(z).exp()
        return z * (2 * self._below(z) - 1) + 2 * density - 1 / math.sqrt(math.pi)
