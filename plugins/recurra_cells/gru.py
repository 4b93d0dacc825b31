"""Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import GatedCell, Native
from recurra_cells.options import GRUOptions


class GRUState(NamedTuple):
    """h: the hidden state, [B, H]."""

    h: Tensor


class GRU(GatedCell[GRUOptions]):
    """The gated recurrent unit, with the reset gate after the product, or before, as at first.

    r, z = sigmoid(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), the first two thirds
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}; the output is h_t.

    So cuDNN and torch have it. With `reset = "before"`, the paper's form,
    n = tanh(W_in x_t + b_in + W_hn (r * h_{t-1})): `weight_hh` is then of r and z alone, W_hn is
    `weight_hn` `[H, H]`, and there is no b_hh.
    """

    gates = 3
    State = GRUState
    recurrent_bias = True

    def __init__(self, input_size: int, options: GRUOptions) -> None:
        before = options.reset == "before"
        recurrent_gates = 2 if before else 3
        biases = 1 if before else 2
        super().__init__(input_size, options, recurrent_gates=recurrent_gates, biases=biases)

        self.weight_hn: nn.Parameter | None = None
        if before:
            self.weight_hn = nn.Parameter(torch.empty(self.hidden_size, self.hidden_size))
            self.begin(self.weight_hn)

    def update(self, x: Tensor, h: Tensor, state: GRUState) -> GRUState:
        """Return the mix of the old state and a new one."""
        x_r, x_z, x_n = x
        r, z = torch.sigmoid(x_r + h[0]), torch.sigmoid(x_z + h[1])
        old = r * h[2] if self.weight_hn is None else functional.linear(r * state.h, self.weight_hn)
        n = torch.tanh(x_n + old)
        return GRUState((1 - z) * n + z * state.h)

    def native(self) -> Native | None:
        """Return the map to torch's kernel, which resets after the product."""
        if self.options.reset == "before":
            return None
        return Native("gru", self.maps())
