"""Feng et al. 2024, Were RNNs all we needed?, arXiv:2410.01201: the minGRU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recurra import ScanCell
from recurra_cells.scan_options import MinGRUOptions


class MinGRU(ScanCell[MinGRUOptions]):
    """The GRU without what its gates read from the state.

    z_t, n_t = W x_t + b, the first half and the second
    h_t = (1 - sigmoid(z_t)) * h_{t-1} + sigmoid(z_t) * g(n_t); the output is h_t.

    g is `activated`; with `activation = "identity"` it is nothing, as in the paper's first form.
    """

    def __init__(self, input_size: int, options: MinGRUOptions) -> None:
        super().__init__(input_size, options)
        self.gates = nn.Linear(input_size, 2 * self.hidden_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is kept of the state and what comes in, `[B, T, H]`."""
        z, candidate = self.gates(x).chunk(2, dim=-1)
        return torch.sigmoid(-z), torch.sigmoid(z) * activated(candidate, self.options.activation)

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the state."""
        return h


def activated(candidate: Tensor, activation: str) -> Tensor:
    """Return the candidate as it is, or through the paper's g, which is never negative.

    g(x) is x + 0.5 from 0 on, and sigmoid(x) below.
    """
    if activation == "identity":
        return candidate
    return torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))
