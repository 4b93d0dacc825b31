"""The form over a whole window that a cell brings itself, as cells with a matrix for a state do."""

from __future__ import annotations

import torch

from recurra.engine.recurrence import Recurrence, State
from recurra.shapes import Encoded, Flags, Hidden, Lengths


def run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    """Run the cell's own form over clean inputs; see `recurra.engine.paths.run`."""
    form = cell.chunkwise()
    assert form is not None, "the engine offers this path only to cells that declare it"
    batch, steps = x.shape[:2]
    if steps == 0 or batch == 0:
        return x.new_zeros(batch, steps, cell.output_size), state
    if lengths is None:
        return form(x, state, reset, None)
    live = torch.arange(steps, device=x.device) < lengths.unsqueeze(1)  # B T
    y, after = form(torch.where(live.unsqueeze(-1), x, torch.zeros_like(x)), state, reset, live)
    return torch.where(live.unsqueeze(-1), y, torch.zeros_like(y)), after
