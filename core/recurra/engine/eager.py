"""The eager loop: the specification, executed step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from recurra.engine.recurrence import Recurrence, State, select
from recurra.engine.threads import LIGHT, may_be_single, run_single
from recurra.shapes import Encoded, Flags, Hidden, Lengths

FEW = 4
"""Steps below which nothing is asked about threads."""


def run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    """Step through time; see `recurra.engine.paths.run` for the meaning of the arguments."""
    return run_single(_light(cell, x), x, lambda own: _run(cell, own, state, reset, lengths))


def _light(cell: Recurrence, x: Tensor) -> bool:
    """Tell whether many steps are each so little work that a second thread would only wait."""
    if x.shape[1] < FEW or not may_be_single(x):
        return False
    # About half of them are multiplied by the input.
    weights = sum(weight.numel() for weight in cell.parameters())
    return x.shape[0] * weights < 2 * LIGHT


def _run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
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


@contextmanager
def step_by_step(cells: Iterable[Any]) -> Iterator[None]:
    """Let cells, each a `Cell`, take this path meanwhile, whatever path they have."""
    before = [(cell, cell.path, cell.step_path) for cell in cells]
    try:
        for cell, _, _ in before:
            cell.path, cell.step_path = "eager", ""
        yield
    finally:
        for cell, path, step_path in before:
            cell.path, cell.step_path = path, step_path
