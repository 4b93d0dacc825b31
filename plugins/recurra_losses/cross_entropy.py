"""Cross-entropy of symbols."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from recurra import Loss
from recurra_losses.options import CrossEntropyOptions


class CrossEntropy(Loss[CrossEntropyOptions]):
    """-log p(target), in nats; with label smoothing (arXiv:1512.00567) in training, plain in evaluation."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N]` for logits `[N, V]` and ids `[N]`."""
        smoothing = self.options.label_smoothing if self.training else 0.0
        return functional.cross_entropy(output, target, label_smoothing=smoothing, reduction="none")
