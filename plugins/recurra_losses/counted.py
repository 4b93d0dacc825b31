"""Distributions of counts: a mean for each number, in scaled units, and what is counted."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from recurra import Distribution, LossOptions

O = TypeVar("O", bound=LossOptions)  # noqa: E741

LEAST = 1e-6
"""The smallest mean, in scaled units: the chance of a count above 0 is never 0."""
STEPS = 80
"""Halvings of an interval of counts, at most."""


class Counted(Distribution[O]):
    """Counts k = y scale from 0 on, whose mean is mu scale.

    The network gives F numbers first of which softplus makes the means mu, in scaled units: the
    mean alone is scaled, as DeepAR has it (arXiv:1704.04110). The best guess is the mean, which
    errors are compared by where counts are mostly 0, and their median is; it is the rate that
    adds up over series and steps.
    """

    counts: ClassVar[bool] = True

    def point(self, output: Tensor) -> Tensor:
        """Return the mean, `[..., F]`, in scaled units."""
        return functional.softplus(output[..., : self.size]) + LEAST

    def mean(self, output: Tensor, scale: Tensor | None = None) -> Tensor | None:
        """Return the mean."""
        return self.point(output.double())

    def _mean(self, output: Tensor, scale: Tensor | None) -> Tensor:
        """Return the mean, in counts."""
        mean = self.point(output)
        return mean if scale is None else mean * scale.to(mean)

    def log_prob(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the log of the chance of a count, -inf of less than none."""
        count = _count(target, scale)
        log = self._log_chance(count.clamp(min=0), output, scale)
        return torch.where(count < 0, -torch.inf, log)

    def cdf(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the chance of a count up to the target."""
        count = _count(target.double(), scale)
        below = self._up_to(count.clamp(min=0), output.double(), scale)
        return torch.where(count < 0, 0.0, below)

    def icdf(self, output: Tensor, chance: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the least counts up to which there is a chance, in scaled units."""
        output, chance = output.double(), chance.double()
        mean = self._mean(output, scale) + torch.zeros_like(chance)
        chance = chance + torch.zeros_like(mean)
        if mean.device.type == "meta":
            return mean

        # The greatest that does not reach it, and the least known that does.
        low = torch.full_like(mean, -1.0)
        high = self._about(mean, output, scale).ceil().clamp(min=1)
        for _ in range(STEPS):
            short = self._up_to(high, output, scale) < chance
            if not bool(short.any()):
                break
            low, high = torch.where(short, high, low), torch.where(short, 2 * high + 1, high)
        for _ in range(STEPS):
            if not bool((high - low > 1).any()):
                break
            middle = ((low + high) / 2).floor().clamp(min=0)
            middle = torch.where(high - low > 1, middle, high)
            reached = self._up_to(middle, output, scale) >= chance
            high = torch.where(reached, middle, high)
            low = torch.where(reached, low, middle)
        return high if scale is None else high / scale.double()

    @abstractmethod
    def _log_chance(self, count: Tensor, output: Tensor, scale: Tensor | None) -> Tensor:
        """Return the log of the chance of counts from 0 on."""

    @abstractmethod
    def _up_to(self, count: Tensor, output: Tensor, scale: Tensor | None) -> Tensor:
        """Return the chance of up to so many, from 0 on, in double precision."""

    @abstractmethod
    def _about(self, mean: Tensor, output: Tensor, scale: Tensor | None) -> Tensor:
        """Return about the mean and two deviations more."""


def _count(target: Tensor, scale: Tensor | None) -> Tensor:
    """Return what is counted."""
    return (target if scale is None else target * scale.to(target)).round()
