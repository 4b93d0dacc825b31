"""Huber 1964, Robust estimation of a location parameter, doi:10.1214/aoms/1177703732."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from recurra import Loss
from recurra_losses.options import HuberOptions


class Huber(Loss[HuberOptions]):
    """0.5 e^2 for |e| <= delta, and delta (|e| - 0.5 delta) beyond.

    It is the mean over a step's features, in scaled units.
    """

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("numbers",)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N]` for predictions and targets `[N, F]`."""
        return self.elementwise(output, target).mean(dim=-1)

    def elementwise(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N, F]`, the error of each element."""
        delta = self.options.delta
        return functional.huber_loss(output, target, delta=delta, reduction="none")
