"""Negative log-likelihood of a Laplace distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recurra_losses.located import Located
from recurra_losses.options import LaplaceNLLOptions


class LaplaceNLL(Located[LaplaceNLLOptions]):
    """-log p(y) = |z| + log 2 b, where z = (y - m) / b, the mean over features.

    The best guess is the median m, which is the mean too. CRPS: Jordan, Krueger & Lerch 2019,
    doi:10.18637/jss.v090.i12.
    """

    def _log_form(self, z: Tensor) -> Tensor:
        return -z.abs() - math.log(2)

    def _below(self, z: Tensor) -> Tensor:
        tail = (-z.abs()).exp() / 2
        return torch.where(z < 0, tail, 1 - tail)

    def _quantile(self, chance: Tensor) -> Tensor:
        return torch.where(chance < 0.5, (2 * chance).log(), -(2 - 2 * chance).log())

    def _score(self, z: Tensor) -> Tensor:
        size = z.abs()
        return size + (-size).exp() - 0.75
