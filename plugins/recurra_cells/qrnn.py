"""Bradbury et al. 2016, Quasi-recurrent neural networks, arXiv:1611.01576."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recurra import ScanCell
from recurra_cells.scan_options import QRNNOptions


class QRNN(ScanCell[QRNNOptions]):
    """The quasi-recurrent network: a convolution gives the gates, and a pooling mixes them.

    The convolution is causal, over `window` steps.

    z_t = tanh(W_z * x_t + b_z); f_t, o_t, i_t = sigmoid(W * x_t + b), with * the convolution
    c_t = f_t * c_{t-1} + (1 - f_t) * z_t, with pooling "f" and "fo"
    c_t = f_t * c_{t-1} + i_t * z_t, with pooling "ifo"
    The output is c_t with pooling "f", and o_t * c_t otherwise.

    The maps read a window as one vector of `window` * D, the oldest step first.
    """

    def __init__(self, input_size: int, options: QRNNOptions) -> None:
        super().__init__(input_size, options)
        self.context = options.window - 1
        width = options.window * input_size
        hidden = self.hidden_size
        pooled = 3 if options.pooling == "ifo" else 2
        self.pooled = nn.Linear(width, pooled * hidden)
        self.output = nn.Linear(width, hidden) if options.pooling != "f" else None

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is kept of the memory and what comes in, `[B, T, H]`.

        `x` holds windows, `[B, T, window, D]`.
        """
        z, f, *i = self.pooled(x.flatten(2)).split(self.hidden_size, dim=-1)
        comes_in = torch.sigmoid(i[0]) if i else torch.sigmoid(-f)
        return torch.sigmoid(f), comes_in * torch.tanh(z)

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the memory, as far as the output gate shows it."""
        return h if self.output is None else torch.sigmoid(self.output(x.flatten(2))) * h
