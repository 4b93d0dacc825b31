"""The contract of a loss that says how the next numbers are distributed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.contracts.options import Options

O = TypeVar("O", bound=Options)  # noqa: E741

DECILES = tuple(tenth / 10 for tenth in range(1, 10))
"""The levels of the quantiles that are measured, where the loss has none of its own."""
HALF_STEP = 2.0**-53
"""Half of what lies between two of the numbers that draws are made of: none of them is 0, or 1."""


class Distribution(Loss[O]):
    """A loss of numbers whose outputs are a distribution of each: columns are independent.

    All that it is given, and gives, is in scaled units: a number y stands for y scales. By default
    the loss is -log p, the mean over the features. A `density` has that p; another, as one of
    quantiles alone, has none, and overrides `elementwise`.

    A distribution of `counts` is one of whole numbers, which the scale must not make fractional:
    each of its methods takes as its last argument what 1 is in counts, `scale`, of the shape of the
    targets; without it that is 1. What is counted is y times the scale, rounded. The core gives the
    scale wherever it calls.

    What is no loss is computed in double precision, and given so.
    """

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("numbers",)
    density: ClassVar[bool] = True

    @classmethod
    def levels_of(cls, options: O) -> tuple[float, ...]:
        """Return the levels at which its quantiles are measured, from the least to the greatest."""
        return DECILES

    @property
    def levels(self) -> tuple[float, ...]:
        """Those of its own options."""
        return self.levels_of(self.options)

    def forward(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return `[N]` for outputs `[N, output_size]` and targets `[N, F]`."""
        return self.elementwise(output, target, scale).mean(dim=-1)

    def elementwise(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the loss of each number, `[N, F]`."""
        return -self.log_prob(output, target, scale)

    def log_prob(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return log p of targets `[..., F]`, in nats, in the type of the outputs.

        It is that of a scaled number; of a count it is the log of its chance. Raises
        `NotImplementedError` where there is no density.
        """
        raise NotImplementedError(f"{type(self).__name__} has no density")

    @abstractmethod
    def cdf(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the chance of a number up to the target, `[..., F]`."""

    @abstractmethod
    def icdf(self, output: Tensor, chance: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the least numbers up to which there is a chance `[..., F]`, above 0 and below 1.

        One axis of the outputs may be 1 where that of the chances is more.
        """

    def quantile(
        self, output: Tensor, levels: Sequence[float], scale: Tensor | None = None
    ) -> Tensor:
        """Return the quantiles at some levels, `[..., F, L]`: they never cross."""
        shape = (*output.shape[:-1], self.size)
        each = [
            self.icdf(output, output.new_full(shape, level, dtype=torch.float64), scale)
            for level in levels
        ]
        if not each:
            return output.new_zeros((*shape, 0), dtype=torch.float64)
        return torch.stack(each, dim=-1)

    def sample(self, output: Tensor, uniforms: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return a number drawn for each of `uniforms` `[..., F]`, from [0, 1) in multiples of
        2^-52, as `recurra.randomness.uniforms` has them.

        One of them decides one number, so that neither batch nor order changes what is drawn.
        """
        return self.icdf(output, uniforms.double() + HALF_STEP, scale)

    def mean(self, output: Tensor, scale: Tensor | None = None) -> Tensor | None:
        """Return the mean, `[..., F]`, in scaled units; None where there is none, or not known."""
        return None

    def crps(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor | None:
        """Return the continuous ranked probability score of targets, `[..., F]`, in scaled units.

        None where no closed form is known: it is then estimated from quantiles.
        """
        return None
