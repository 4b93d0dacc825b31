"""Mean absolute error of numbers."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from recurra import Loss
from recurra_losses.options import MAEOptions


class MAE(Loss[MAEOptions]):
    """The absolute error of each step, mean over its features, in scaled units."""

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("numbers",)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N]` for predictions and targets `[N, F]`."""
        return self.elementwise(output, target).mean(dim=-1)

    def elementwise(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N, F]`, the error of each element."""
        return functional.l1_loss(output, target, reduction="none")
