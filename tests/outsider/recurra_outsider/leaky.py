"""Jaeger et al. 2007, Optimization and applications of leaky-integrator neurons,
doi:10.1016/j.neunet.2007.04.016.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recurra import Cell
from recurra_outsider.options import LeakyOptions


class LeakyState(NamedTuple):
    """h: the integrated state, [B, H]."""

    h: Tensor


class Leaky(Cell[LeakyOptions]):
    """h_t = (1 - a) h_{t-1} + a tanh(W [x_t, h_{t-1}] + b), a = `leak`; the output is h_t."""

    def __init__(self, input_size: int, options: LeakyOptions) -> None:
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size + options.hidden_size, options.hidden_size)

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> LeakyState:
        """Return zeros."""
        return LeakyState(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def step(self, x_t: Tensor, state: LeakyState) -> tuple[Tensor, LeakyState]:
        """Return h_t, and the state that holds it."""
        proposed = torch.tanh(self.map(torch.cat((x_t, state.h), dim=-1)))
        h = (1 - self.options.leak) * state.h + self.options.leak * proposed
        return h, LeakyState(h)
