"""Cross entropy with smoothed targets, from an output that holds one number more than there are
symbols.
"""

from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from recurra import Loss
from recurra_keepsake.options import SmoothedOptions


class Smoothed(Loss[SmoothedOptions]):
    """The last output is the logarithm of a temperature, by which the logits before it are
    divided.
    """

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("symbols",)

    def __init__(self, size: int, options: SmoothedOptions) -> None:
        super().__init__(size, options)
        self.output_size = size + 1

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N]` for outputs `[N, V + 1]` and ids `[N]`."""
        logits = self.point(output)
        return functional.cross_entropy(
            logits, target, label_smoothing=self.options.share, reduction="none"
        )

    def point(self, output: Tensor) -> Tensor:
        """Return the logits `[..., V]`."""
        return output[..., :-1] / output[..., -1:].clamp(-4, 4).exp()
