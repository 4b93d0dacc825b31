"""The form over a whole window that a cell brings itself, as cells with a matrix for a state do.

Such a form multiplies by 0 what does not belong together, and 0 times nan is nan: a bad step would
reach the steps before it and the sequences after it. So the form is given finite inputs alone, and
what a bad step spoils, all that comes after it in its sequence, is made nan here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recurra.engine import eager
from recurra.engine.recurrence import Recurrence, State, map_state, within
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
    if steps == 1:
        return eager.run(cell, x, state, reset, lengths)
    live = None if lengths is None else within(lengths, steps)  # B T
    if live is not None:
        x = torch.where(live.unsqueeze(-1), x, torch.zeros_like(x))
    ill, ill_start = ~x.isfinite().all(dim=-1), _holds_nan(state)  # B T, B
    x = torch.where(ill.unsqueeze(-1), torch.zeros_like(x), x)
    y, after = form(x, map_state(_without_nan, state), reset, live)
    spoilt = _spoilt(ill, ill_start, reset)
    y, after = _with_nan(y, spoilt), map_state(lambda field: _with_nan(field, spoilt[:, -1]), after)
    return y if live is None else torch.where(live.unsqueeze(-1), y, torch.zeros_like(y)), after


def _holds_nan(state: State) -> Tensor:
    """Return flags `[B]` of the rows that start from a nan in any field."""
    return torch.stack([field.isnan().reshape(len(field), -1).any(dim=1) for field in state]).any(
        dim=0
    )


def _without_nan(field: Tensor) -> Tensor:
    return torch.where(field.isnan(), torch.zeros_like(field), field)


def _spoilt(ill: Tensor, ill_start: Tensor, reset: Flags | None) -> Tensor:
    """Return flags `[B, T]` of the steps at or after an ill one of the same sequence."""
    count = ill.cumsum(1) + ill_start.unsqueeze(1)
    if reset is None:
        return count > 0
    before = torch.where(reset, count - ill.long(), torch.zeros_like(count)).cummax(dim=1).values
    return count > before  # more than had come before this sequence


def _with_nan(values: Tensor, rows: Tensor) -> Tensor:
    """Return values with nan added where `rows` says so, which lets a gradient of nan through;
    counts stay.
    """
    if not values.is_floating_point():
        return values
    nothing = torch.zeros_like(rows, dtype=values.dtype)
    added = nothing.masked_fill(rows, torch.nan)
    return values + added.view(*rows.shape, *[1] * (values.dim() - rows.dim()))
