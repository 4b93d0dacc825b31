"""One-hot vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recurra import Encoder
from recurra_encoders.options import OneHotOptions


class OneHot(Encoder[OneHotOptions]):
    """Symbol i becomes the vector with 1 at i and 0 elsewhere; nothing is learned."""

    def __init__(self, size: int, options: OneHotOptions) -> None:
        super().__init__(size, options)
        self.output_size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, T, V]` for ids `[B, T]`."""
        vectors = functional.one_hot(x, self.size)  # B T V
        return vectors.to(torch.get_default_dtype())
