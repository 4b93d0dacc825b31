"""Zhou et al. 2016, Minimal gated unit for recurrent neural networks, arXiv:1603.09420."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import GatedCell
from recurra_cells.options import MGUOptions


class MGUState(NamedTuple):
    """h: the hidden state, [B, H]."""

    h: Tensor


class MGU(GatedCell[MGUOptions]):
    """The minimal gated unit: one gate both resets and updates.

    f = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
    n = tanh(W_n x_t + U_n (f * h_{t-1}) + b_n)
    h_t = (1 - f) * h_{t-1} + f * n; the output is h_t.

    `weight_hh` is U_f, and `weight_hn` is U_n; both are `[H, H]`.
    """

    gates = 2
    State = MGUState

    def __init__(self, input_size: int, options: MGUOptions) -> None:
        super().__init__(input_size, options, recurrent_gates=1)
        hidden = self.hidden_size
        self.weight_hn = nn.Parameter(torch.empty(hidden, hidden))
        self.begin(self.weight_hn)

    def update(self, x: Tensor, h: Tensor, state: MGUState) -> MGUState:
        """Return the mix of the old state and a new one."""
        f = torch.sigmoid(x[0] + h[0])
        n = torch.tanh(x[1] + functional.linear(f * state.h, self.weight_hn))
        return MGUState((1 - f) * state.h + f * n)
