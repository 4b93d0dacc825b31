"""Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recurra import GatedCell, Native
from recurra_cells.options import GRUOptions


class GRUState(NamedTuple):
    """h: the hidden state, [B, H]."""

    h: Tensor


class GRU(GatedCell[GRUOptions]):
    """The gated recurrent unit, with the reset gate after the product, as in cuDNN and torch.

    r, z = sigmoid(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), the first two thirds
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}; the output is h_t.
    """

    gates = 3
    State = GRUState
    recurrent_bias = True

    def update(self, x: Tensor, h: Tensor, state: GRUState) -> GRUState:
        """Return the mix of the old state and a new one."""
        (x_r, x_z, x_n), (h_r, h_z, h_n) = x, h
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        return GRUState((1 - z) * n + z * state.h)

    def native(self) -> Native:
        """Return the map to torch's kernel."""
        return Native("gru", self.maps())
