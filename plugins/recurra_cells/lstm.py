"""Hochreiter & Schmidhuber 1997, Long short-term memory; the forget gate is of Gers et al. 2000."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recurra import Cell, Native
from recurra_cells.maps import Maps, zeros
from recurra_cells.options import LSTMOptions


class LSTMState(NamedTuple):
    """h: the output, [B, H]; c: the memory cell, [B, H]."""

    h: Tensor
    c: Tensor


class LSTM(Cell[LSTMOptions]):
    """Long short-term memory, with gates in torch's order.

    i, f, g, o = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t); the output is h_t.

    `forget_bias` raises f at the start, so that memories last before the gate is learned (Jozefowicz et al. 2015, An
    empirical exploration of recurrent network architectures).
    """

    def __init__(self, input_size: int, options: LSTMOptions) -> None:
        super().__init__(input_size, options)
        self.maps = Maps(input_size, 4, options)
        with torch.no_grad():
            self.maps.bias_ih[self.hidden_size : 2 * self.hidden_size] += options.forget_bias

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> LSTMState:
        """Return zeros."""
        return LSTMState(zeros(self, batch_size, device, dtype), zeros(self, batch_size, device, dtype))

    def step(self, x_t: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """Return h_t and the state that holds it."""
        i, f, g, o = (self.maps.of_input(x_t) + self.maps.of_state(state.h)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, LSTMState(h, c)

    def native(self) -> Native:
        """Return the map to torch's kernel."""
        return Native("lstm", self.maps.both())
