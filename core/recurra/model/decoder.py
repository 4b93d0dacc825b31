"""What answers several steps at once from more than the state that an origin has left."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recurra.contracts.cell import Cell

HELD = 1 << 24
"""Numbers that a decoder may hold at a time for the way back; more are made anew for it."""
FIELDS = 6
"""How many numbers the way back holds for each that a cell gives, about."""


class Beside(nn.Module):
    """What the covariates of each step ahead add to its answer: a linear map for each step.

    An answer is so of its own step's covariates: no later ones, and none that nobody may know.
    """

    def __init__(self, steps: int, width: int, outputs: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(steps, outputs, width).uniform_(-bound, bound))

    def forward(self, coming: Tensor) -> Tensor:
        """Return what is added to the answers, `[..., H, V]`, of covariates `[..., H, Q]`."""
        return torch.einsum("...hq,hvq->...hv", coming, self.weight)


class Decoder(nn.Module):
    """A cell that goes on from each origin for so many steps, as sequence to sequence models do.

    At each it reads what the layers have left at the origin (Cho et al. 2014, arXiv:1406.1078), and
    the covariates that are known of that step, if there are any; its own state begins afresh. So
    any cell will do, on any of its paths, and an origin is answered by itself.
    """

    def __init__(self, cell: Cell[Any], steps: int) -> None:
        super().__init__()
        self.cell = cell
        self.steps = steps

    @property
    def held(self) -> int:
        """How many numbers are held for an origin on the way back, about."""
        return self.steps * (self.cell.input_size + FIELDS * self.cell.output_size)

    @property
    def rows(self) -> int:
        """How many origins are decoded at a time where the way back is to come."""
        return max(1, HELD // self.held)

    def forward(self, left: Tensor, coming: Tensor | None) -> Tensor:
        """Return what a head reads of each step ahead, `[N, H, D]`.

        `left` `[N, W]` is what the layers have left, and `coming` `[N, H, Q]` the covariates.
        """
        x = left.unsqueeze(1).expand(-1, self.steps, -1)
        if coming is not None:
            x = torch.cat([x, coming], dim=-1)
        output, _ = self.cell(x.contiguous())
        decoded: Tensor = output
        return decoded

    def in_parts(self, left: Tensor, coming: Tensor | None) -> Tensor:
        """Return the same of many origins, where the way back makes anew what it needs.

        So memory does not grow with `N` times all that a cell holds of a step (Chen et al. 2016,
        arXiv:1604.06174).
        """
        rows = self.rows
        if len(left) <= rows or not torch.is_grad_enabled():
            whole: Tensor = self(left, coming)
            return whole
        parts = []
        for start in range(0, len(left), rows):
            some = slice(start, start + rows)
            known = None if coming is None else coming[some]
            parts.append(checkpoint(self, left[some], known, use_reentrant=False))
        return torch.cat(parts)
