"""Symbols as points on circles."""

import torch
from torch import Tensor
from torch.nn import functional

from recurra import Encoder
from recurra_keepsake.options import TurnsOptions


class Turns(Encoder):
    """Symbol i becomes sin(i w_k), cos(i w_k), with w_k from 1 down to 1/100; nothing is
    learned.
    """

    def __init__(self, size: int, options: TurnsOptions) -> None:
        super().__init__(size, options)
        self.output_size = options.size
        angles = torch.arange(size)[:, None] * 1e2 ** -torch.linspace(0, 1, options.size // 2)
        self.register_buffer(
            "table", torch.cat((angles.sin(), angles.cos()), dim=-1), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, T, D]` for ids `[B, T]`."""
        return functional.embedding(x, self.table)
