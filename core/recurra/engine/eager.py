"""The eager loop: the specification, executed step by step."""

from __future__ import annotations

import torch
from torch import Tensor

from recurra.engine.recurrence import Recurrence, State, select
from recurra.shapes import Encoded, Flags, Hidden, Lengths


def run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    """Step through time; see `recurra.engine.paths.run` for the meaning of the arguments."""
    fresh = state
    if reset is not None:
        fresh = cell.initial_state(x.shape[0], device=x.device, dtype=x.dtype)

    # By `x[:, t]` each step's gradient would be as large as the window's.
    outputs = []
    for t, x_t in enumerate(x.unbind(1)):
        if reset is not None:
            state = select(reset[:, t], fresh, state)
        if lengths is None:
            y, state = cell.step(x_t, state)
        else:
            y, state = _masked_step(cell, x_t, state, t < lengths)
        outputs.append(y)

    if not outputs:
        return x.new_zeros(x.shape[0], 0, cell.output_size), state
    return torch.stack(outputs, dim=1), state  # B T H


def _masked_step(cell: Recurrence, x_t: Tensor, state: State, live: Tensor) -> tuple[Tensor, State]:
    """Step only the rows that are still `live`; the others keep their state and give zeros.

    What a finished row holds is replaced before the step, so that neither a value nor a gradient
    can come from it.
    """
    rows = live.unsqueeze(-1)
    clean = torch.where(rows, x_t, torch.zeros_like(x_t))
    y, stepped = cell.step(clean, state)
    y = torch.where(rows, y, torch.zeros_like(y))
    return y, select(live, stepped, state)
