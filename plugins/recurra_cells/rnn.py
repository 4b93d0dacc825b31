"""Elman 1990, Finding structure in time, doi:10.1207/s15516709cog1402_1."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recurra import GatedCell, Native
from recurra_cells.options import RNNOptions


class RNNState(NamedTuple):
    """h: the hidden state, [B, H]."""

    h: Tensor


class RNN(GatedCell[RNNOptions]):
    """The simple recurrent network.

    h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), f = tanh or relu; the output is h_t.

    With relu, `init = "identity"` gives the IRNN of Le et al. 2015, arXiv:1504.00941, which carries
    a value unchanged until it learns to do otherwise.
    """

    gates = 1
    State = RNNState
    recurrent_bias = True

    def update(self, x: Tensor, h: Tensor, state: RNNState) -> RNNState:
        """Return the squashed sum of both maps."""
        total = x[0] + h[0]
        return RNNState(
            torch.tanh(total) if self.options.nonlinearity == "tanh" else torch.relu(total)
        )

    def native(self) -> Native:
        """Return the map to torch's kernel."""
        if self.options.nonlinearity == "tanh":
            return Native("rnn_tanh", self.maps())
        return Native("rnn_relu", self.maps())
