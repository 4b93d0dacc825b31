"""Orvieto et al. 2023, Resurrecting recurrent neural networks for long sequences.

arXiv:2303.06349.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import ScanCell
from recurra_cells.scan_options import LRUOptions


class LRU(ScanCell[LRUOptions]):
    """The linear recurrent unit: a diagonal of complex eigenvalues that cannot leave the unit disc.

    lambda = exp(-exp(nu_log) + i exp(theta_log))
    h_t = lambda * h_{t-1} + exp(gamma_log) * (B x_t), of complex numbers
    The output is Re(C h_t) + D x_t.

    At the start lambda is uniform on a ring, from `r_min` to `r_max` and up to `max_phase`, and
    gamma is sqrt(1 - |lambda|^2), so that h has the variance of B x_t for white inputs, however
    long its memory. B, `[H, 2, D]`, and C, `[H, H, 2]`, hold real and imaginary parts; the skip is
    a whole map, `[H, D]`, for widths may differ.
    """

    paired = True

    def __init__(self, input_size: int, options: LRUOptions) -> None:
        super().__init__(input_size, options)
        hidden = self.hidden_size
        self.nu_log = nn.Parameter(torch.empty(hidden))
        self.theta_log = nn.Parameter(torch.empty(hidden))
        self.gamma_log = nn.Parameter(torch.empty(hidden))

        b = torch.randn(hidden, 2, input_size) / (2 * input_size) ** 0.5
        c = torch.randn(hidden, hidden, 2) / hidden**0.5
        d = torch.randn(hidden, input_size) / input_size**0.5
        self.B = nn.Parameter(b)
        self.C = nn.Parameter(c)
        self.D = nn.Parameter(d)
        self._place()

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the eigenvalues `[H, 2]` and the scaled inputs `[B, T, H, 2]`."""
        modulus, phase = torch.exp(-torch.exp(self.nu_log)), torch.exp(self.theta_log)
        # H 2
        eigenvalues = torch.stack([modulus * torch.cos(phase), modulus * torch.sin(phase)], dim=-1)
        scaled = torch.exp(self.gamma_log)[:, None, None] * self.B  # H 2 D
        return eigenvalues, functional.linear(x, scaled.flatten(0, 1)).view(*x.shape[:-1], -1, 2)

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the real part of what C makes of the states, and the inputs through D."""
        real, imaginary = self.C.unbind(-1)
        of_state = torch.stack([real, -imaginary], dim=-1).flatten(1)  # H 2H
        return functional.linear(h.flatten(-2), of_state) + functional.linear(x, self.D)

    @torch.no_grad()
    def _place(self) -> None:
        """Put the eigenvalues on the ring, their area even, and scale the inputs to match.

        |lambda|^2 is uniform between the squares of the radii, and nu is -log |lambda|.
        """
        inner, outer = self.options.r_min**2, self.options.r_max**2
        # Above 0, for their logarithms are taken.
        area, turn = 1 - torch.rand(2, self.hidden_size, dtype=torch.float64)
        square = inner + area * (outer - inner)
        nu = -0.5 * torch.log(square.clamp(max=1 - 1e-15))

        self.nu_log.copy_(torch.log(nu))
        self.theta_log.copy_(torch.log(turn * self.options.max_phase))
        self.gamma_log.copy_(0.5 * torch.log(-torch.expm1(-2 * nu)))
