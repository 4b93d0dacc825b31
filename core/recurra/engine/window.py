"""The class of a window: what the fastest path depends on beside the cell (step 2 of paths.py)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.engine.recurrence import Recurrence, first_weight


@dataclass(frozen=True)
class Window:
    """All windows that are about as large and run alike.

    `batch` and `steps` are powers of two: a window belongs to the class of the greatest that is not
    greater than it. `reset` and `lengths` tell whether sequences may begin inside the window, and
    whether its rows may differ in length.
    """

    batch: int
    steps: int
    dtype: torch.dtype
    device: torch.device
    grad: bool = False
    reset: bool = False
    lengths: bool = False
    autocast: torch.dtype | None = None
    """The type that autocast is set to, or none."""

    @classmethod
    def of(cls, x: Tensor, reset: Tensor | None, lengths: Tensor | None) -> Window:
        """Return the class of a call on inputs `[B, T, D]`, as torch is set now."""
        return cls(
            _rounded(x.shape[0]),
            _rounded(x.shape[1]),
            x.dtype,
            x.device,
            grad=torch.is_grad_enabled(),
            reset=reset is not None,
            lengths=lengths is not None,
            autocast=_autocast(x.device),
        )

    @classmethod
    def planned(
        cls,
        cell: Recurrence,
        batch: int,
        steps: int,
        *,
        grad: bool,
        reset: bool,
        lengths: bool,
    ) -> Window:
        """Return the class of windows `[batch, steps]`, of the type and device of a cell."""
        weight = first_weight(cell)
        return cls(
            _rounded(max(batch, 1)),
            _rounded(max(steps, 1)),
            weight.dtype,
            weight.device,
            grad=grad,
            reset=reset,
            lengths=lengths,
            autocast=_autocast(weight.device),
        )


def _rounded(size: int) -> int:
    """Return the greatest power of two that is not greater: 4 for 4 to 7."""
    return 1 << (size.bit_length() - 1)


def _autocast(device: torch.device) -> torch.dtype | None:
    kind = device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)
