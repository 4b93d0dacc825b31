"""De et al. 2024, Griffin: mixing gated linear recurrences with local attention.

arXiv:2402.19427.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import ScanCell
from recurra_cells.scan_options import RGLRUOptions

SHARPNESS = 8.0
"""c of the paper: how many times the least decay is taken where the recurrence gate is open."""
LEAST = 1e-24
"""Least -log a_t^2.

Below it a_t and its gradient are what they are at it, and 1 / sqrt of it is still finite.
"""


class RGLRU(ScanCell[RGLRUOptions]):
    """The real-gated linear recurrent unit.

    u_t = W_u x_t + b_u, for inputs may have any width
    r_t, i_t = sigmoid(W u_t + b), the maps block-diagonal with `heads` blocks
    a_t = sigmoid(decay)^(c r_t), c = 8
    h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * u_t); the output is h_t.

    At the start a_t for an open gate, r_t = 1, is uniform in [0.9, 0.999]. The convolution that
    stands before the recurrence in the paper's block is not part of the cell.
    """

    def __init__(self, input_size: int, options: RGLRUOptions) -> None:
        super().__init__(input_size, options)
        hidden, heads = self.hidden_size, options.heads
        width = hidden // heads
        self.of_input = nn.Linear(input_size, hidden)

        weight = torch.randn(heads, width, 2 * width) / width**0.5
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(2, hidden))
        self.decay = nn.Parameter(torch.empty(hidden))
        self._draw_decay()

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a_t and the gated inputs, `[B, T, H]`."""
        u = self.of_input(x)
        r, i = self._gates(u)
        rate = (2 * SHARPNESS * r * functional.softplus(-self.decay)).clamp(min=LEAST)  # -log a_t^2
        return torch.exp(-rate / 2), torch.sqrt(-torch.expm1(-rate)) * i * u

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the state."""
        return h

    def _gates(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the recurrence gate and the input gate, `[B, T, H]`.

        Each head's are made of its own part of u.
        """
        heads = u.view(*u.shape[:-1], self.options.heads, -1)
        r, i = torch.einsum("bthw,hwo->btho", heads, self.weight).chunk(2, dim=-1)
        return torch.sigmoid(r.flatten(-2) + self.bias[0]), torch.sigmoid(
            i.flatten(-2) + self.bias[1]
        )

    @torch.no_grad()
    def _draw_decay(self) -> None:
        """Set the decay so that its sigmoid to the power of c is uniform in [0.9, 0.999]."""
        power = torch.empty(self.hidden_size, dtype=torch.float64).uniform_(0.9, 0.999)
        log_a = torch.log(power) / SHARPNESS
        # The decay is the logit of a.
        logit = log_a - torch.log(-torch.expm1(log_a))
        self.decay.copy_(logit)
