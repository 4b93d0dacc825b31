"""A leaky integrator with one gate."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recurra import Cell
from recurra_keepsake.options import EbbOptions


class EbbState(NamedTuple):
    """h: the integrated state, [B, H]; age: steps since it began, [B, 1]."""

    h: Tensor
    age: Tensor


class Ebb(Cell[EbbOptions]):
    """h_t = h_{t-1} + a z (tanh(n) - h_{t-1}), a = `leak`; z = sigmoid(g) and n, g = W [x_t,
    h_{t-1}] + b.
    """

    def __init__(self, input_size: int, options: EbbOptions) -> None:
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size + options.hidden_size, 2 * options.hidden_size)

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> EbbState:
        """Return zeros."""
        zeros = torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype)
        return EbbState(zeros, zeros[:, :1])

    def step(self, x_t: Tensor, state: EbbState) -> tuple[Tensor, EbbState]:
        """Return h_t, and the state that holds it."""
        gate, proposed = self.map(torch.cat((x_t, state.h), dim=-1)).chunk(2, dim=-1)
        h = state.h + self.options.leak * torch.sigmoid(gate) * (torch.tanh(proposed) - state.h)
        return h, EbbState(h, state.age + 1)
