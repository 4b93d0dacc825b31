"""Vaswani et al. 2017, Attention is all you need, arXiv:1706.03762: its code of positions, used for
symbols.
"""

import torch
from torch import Tensor

from recurra import Encoder
from recurra_outsider.options import WavesOptions


class Waves(Encoder):
    """Symbol i becomes sin(i w_k), cos(i w_k), with w_k from 1 down to 1/10000; nothing is
    learned.
    """

    def __init__(self, size: int, options: WavesOptions) -> None:
        super().__init__(size, options)
        self.output_size = options.size
        self.register_buffer(
            "speeds", 1e4 ** -torch.linspace(0, 1, options.size // 2), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, T, D]` for ids `[B, T]`."""
        angles = x[..., None] * self.speeds
        return torch.cat((angles.sin(), angles.cos()), dim=-1)
