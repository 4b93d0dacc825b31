"""Cross-entropy of symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra import Loss
from recurra_losses.options import CrossEntropyOptions
from recurra_losses.weights import balanced, named


class CrossEntropy(Loss[CrossEntropyOptions]):
    """w (1 - p)^gamma (-log p), in nats, where p is the chance given to the class that came.

    w is 1 without `class_weights`. Its mean over the training answers is always 1, so that the
    losses, their gradients and the learning rate that suits them stay as large as they were.
    gamma is `focal`, 0 unless it is set (Lin et al. 2017, arXiv:1708.02002).

    Both say what an error costs, and count in evaluation too: the `loss` of a validation is what
    training makes small, and `nats` beside it stay plain. Label smoothing (arXiv:1512.00567) is a
    means of training alone. It spreads a share of the target evenly over all C classes, each with
    its own weight and chance: sum_c q_c w_c (1 - p_c)^gamma (-log p_c), q_c = share / C, and for
    the class that came 1 - share more.

    Of many steps and a large vocabulary it makes the logits in parts, and on the way back once
    more: all of them are never held at a time.
    """

    takes_hidden: ClassVar[bool] = True
    weights: Tensor | None

    def __init__(self, size: int, options: CrossEntropyOptions) -> None:
        super().__init__(size, options)
        weights = None
        if options.class_weights is not None:
            weights = torch.ones(size, dtype=torch.float32)
        self.register_buffer("weights", weights, persistent=False)  # C

    def prepare(self, names: Sequence[str], counts: NDArray[np.int64]) -> None:
        """Learn the weights of the classes. Raises `InputError` (RC013) for a name that is none."""
        chosen = self.options.class_weights
        if chosen is None:
            return
        weights = balanced(counts) if chosen == "balanced" else named(chosen, names, counts)
        self.restore({"weights": weights.tolist()})

    def save(self) -> dict[str, Any]:
        """Return the weights, where there are any."""
        if self.weights is None:
            return {}
        return {"weights": self.weights.tolist()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take the weights, where there are any, to the device on which the loss is."""
        if self.weights is None:
            return
        weights = self.weights.new_tensor(saved["weights"])  # C
        if weights.shape != self.weights.shape:
            raise ValueError(f"there are {len(weights)} weights for {self.size} classes")
        self.weights = weights

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N]` for logits `[N, C]` and ids `[N]`."""
        share = self.options.label_smoothing if self.training else 0.0
        weights = None if self.weights is None else self.weights.to(output.dtype)

        if self.options.focal:
            return self._focal(output, target, weights, share)
        return functional.cross_entropy(
            output, target, weights, label_smoothing=share, reduction="none"
        )

    def _focal(
        self, output: Tensor, target: Tensor, weights: Tensor | None, share: float
    ) -> Tensor:
        """Return `[N]`, of which each term of the cross-entropy is made less by (1 - p)^gamma."""
        log_p = output.log_softmax(dim=-1)  # N C
        log_own = log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)  # N
        own = _less(log_own, self.options.focal)  # N
        if weights is not None:
            own = own * weights[target]
        if not share:
            return own

        all_classes = _less(log_p, self.options.focal)  # N C
        if weights is not None:
            all_classes = all_classes * weights
        return (1 - share) * own + share * all_classes.mean(dim=-1)


def _less(log_p: Tensor, gamma: float) -> Tensor:
    """Return (1 - p)^gamma (-log p) for each log p.

    At p = 1 the slope of a power below 1 is infinite, and times the 0 of log p it is no number:
    there 1 - p is the least number that is above 0, which has no slope at all.
    """
    missing = (-log_p.expm1()).clamp(min=torch.finfo(log_p.dtype).tiny)  # 1 - p
    return missing**gamma * -log_p
