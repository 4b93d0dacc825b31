"""Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recurra import Cell, Native
from recurra_cells.maps import Maps, zeros
from recurra_cells.options import GRUOptions


class GRUState(NamedTuple):
    """h: the hidden state, [B, H]."""

    h: Tensor


class GRU(Cell[GRUOptions]):
    """The gated recurrent unit, with the reset gate after the product, as in cuDNN and torch.

    r, z = sigmoid(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), the first two thirds
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}; the output is h_t.
    """

    def __init__(self, input_size: int, options: GRUOptions) -> None:
        super().__init__(input_size, options)
        self.maps = Maps(input_size, 3, options)

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> GRUState:
        """Return zeros."""
        return GRUState(zeros(self, batch_size, device, dtype))

    def step(self, x_t: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """Return h_t and the state that holds it."""
        x_r, x_z, x_n = self.maps.of_input(x_t).chunk(3, dim=-1)
        h_r, h_z, h_n = self.maps.of_state(state.h).chunk(3, dim=-1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        h = (1 - z) * n + z * state.h
        return h, GRUState(h)

    def native(self) -> Native:
        """Return the map to torch's kernel."""
        return Native("gru", self.maps.both())
