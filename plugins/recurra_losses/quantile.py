"""Quantiles of numbers, which never cross."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from recurra import Distribution
from recurra_losses.options import QuantileOptions

MEDIAN = 0.5


class Quantile(Distribution[QuantileOptions]):
    """2 rho_p(y - q_p), mean over the levels p and over the features.

    rho_p(e) = max(p e, (p - 1) e): Koenker & Bassett 1978, doi:10.2307/1913643. So of the level 0.5
    alone it is |y - q|, and of many levels the continuous ranked probability score.

    The network gives for each level F numbers, level after level. Those of the level nearest to 0.5
    are its quantiles; each other quantile is the next one nearer to these, and a gap more that is
    above 0, so that none crosses another. Where the network says 0, the gaps are those of a normal
    distribution. Between levels the quantiles are joined by lines, and beyond the outermost by
    exponential tails through the last two (arXiv:2111.06581). The best guess is the median.
    """

    density: ClassVar[bool] = False

    def __init__(self, size: int, options: QuantileOptions) -> None:
        super().__init__(size, options)
        levels = self.levels
        self.output_size = len(levels) * size
        self.anchor = min(range(len(levels)), key=lambda place: abs(levels[place] - MEDIAN))
        normal = [NormalDist().inv_cdf(level) for level in levels]
        # What softplus makes of 0 is log 2.
        self.gaps = [(high - low) / math.log(2) for low, high in pairwise(normal)]

    @classmethod
    def levels_of(cls, options: QuantileOptions) -> tuple[float, ...]:
        """Return those of the option."""
        return tuple(options.levels)

    def _quantiles(self, output: Tensor) -> Tensor:
        """Return the quantiles at its own levels, `[..., F, L]`, in their order."""
        raw = output.reshape(*output.shape[:-1], len(self.levels), self.size)
        raw = raw.transpose(-1, -2)  # ... F L
        anchor = self.anchor
        middle = raw[..., anchor : anchor + 1]
        gaps = raw.new_tensor(self.gaps)
        above = functional.softplus(raw[..., anchor + 1 :]) * gaps[anchor:]
        below = functional.softplus(raw[..., :anchor]) * gaps[:anchor]
        # Away from the middle on both sides, and so in their order.
        lower = middle - below.flip(-1).cumsum(-1).flip(-1)
        return torch.cat([lower, middle, middle + above.cumsum(-1)], dim=-1)

    def elementwise(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return twice the mean pinball loss of each number, `[N, F]`."""
        error = target.unsqueeze(-1) - self._quantiles(output)  # N F L
        levels = error.new_tensor(self.levels)
        return 2 * torch.maximum(levels * error, (levels - 1) * error).mean(dim=-1)

    def point(self, output: Tensor) -> Tensor:
        """Return the median, `[..., F]`; between two levels, what lies on the line of theirs."""
        quantiles = self._quantiles(output)
        levels, anchor = self.levels, self.anchor
        if levels[anchor] == MEDIAN:
            return quantiles[..., anchor]
        high = next(place for place, level in enumerate(levels) if level > MEDIAN)
        part = (MEDIAN - levels[high - 1]) / (levels[high] - levels[high - 1])
        return quantiles[..., high - 1] * (1 - part) + quantiles[..., high] * part

    def icdf(self, output: Tensor, chance: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return quantiles at any chances `[..., F]`."""
        quantiles = self._quantiles(output.double())
        levels = quantiles.new_tensor(self.levels)
        chance = chance.double()
        if len(levels) == 1:
            return quantiles[..., 0].expand(chance.shape)
        quantiles = quantiles.expand(*chance.shape, len(levels))

        high = torch.searchsorted(levels, chance.contiguous()).clamp(1, len(levels) - 1)
        low_level, high_level = levels[high - 1], levels[high]
        low_value = quantiles.gather(-1, (high - 1).unsqueeze(-1)).squeeze(-1)
        high_value = quantiles.gather(-1, high.unsqueeze(-1)).squeeze(-1)
        part = (chance - low_level) / (high_level - low_level)
        inside = low_value * (1 - part) + high_value * part

        lower, upper = self._tails(quantiles)
        left = quantiles[..., 0] + lower * (chance / levels[0]).log()
        right = quantiles[..., -1] - upper * ((1 - chance) / (1 - levels[-1])).log()
        inside = torch.where(chance < levels[0], left, inside)
        return torch.where(chance > levels[-1], right, inside)

    def cdf(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the chance of a number up to the target, `[..., F]`."""
        quantiles = self._quantiles(output.double())
        levels = quantiles.new_tensor(self.levels)
        target = target.double()
        if len(levels) == 1:
            return (target >= quantiles[..., 0]).double()

        last = len(levels) - 1
        # Of equal quantiles the last: a chance up to and with it.
        high = torch.searchsorted(
            quantiles.contiguous(), target.unsqueeze(-1).contiguous(), right=True
        )
        high = high.squeeze(-1).clamp(1, last)
        low_value = quantiles.gather(-1, (high - 1).unsqueeze(-1)).squeeze(-1)
        high_value = quantiles.gather(-1, high.unsqueeze(-1)).squeeze(-1)
        gap = high_value - low_value
        part = torch.where(gap > 0, (target - low_value) / gap, 1.0).clamp(0, 1)
        inside = levels[high - 1] + part * (levels[high] - levels[high - 1])

        lower, upper = self._tails(quantiles)
        left = levels[0] * ((target - quantiles[..., 0]) / lower).exp()
        right = 1 - (1 - levels[-1]) * (-(target - quantiles[..., -1]) / upper).exp()
        inside = torch.where(target < quantiles[..., 0], left, inside)
        return torch.where(target >= quantiles[..., -1], right, inside)

    def _tails(self, quantiles: Tensor) -> tuple[Tensor, Tensor]:
        """Return how wide the tails are on either side, `[..., F]` each."""
        levels = quantiles.new_tensor(self.levels)
        lower = (quantiles[..., 1] - quantiles[..., 0]) / (levels[1] / levels[0]).log()
        rest = ((1 - levels[-2]) / (1 - levels[-1])).log()
        return lower, (quantiles[..., -1] - quantiles[..., -2]) / rest
