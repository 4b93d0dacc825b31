"""Hochreiter & Schmidhuber 1997, Long short-term memory; the forget gate is of Gers et al. 2000."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recurra import GatedCell, Native
from recurra_cells.options import LSTMOptions


class LSTMState(NamedTuple):
    """h: the output, [B, H]; c: the memory cell, [B, H]."""

    h: Tensor
    c: Tensor


class LSTM(GatedCell[LSTMOptions]):
    """Long short-term memory, with gates in torch's order.

    i, f, g, o = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t); the output is h_t.

    `forget_bias` raises f at the start, so that memories last before the gate is learned (Jozefowicz et al. 2015, An
    empirical exploration of recurrent network architectures).
    """

    gates = 4
    State = LSTMState
    recurrent_bias = True

    def __init__(self, input_size: int, options: LSTMOptions) -> None:
        super().__init__(input_size, options)
        with torch.no_grad():
            self.bias_ih[self.hidden_size : 2 * self.hidden_size] += options.forget_bias

    def update(self, x: Tensor, h: Tensor, state: LSTMState) -> LSTMState:
        """Return what the gates let into the memory, keep in it and show of it."""
        i, f, g, o = x + h
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
        return LSTMState(torch.sigmoid(o) * torch.tanh(c), c)

    def native(self) -> Native:
        """Return the map to torch's kernel."""
        return Native("lstm", self.maps())
