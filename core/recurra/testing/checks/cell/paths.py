"""Every execution path against `step` itself, row by row.

Whatever path is the fastest on a machine, it is the same.
"""

from __future__ import annotations

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
    named,
    pick,
    precisions,
    run,
)
from recurra.testing.check import Broken, Measured, check
from recurra.testing.checks.cell.compared import difference, traced
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
    findings = []
    for dtype in precisions(subject):
        for path in subject.paths(dtype):
            cell = subject.cell(dtype=dtype, path=path)
            # A single step is a window too, which some paths treat apart.
            for steps in (1, SHORT):
                x = subject.x(4, steps, dtype=dtype)
                findings += _against_rows(subject, cell, x)
            findings.append(_loud(subject, cell, dtype))
            _keeps_nan(subject, cell, dtype)

    findings += _rounded(subject)
    return worst(findings)


def _against_rows(subject: CellSubject, cell: Cell[Any], x: Tensor) -> list[Measured]:
    """Return how a window `[4, T, D]` differs from its rows, each stepped alone.

    That is in outputs and state, and in gradients.
    """
    steps = x.shape[1]
    start = subject.start(cell, 4, dtype=x.dtype)
    lengths = None
    if can(subject, "lengths"):
        lengths = torch.tensor([steps, steps * 2 // 3, 0, steps])
    reset = None
    if can(subject, "resets"):
        # Row 0 has several, row 1 one at its first step, row 2 none, row 3 one at its last.
        reset = torch.zeros(4, steps, dtype=torch.bool)
        reset[0, steps // 3 :: 4] = True
        reset[1, :1] = True
        reset[3, -1:] = True

    whole = traced(run, cell, x, start, reset, lengths)
    by_rows = traced(_by_rows, cell, x, start, reset, lengths)
    of_values = difference(whole.answer, by_rows.answer)
    of_gradients = gaps(whole.gradients, by_rows.gradients, "gradient")

    kind = str(x.dtype).removeprefix("torch.")
    where = f"T = {steps}, {kind}"
    bound, slope = allowed(x.dtype, steps), allowed(x.dtype, steps, SLOPE)
    return [
        Measured(of_values, bound, named(cell, where)),
        Measured(of_gradients, slope, named(cell, where, "gradients")),
    ]


def _by_rows(
    cell: Cell[Any], x: Tensor, start: State, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, State]:
    """Return outputs and final state of rows that are stepped one by one, each to its length."""
    batch, steps = x.shape[:2]
    ends = [steps] * batch if lengths is None else lengths.tolist()
    outputs, finals = [], []
    for row, end in enumerate(ends):
        state = pick(start, [row])
        of_row = []
        for t in range(end):
            if reset is not None and reset[row, t]:
                state = cell.initial_state(1, device=x.device, dtype=x.dtype)
            y, state = cell.step(x[[row], t], state)
            of_row.append(y)

        # What lies behind a row's length is answered with zeros.
        nothing = x.new_zeros(1, cell.output_size)
        of_row += [nothing] * (steps - end)
        outputs.append(torch.stack(of_row, dim=1))
        finals.append(state)

    fields = [torch.cat(rows) for rows in zip(*finals, strict=True)]
    return torch.cat(outputs), rebuild(start, fields)


def _loud(subject: CellSubject, cell: Cell[Any], dtype: torch.dtype) -> Measured:
    """Return how a window of large inputs differs from its steps."""
    x = LOUD * subject.x(3, SHORT, dtype=dtype)
    start = subject.start(cell, 3, dtype=dtype)
    with torch.no_grad():
        y, _ = run(cell, x, start)
        expected, _ = subject.stepped(cell, x, start)

    # Sums are larger, and so is their rounding.
    bound = LOUD * allowed(dtype, SHORT)
    value = gap(y, expected, "the output")
    return Measured(value, bound, named(cell, f"inputs times {LOUD:g}"))


def _keeps_nan(subject: CellSubject, cell: Cell[Any], dtype: torch.dtype) -> None:
    """Raise `Broken` if a path answers with numbers where `step` has none."""
    x = subject.x(2, 9, dtype=dtype)
    start = subject.start(cell, 2, dtype=dtype)
    x[1, 4] = torch.nan
    with torch.no_grad():
        y, after = run(cell, x, start)
        expected, last = subject.stepped(cell, x, start)

    for value, right in zip([y, *after], [expected, *last], strict=True):
        if not right.is_floating_point():
            continue
        hidden = right.isnan() & ~value.isnan()
        if hidden.any():
            raise Broken(
                f"{named(cell)}: where a NaN in the input makes `step` give NaN, the window gives"
                " numbers"
            )


def _rounded(subject: CellSubject) -> list[Measured]:
    """Return how outputs in bfloat16 differ from `step` in float32 with the same weights.

    The weights are rounded to bfloat16 first.
    """
    if not can(subject, "bfloat16"):
        return []

    wide = subject.wider(32)
    x = wide.x(3, SHORT, dtype=torch.bfloat16)
    exact = wide.cell(dtype=torch.bfloat16).float()
    findings = []
    with torch.no_grad():
        start = wide.fresh(exact, x.float())
        expected, _ = wide.stepped(exact, x.float(), start)
        for path in wide.paths(torch.bfloat16):
            cell = wide.cell(dtype=torch.bfloat16, path=path)
            # A path that cannot run in this type at all is never taken.
            if proof.PROOFS.objection(cell, path) is not None:
                continue
            y, _ = run(cell, x, wide.fresh(cell, x))
            error = (y.float() - expected).square().mean().sqrt()
            ratio = error / expected.square().mean().sqrt()
            what = named(cell, "bfloat16 against float32")
            findings.append(Measured(ratio.item(), BFLOAT16, what))
    return findings
