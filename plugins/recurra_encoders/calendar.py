"""Where a step stands in each cycle, beside its numbers."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from recurra import StatefulEncoder
from recurra_encoders.options import CalendarOptions


class Clock(NamedTuple):
    """position: that of the next step in its sequence, [B], int64."""

    position: Tensor


class Calendar(StatefulEncoder[CalendarOptions]):
    """The numbers of a step, and where it stands in each cycle.

    For each period P and harmonic k these are sin(2 pi k t / P) and cos(2 pi k t / P). t is the
    step's position in its sequence, also in a window cut from its middle and in a forecast beyond
    its end. Fourier terms for seasons: Hyndman & Athanasopoulos, Forecasting: principles and
    practice, section 7.4.
    """

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("numbers",)

    def __init__(self, size: int, options: CalendarOptions) -> None:
        super().__init__(size, options)
        self.output_size = size + 2 * options.harmonics * len(options.periods)
        self.cycles: list[float] = []
        for period in options.periods:
            for harmonic in range(1, options.harmonics + 1):
                self.cycles.append(harmonic / period)

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        position: Tensor | None = None,
    ) -> Clock:
        """Return the clock at `position`, or at 0."""
        if position is None:
            position = torch.zeros(batch_size, dtype=torch.long, device=device)
        return Clock(position)

    def advance(
        self, x: Tensor, state: Clock, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Clock]:
        """Return `[B, T, F + cycles]` for numbers `[B, T, F]`, and the clock after them."""
        steps = torch.arange(x.shape[1], device=x.device)
        position = state.position.unsqueeze(1) + steps  # B T
        if reset is not None:
            # The clock of a row that starts afresh at step s is t - s.
            begun = torch.where(reset, steps, -1).cummax(dim=1).values
            position = torch.where(begun >= 0, steps - begun, position)

        # In float64, where the device has it, a late step is as exact as an early one.
        exact = torch.float32 if x.device.type == "mps" else torch.float64
        cycles = torch.tensor(self.cycles, dtype=exact, device=x.device)
        turns = (position.unsqueeze(-1) * cycles).frac()
        angles = (2 * math.pi * turns).to(x.dtype)  # B T cycles

        after = state.position if not x.shape[1] else position[:, -1] + 1
        features = torch.cat([x, angles.sin(), angles.cos()], dim=-1)
        return features, Clock(after)
