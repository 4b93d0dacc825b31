"""Every execution path against `step` itself, row by row: whatever path is the fastest on a
machine, it is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.engine import proof
from recurra.engine.recurrence import State, rebuild
from recurra.testing.calls import (
    SHORT,
    SLOPE,
    allowed,
    can,
    leaves,
    named,
    pick,
    precisions,
    run,
    slopes,
)
from recurra.testing.check import Broken, Measured, check
from recurra.testing.measure import BFLOAT16, gap, gaps, worst
from recurra.testing.subjects.cell import CellSubject

LOUD = 100.0
"""What inputs are multiplied by, so that gates are saturated."""


@check("C35", "every path is step", "cell", firm=True)
def every_path_is_step(subject: CellSubject) -> Measured:
    """On every path, in every type, a window is what `step` makes of its rows one by one: resets,
    lengths, NaN and all.

    Each row is stepped alone, afresh at its resets and up to its length, 0 too, in windows of 1 and
    of 17 steps. Outputs, final state and all gradients agree, in float64 within 1e-9 and 1e-8, in
    float32 within a bound that grows with the steps; outputs also for inputs a hundred times as
    large, within a bound as much larger. What a NaN spoils in `step` is NaN on every path. In
    bfloat16 outputs are within 2 % of `step` in float32 with the same rounded weights. Which path
    runs is measured on each machine: where two differ, a model depends on where it runs. To mend
    it: `step` is the specification; correct the other form, or leave it out.
    """
    found = []
    for dtype in precisions(subject):
        for path in subject.paths(dtype):
            cell = subject.cell(dtype=dtype, path=path)
            for steps in (1, SHORT):
                found += _against_rows(subject, cell, subject.x(4, steps, dtype=dtype))
            found.append(_loud(subject, cell, dtype))
            _keeps_nan(subject, cell, dtype)
    return worst([*found, *_rounded(subject)])


def _against_rows(subject: CellSubject, cell: Cell[Any], x: Tensor) -> list[Measured]:
    """Return how outputs, state and gradients of a window `[4, T, D]` differ from those of its rows
    stepped alone.
    """
    steps, start = x.shape[1], subject.start(cell, 4, dtype=x.dtype)
    lengths = torch.tensor([steps, steps * 2 // 3, 0, steps]) if can(subject, "lengths") else None
    reset = None
    if can(subject, "resets"):
        reset = torch.zeros(4, steps, dtype=torch.bool)
        reset[1, :1] = reset[0, steps // 3 :: 4] = reset[3, -1:] = True
    pair = []
    for window in (run, _by_rows):
        leaf, state = x.clone().requires_grad_(), leaves(start)
        y, after = window(cell, leaf, state, reset, lengths)
        pair.append((y, after, slopes([y, *after], leaf, state, cell)))
    (y, after, grads), (wanted, last, wanted_grads) = pair
    where = f"T = {steps}, {str(x.dtype).removeprefix('torch.')}"
    values = max(gap(y, wanted, "the output"), gaps(after, last, "state"))
    gradients = gaps(grads, wanted_grads, "gradient")
    return [
        Measured(values, allowed(x.dtype, steps), named(cell, where)),
        Measured(gradients, allowed(x.dtype, steps, SLOPE), named(cell, where, "gradients")),
    ]


def _by_rows(
    cell: Cell[Any], x: Tensor, start: State, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, State]:
    """Return outputs and final state of rows that are stepped one by one, each to its length."""
    batch, steps = x.shape[:2]
    ends = [steps] * batch if lengths is None else lengths.tolist()
    outputs, finals = [], []
    for row, end in enumerate(ends):
        state, of_row = pick(start, [row]), []
        for t in range(end):
            if reset is not None and reset[row, t]:
                state = cell.initial_state(1, device=x.device, dtype=x.dtype)
            y, state = cell.step(x[[row], t], state)
            of_row.append(y)
        of_row += [x.new_zeros(1, cell.output_size)] * (steps - end)
        outputs.append(torch.stack(of_row, dim=1))
        finals.append(state)
    return torch.cat(outputs), rebuild(
        start, [torch.cat(fields) for fields in zip(*finals, strict=True)]
    )


def _loud(subject: CellSubject, cell: Cell[Any], dtype: torch.dtype) -> Measured:
    """Return how a window of large inputs differs from its steps."""
    x, start = LOUD * subject.x(3, SHORT, dtype=dtype), subject.start(cell, 3, dtype=dtype)
    with torch.no_grad():
        y, _ = run(cell, x, start)
        wanted, _ = subject.stepped(cell, x, start)
    bound = LOUD * allowed(dtype, SHORT)  # sums are larger, and so is their rounding
    return Measured(gap(y, wanted, "the output"), bound, named(cell, f"inputs times {LOUD:g}"))


def _keeps_nan(subject: CellSubject, cell: Cell[Any], dtype: torch.dtype) -> None:
    """Raise `Broken` if a path answers with numbers where `step` has none."""
    x, start = subject.x(2, 9, dtype=dtype), subject.start(cell, 2, dtype=dtype)
    x[1, 4] = torch.nan
    with torch.no_grad():
        (y, after), (wanted, last) = run(cell, x, start), subject.stepped(cell, x, start)
    values: Sequence[Tensor] = [y, *after]
    for value, other in zip(values, [wanted, *last], strict=True):
        if other.is_floating_point() and bool((other.isnan() & ~value.isnan()).any()):
            raise Broken(
                f"{named(cell)}: where a NaN in the input makes `step` give NaN, the window gives"
                " numbers"
            )


def _rounded(subject: CellSubject) -> list[Measured]:
    """Return how outputs in bfloat16 differ from `step` in float32 with the same rounded
    weights.
    """
    if not can(subject, "bfloat16"):
        return []
    wide, found = subject.wider(32), []
    x = wide.x(3, SHORT, dtype=torch.bfloat16)
    exact = wide.cell(dtype=torch.bfloat16).float()
    with torch.no_grad():
        wanted, _ = wide.stepped(exact, x.float(), wide.fresh(exact, x.float()))
        for path in wide.paths(torch.bfloat16):
            cell = wide.cell(dtype=torch.bfloat16, path=path)
            if proof.PROOFS.objection(cell, path) is not None:
                continue  # it cannot run in this type at all, and is never taken
            y, _ = run(cell, x, wide.fresh(cell, x))
            ratio = (y.float() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
            found.append(Measured(ratio.item(), BFLOAT16, named(cell, "bfloat16 against float32")))
    return found
