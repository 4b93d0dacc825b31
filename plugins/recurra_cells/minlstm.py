"""Feng et al. 2024, Were RNNs all we needed?, arXiv:2410.01201: the minLSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import ScanCell
from recurra_cells.mingru import activated
from recurra_cells.scan_options import MinLSTMOptions


class MinLSTM(ScanCell[MinLSTMOptions]):
    """The LSTM without what its gates read from the state.

    Its forget and input gate are scaled so that they add up to 1:

    f, i = sigmoid(W x_t + b), the first two thirds, and n_t = W x_t + b, the last
    h_t = f / (f + i) * h_{t-1} + i / (f + i) * g(n_t); the output is h_t.

    g is that of the minGRU. The quotients are taken as sigmoid(log f - log i), which is right where
    both gates are too small to be divided.
    """

    def __init__(self, input_size: int, options: MinLSTMOptions) -> None:
        super().__init__(input_size, options)
        self.gates = nn.Linear(input_size, 3 * self.hidden_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is kept of the state and what comes in, `[B, T, H]`."""
        f, i, candidate = self.gates(x).chunk(3, dim=-1)
        odds = functional.logsigmoid(f) - functional.logsigmoid(i)
        return torch.sigmoid(odds), torch.sigmoid(-odds) * activated(
            candidate, self.options.activation
        )

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the state."""
        return h
