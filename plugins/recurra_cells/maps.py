"""The two linear maps that rnn, lstm and gru share, in torch's layout, and how they are initialised."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from recurra import Cell
from recurra_cells.options import InitOptions


class Maps(nn.Module):
    """Weights of `gates` stacked maps from the input and from the hidden state, named as in `nn.LSTMCell`."""

    def __init__(self, input_size: int, gates: int, options: InitOptions) -> None:
        super().__init__()
        rows, hidden = gates * options.hidden_size, options.hidden_size
        self.gates = gates
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))
        self.initialise(options.init)

    def initialise(self, init: str) -> None:
        """Set the weights: torch's uniform distribution, or gate by gate one of the schemes."""
        bound = 1 / math.sqrt(self.weight_hh.shape[1])
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)
        if init == "uniform":
            return
        recurrent = {
            "orthogonal": nn.init.orthogonal_,
            "xavier": nn.init.xavier_uniform_,
            "identity": nn.init.eye_,
        }
        nn.init.zeros_(self.bias_ih)
        nn.init.zeros_(self.bias_hh)
        for gate in self.weight_ih.data.chunk(self.gates):
            nn.init.xavier_uniform_(gate)
        for gate in self.weight_hh.data.chunk(self.gates):
            recurrent[init](gate)

    def both(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the weights in the order of torch's kernels."""
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def of_input(self, x_t: Tensor) -> Tensor:
        """Return the input's share of the gates."""
        return nn.functional.linear(x_t, self.weight_ih, self.bias_ih)  # B gates*H

    def of_state(self, h: Tensor) -> Tensor:
        """Return the state's share of the gates."""
        return nn.functional.linear(h, self.weight_hh, self.bias_hh)  # B gates*H


def zeros(cell: Cell[Any], batch_size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the state of zeros that these cells start from."""
    return torch.zeros(batch_size, cell.hidden_size, device=device, dtype=dtype)
