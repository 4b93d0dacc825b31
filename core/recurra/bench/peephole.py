"""A cell that recurra does not know, as a plugin's author writes it, and as a loop by hand.

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
        forget = torch.sigmoid(f + p_f * state.c)
        write = torch.sigmoid(i + p_i * state.c)
        c = forget * state.c + write * torch.tanh(g)

        read = torch.sigmoid(o + p_o * c)
        return PeepholeState(read * torch.tanh(c), c)


class Loop(nn.Module):
    """The same with the weights of a `Peephole`, as one writes it by hand.

    The input's product is made once for all steps.
    """

    def __init__(self, cell: Peephole) -> None:
        super().__init__()
        assert cell.weight_hh is not None and cell.bias_ih is not None
        self.weight_ih = nn.Parameter(cell.weight_ih.clone())
        self.weight_hh = nn.Parameter(cell.weight_hh.clone())
        self.bias = nn.Parameter(cell.bias_ih.clone())
        self.peepholes = nn.Parameter(cell.peepholes.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs `[B, T, H]` of a window `[B, T, D]`."""
        h = c = x.new_zeros(x.shape[0], self.weight_hh.shape[1])
        recurrent = self.weight_hh.t()
        p_i, p_f, p_o = self.peepholes
        projected = functional.linear(x, self.weight_ih, self.bias)

        outputs = []
        for step in projected.unbind(1):
            i, f, g, o = torch.addmm(step, h, recurrent).chunk(4, dim=1)

            forget = torch.sigmoid(f + p_f * c)
            write = torch.sigmoid(i + p_i * c)
            c = forget * c + write * torch.tanh(g)

            read = torch.sigmoid(o + p_o * c)
            h = read * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1)
