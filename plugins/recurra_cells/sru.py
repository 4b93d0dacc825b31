"""Lei et al. 2017, Training RNNs as fast as CNNs, arXiv:1709.02755, in its first version."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recurra import ScanCell
from recurra_cells.scan_options import SRUOptions

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda memory: memory,
}


class SRU(ScanCell[SRUOptions]):
    """The simple recurrent unit, with gates from the input alone.

    n_t = W x_t
    f_t, r_t = sigmoid(W_f x_t + b_f), sigmoid(W_r x_t + b_r)
    c_t = f_t * c_{t-1} + (1 - f_t) * n_t
    The output is r_t * g(c_t) + (1 - r_t) * x_t, with g = `activation`, and W_p x_t for x_t where
    the widths differ.

    This is version 1 of the paper. Later ones (Lei et al. 2018, Simple recurrent units for highly
    parallelizable recurrence) add v * c_{t-1} to what the gates read; that is not linear in the
    state, and no scan computes it.
    """

    def __init__(self, input_size: int, options: SRUOptions) -> None:
        super().__init__(input_size, options)
        hidden = self.hidden_size
        self.candidate = nn.Linear(input_size, hidden, bias=False)
        self.forget = nn.Linear(input_size, hidden)
        self.highway = nn.Linear(input_size, hidden)
        self.projection: nn.Module = nn.Identity()
        if input_size != hidden:
            self.projection = nn.Linear(input_size, hidden, bias=False)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is kept of the memory and what comes in, `[B, T, H]`."""
        f = self.forget(x)
        return torch.sigmoid(f), torch.sigmoid(-f) * self.candidate(x)

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the mix of the memory and the input that the highway gate lets through."""
        r = torch.sigmoid(self.highway(x))
        skipped: Tensor = self.projection(x)
        return r * _ACTIVATIONS[self.options.activation](h) + (1 - r) * skipped
