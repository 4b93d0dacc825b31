"""Ravanelli et al. 2018, Light gated recurrent units for speech recognition, arXiv:1803.10225."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import GatedCell
from recurra_cells.options import LiGRUOptions


class LiGRUState(NamedTuple):
    """h: the hidden state, [B, H]."""

    h: Tensor


class LiGRU(GatedCell[LiGRUOptions]):
    """The light gated recurrent unit: no reset gate, and relu in the candidate.

    z = sigmoid(a_z + U_z h_{t-1}), n = relu(a_n + U_n h_{t-1}), where a = W x_t + b
    h_t = z * h_{t-1} + (1 - z) * n; the output is h_t.

    The paper has a = BN(W x_t), with statistics over the batch and all of time. A step that may
    read nothing but its own row and its past cannot have them, so there is none here; with
    `layer_norm`, a = gain * LN(W x_t + b) + shift, over the units of each gate for itself, is the
    nearest that a single step can do. The b inside keeps what the size of a narrow input tells.
    Without it, relu bounds nothing: U must stay small, as it begins with init = "uniform".
    """

    gates = 2
    State = LiGRUState

    def __init__(self, input_size: int, options: LiGRUOptions) -> None:
        super().__init__(input_size, options)
        if options.layer_norm:
            self.gain = nn.Parameter(torch.ones(2, 1, self.hidden_size))
            self.shift = nn.Parameter(torch.zeros(2, 1, self.hidden_size))

    def update(self, x: Tensor, h: Tensor, state: LiGRUState) -> LiGRUState:
        """Return the mix of the old state and a new one."""
        if self.options.layer_norm:
            x = self.gain * functional.layer_norm(x, x.shape[-1:]) + self.shift
        total = x + h
        z = torch.sigmoid(total[0])
        return LiGRUState(z * state.h + (1 - z) * torch.relu(total[1]))
