"""Elman 1990, Finding structure in time, doi:10.1207/s15516709cog1402_1."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recurra import Cell, Native
from recurra_cells.maps import Maps, zeros
from recurra_cells.options import RNNOptions


class RNNState(NamedTuple):
    """h: the hidden state, [B, H]."""

    h: Tensor


class RNN(Cell[RNNOptions]):
    """The simple recurrent network.

    h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), f = tanh or relu; the output is h_t.

    With relu, `init = "identity"` gives the IRNN of Le et al. 2015, arXiv:1504.00941, which carries a value unchanged
    until it learns to do otherwise.
    """

    def __init__(self, input_size: int, options: RNNOptions) -> None:
        super().__init__(input_size, options)
        self.maps = Maps(input_size, 1, options)

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> RNNState:
        """Return zeros."""
        return RNNState(zeros(self, batch_size, device, dtype))

    def step(self, x_t: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        """Return h_t and the state that holds it."""
        total = self.maps.of_input(x_t) + self.maps.of_state(state.h)
        h = torch.tanh(total) if self.options.nonlinearity == "tanh" else torch.relu(total)
        return h, RNNState(h)

    def native(self) -> Native:
        """Return the map to torch's kernel."""
        return Native("rnn_tanh" if self.options.nonlinearity == "tanh" else "rnn_relu", self.maps.both())
