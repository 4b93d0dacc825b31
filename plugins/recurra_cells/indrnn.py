"""Li et al. 2018, Independently recurrent neural network (IndRNN), arXiv:1803.04831."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recurra import GatedCell
from recurra_cells.options import IndRNNOptions


class IndRNNState(NamedTuple):
    """h: the hidden state, [B, H]."""

    h: Tensor


class IndRNN(GatedCell[IndRNNOptions]):
    """A simple recurrent network in which each unit sees, of the past, itself alone.

    h_t = f(W x_t + u * h_{t-1} + b), f = relu or tanh; the output is h_t.

    u begins uniformly between 0 and `recurrent_bound`, so that units remember for different times.
    The paper also clips u to its bound during training, which is left to the optimizer here: where
    a long sequence makes h explode, a smaller bound or weight decay holds u down.
    """

    gates = 1
    State = IndRNNState

    def __init__(self, input_size: int, options: IndRNNOptions) -> None:
        super().__init__(input_size, options, recurrent_gates=0)
        u = torch.empty(self.hidden_size).uniform_(0, options.recurrent_bound)
        self.u = nn.Parameter(u)

    def update(self, x: Tensor, h: Tensor, state: IndRNNState) -> IndRNNState:
        """Return the squashed sum of the input's share and the own past."""
        total = x[0] + self.u * state.h
        return IndRNNState(
            torch.relu(total) if self.options.nonlinearity == "relu" else torch.tanh(total)
        )
