"""A head whose weight is the encoder's: what is read, and what is said, have the same vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.contracts.encoder import Encoder


class TiedHead(nn.Module):
    """Outputs `[..., V]` of hidden vectors, by the weight `[V, D]` that the encoder gives.

    Press & Wolf 2017, arXiv:1608.05859, and Inan et al. 2017, arXiv:1611.01462. Hidden vectors of
    another width than D go through a `projection` first, without a bias, which begins as torch's
    own linear map does. The bias `[V]` begins at 0. The weight is a parameter of the encoder alone:
    it is counted, updated and saved once.
    """

    def __init__(self, encoder: Encoder[Any], width: int) -> None:
        super().__init__()
        # In a list, so that the encoder is no module of this one, too.
        self._tied = [encoder]
        self.bias = nn.Parameter(torch.zeros(encoder.size))
        self.projection: nn.Linear | None = None
        if width != encoder.output_size:
            self.projection = nn.Linear(width, encoder.output_size, bias=False)

    @property
    def weight(self) -> Tensor:
        """The weight of the encoder, `[V, D]`."""
        weight = self._tied[0].head_weight()
        assert weight is not None, "an encoder that has tied its weight keeps it so"
        return weight

    def projected(self, hidden: Tensor) -> Tensor:
        """Return hidden vectors `[..., H]` in the width of the weight, `[..., D]`."""
        return hidden if self.projection is None else self.projection(hidden)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return outputs."""
        return functional.linear(self.projected(hidden), self.weight, self.bias)
