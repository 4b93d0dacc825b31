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
from recurra.engine.threads import may_be_single, run_single
from recurra.shapes import Encoded, Flags, Hidden, Lengths

LIGHT = 100_000_000
"""Multiply-adds of a window below which it runs on one thread.

A form is many short operations, in each of which threads would wait for one another.
"""


def run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    """Run the cell's own form over clean inputs; see `recurra.engine.paths.run`."""
    return run_single(_light(cell, x), x, lambda own: _run(cell, own, state, reset, lengths))


def _light(cell: Recurrence, x: Tensor) -> bool:
    """Tell whether a window is so little work that a second thread would mostly wait."""
    if not may_be_single(x):
        return False
    weights = sum(weight.numel() for weight in cell.parameters())
    return x.shape[0] * x.shape[1] * weights < LIGHT


def _run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    form = cell.chunkwise()
    assert form is not None, "the engine offers this path only to cells that declare it"

    batch, steps = x.shape[:2]
    if steps == 0 or batch == 0:
        return x.new_zeros(batch, steps, cell.output_size), state
    if steps == 1:
        return eager.run(cell, x, state, reset, lengths)

    live = rows = None
    if lengths is not None:
        live = within(lengths, steps)  # B T
        rows = live.unsqueeze(-1)
        x = torch.where(rows, x, torch.zeros_like(x))

    # The form sees zeros where a value is not finite.
    finite = x.isfinite().all(dim=-1)
    ill = ~finite  # B T
    ill_start = _holds_nan(state)  # B
    x = torch.where(ill.unsqueeze(-1), torch.zeros_like(x), x)
    y, after = form(x, map_state(_without_nan, state), reset, live)

    # What the form did not see is put back, from the bad step on.
    spoilt = _spoilt(ill, ill_start, reset)
    y = _with_nan(y, spoilt)
    after = map_state(lambda field: _with_nan(field, spoilt[:, -1]), after)
    if rows is not None:
        y = torch.where(rows, y, torch.zeros_like(y))
    return y, after


def _holds_nan(state: State) -> Tensor:
    """Return flags `[B]` of the rows that start from a nan in any field."""
    flags = []
    for field in state:
        nan = field.isnan().reshape(len(field), -1)
        flags.append(nan.any(dim=1))
    return torch.stack(flags).any(dim=0)


def _without_nan(field: Tensor) -> Tensor:
    return torch.where(field.isnan(), torch.zeros_like(field), field)


def _spoilt(ill: Tensor, ill_start: Tensor, reset: Flags | None) -> Tensor:
    """Return flags `[B, T]` of the steps at or after an ill one of the same sequence.

    In a row whose third step is ill and whose fifth begins a sequence, of six steps, the ill ones
    so far are 0 0 1 1 1 1 and those before the sequence 0 0 0 0 1 1: steps three and four are
    spoilt.
    """
    count = ill.cumsum(1) + ill_start.unsqueeze(1)
    if reset is None:
        return count > 0

    # The count never falls, so its maximum at the resets so far is that at the last of them.
    earlier = count - ill.long()
    at_resets = torch.where(reset, earlier, torch.zeros_like(count))
    before = at_resets.cummax(dim=1).values
    return count > before


def _with_nan(values: Tensor, rows: Tensor) -> Tensor:
    """Return values with nan added where `rows` says so; counts stay.

    A sum lets a gradient of nan through.
    """
    if not values.is_floating_point():
        return values
    nothing = torch.zeros_like(rows, dtype=values.dtype)
    added = nothing.masked_fill(rows, torch.nan)
    ones = [1] * (values.dim() - rows.dim())
    return values + added.view(*rows.shape, *ones)
