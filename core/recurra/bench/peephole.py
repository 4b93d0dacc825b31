"""A cell that recurra does not know, written twice: as a plugin's author would, and as a loop by
hand.

Gers & Schmidhuber 2000, Recurrent nets that time and count, doi:10.1109/IJCNN.2000.861302:

i, f, g, o = W x_t + U h_{t-1} + b
c_t = sigmoid(f + p_f c_{t-1}) c_{t-1} + sigmoid(i + p_i c_{t-1}) tanh(g)
h_t = sigmoid(o + p_o c_t) tanh(c_t)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import GatedCell, GatedOptions


class PeepholeState(NamedTuple):
    """h: the output, [B, H]; c: the memory cell, [B, H]."""

    h: Tensor
    c: Tensor


class Peephole(GatedCell[GatedOptions]):
    """The cell as a plugin's author writes it."""

    gates = 4
    State = PeepholeState

    def __init__(self, input_size: int, options: GatedOptions) -> None:
        super().__init__(input_size, options)
        self.peepholes = nn.Parameter(torch.rand(3, self.hidden_size) - 0.5)

    def update(self, x: Tensor, h: Tensor, state: PeepholeState) -> PeepholeState:
        """Return the next state."""
        i, f, g, o = x + h
        p_i, p_f, p_o = self.peepholes
        c = torch.sigmoid(f + p_f * state.c) * state.c + torch.sigmoid(
            i + p_i * state.c
        ) * torch.tanh(g)
        return PeepholeState(torch.sigmoid(o + p_o * c) * torch.tanh(c), c)


class Loop(nn.Module):
    """The same with the weights of a `Peephole`, as one writes it by hand: the input's product once
    for all steps.
    """

    def __init__(self, cell: Peephole) -> None:
        super().__init__()
        assert cell.weight_hh is not None and cell.bias_ih is not None
        self.weight_ih, self.weight_hh = (
            nn.Parameter(cell.weight_ih.clone()),
            nn.Parameter(cell.weight_hh.clone()),
        )
        self.bias, self.peepholes = (
            nn.Parameter(cell.bias_ih.clone()),
            nn.Parameter(cell.peepholes.clone()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs `[B, T, H]` of a window `[B, T, D]`."""
        h = c = x.new_zeros(x.shape[0], self.weight_hh.shape[1])
        recurrent, (p_i, p_f, p_o) = self.weight_hh.t(), self.peepholes
        outputs = []
        for given in functional.linear(x, self.weight_ih, self.bias).unbind(1):
            i, f, g, o = torch.addmm(given, h, recurrent).chunk(4, dim=1)
            c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
            h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1)
