"""The scan form of a cell: a linear recurrence whose coefficients depend on inputs alone.

So all steps of a window can be computed side by side.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from recurra.contracts.cell import Cell, O
from recurra.engine.context import lagged
from recurra.engine.recurrence import Scan


class ScanState(NamedTuple):
    """h: the state of the recurrence, [B, *state_shape]."""

    h: Tensor


class ContextState(NamedTuple):
    """h: as in `ScanState`; tail: the last inputs, [B, context, D], the oldest first."""

    h: Tensor
    tail: Tensor


class ScanCell(Cell[O]):
    """A cell with h_t = a_t * h_{t-1} + b_t, elementwise.

    The author writes `coefficients`, which gives a and b, and `readout`. A class that reads earlier
    inputs as well, as a convolution over time does, sets `context` to how many: `x` is then `[B, T,
    context+1, D]`, the oldest first, zeros before the start of a sequence. `state_shape` is the
    shape of a row's h, `(hidden_size,)` unless the cell says otherwise. A class with `paired` keeps
    complex numbers as pairs: the last axis of h, a and b is 2 wide.
    """

    paired = False
    context = 0

    @property
    def state_shape(self) -> tuple[int, ...]:
        """The shape of a row's h."""
        return (self.hidden_size, 2) if self.paired else (self.hidden_size,)

    @abstractmethod
    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, `[B, T, *state_shape]`, for inputs `[B, T, D]`; a may broadcast to b."""

    @abstractmethod
    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        """Return outputs `[B, T, output_size]` for states and the inputs of `coefficients`.

        The states are `[B, T, *state_shape]`.
        """

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> ScanState | ContextState:
        """Return zeros."""
        h = torch.zeros(batch_size, *self.state_shape, device=device, dtype=dtype)
        if not self.context:
            return ScanState(h)
        shape = (batch_size, self.context, self.input_size)
        tail = torch.zeros(shape, device=device, dtype=dtype)
        return ContextState(h, tail)

    def step(
        self, x_t: Tensor, state: ScanState | ContextState
    ) -> tuple[Tensor, ScanState | ContextState]:
        """Return the output and the next state for one input `[B, D]`."""
        # A window of one step: B 1 D.
        x = x_t.unsqueeze(1)
        if isinstance(state, ContextState):
            x, tail = lagged(x, state.tail, None, None)
        a, b = self.coefficients(x)
        h = _advanced(a.expand_as(b)[:, 0], b[:, 0], state.h, self.paired)
        y = self.readout(h.unsqueeze(1), x)[:, 0]
        if isinstance(state, ContextState):
            return y, ContextState(h, tail)
        return y, ScanState(h)

    def scan(self) -> Scan:
        """Return the linear recurrence that this is."""
        return self


def _advanced(a: Tensor, b: Tensor, h: Tensor, paired: bool) -> Tensor:
    """Return a * h + b, of complex numbers where they are pairs."""
    if not paired:
        return a * h + b
    real = a[..., 0] * h[..., 0] - a[..., 1] * h[..., 1]
    imaginary = a[..., 0] * h[..., 1] + a[..., 1] * h[..., 0]
    return torch.stack([real, imaginary], dim=-1) + b
