"""What the rows of a batch owe each other, and what padding and resets leave behind: nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.engine.recurrence import State, rebuild
from recurra.testing.calls import (
    SHORT,
    SLOPE,
    allowed,
    can,
    copied,
    finest,
    leaves,
    named,
    pick,
    ready,
    run,
    slopes,
)
from recurra.testing.check import Measured, check
from recurra.testing.measure import EXACT, ROWS, gap, gaps, worst
from recurra.testing.subjects.cell import CellSubject


@check("C05", "rows are independent", "cell", firm=True)
def rows_are_independent(subject: CellSubject) -> Measured:
    """A row alone gives what it gives in a batch, and NaN in one row changes no bit of another:
    values and gradients.

    In float64 within 1e-12, the poison exactly, in inputs and in the state, with rows of different
    lengths too. A batch is a matter of speed: statistics over it, one scale for all rows or a guard
    that skips them all make an answer depend on who else asked. To mend it: no operation over axis
    0.
    """
    found = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        with torch.no_grad():
            y, after = run(cell, x, start)
            for row in range(4):
                alone, last = run(cell, x[[row]], pick(start, [row]))
                value = max(
                    gap(y[[row]], alone, "the output"), gaps(pick(after, [row]), last, "state")
                )
                found.append(
                    Measured(
                        value, allowed(x.dtype, x.shape[1], ROWS), named(cell, f"row {row} alone")
                    )
                )
        for lengths in (None, *_ragged(subject, x)):
            value = _spread_of_poison(cell, x, start, lengths)
            kind = "NaN in another row" + (
                ", rows of different lengths" if lengths is not None else ""
            )
            found.append(Measured(value, EXACT, named(cell, kind)))
    return worst(found)


def _ragged(subject: CellSubject, x: Tensor) -> list[Tensor]:
    """Return lengths for four rows; none where the cell lacks them."""
    steps = x.shape[1]
    return [torch.tensor([steps // 2, steps, steps - 1, steps])] if can(subject, "lengths") else []


def _spread_of_poison(cell: Cell[Any], x: Tensor, start: State, lengths: Tensor | None) -> float:
    """Return how much the other rows change, values and gradients, when row 1 is NaN."""
    others, seen = [0, 2, 3], []
    for poison in (False, True):
        leaf, state = x.clone(), copied(start)
        if poison:
            for field in (leaf, *state):
                if field.is_floating_point():
                    field[1] = torch.nan
        leaf, state = leaf.requires_grad_(), leaves(state)
        y, after = run(cell, leaf, state, lengths=lengths)
        # The weights are shared by all rows.
        grads = slopes([y, *after], leaf, state, cell)[: 1 + len(state)]
        seen.append([value[others].detach() for value in (y, *after, *grads)])
    return gaps(seen[1], seen[0])


@check("C06", "rows can be chosen", "cell")
def rows_can_be_chosen(subject: CellSubject) -> Measured:
    """Rows in another order answer in that order, and copies of a state go on apart: in float64
    within 1e-12.

    Beam search takes the best rows of a state, some twice, some not at all, and feeds each copy
    another symbol. A cache of its own in the cell, or one entry for states that are equal, gives
    one beam the memory of another. To mend it: keep all of a row in the state's axis 0, and ask
    nothing of a row's number or of its neighbours.
    """
    found = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        bound = allowed(x.dtype, x.shape[1], ROWS)
        order, beams = [2, 0, 3, 1], [2, 0, 2, 1, 3, 2]
        more = subject.x(len(beams), SHORT, dtype=x.dtype, salt=6)
        with torch.no_grad():
            y, after = run(cell, x, start)
            turned, last = run(cell, x[order], pick(start, order))
            value = max(
                gap(turned, y[order], "the output"), gaps(last, pick(after, order), "state")
            )
            found.append(Measured(value, bound, named(cell, "rows in another order")))
            together, last = run(cell, more, pick(after, beams))
            for row, beam in enumerate(beams):
                alone, end = run(cell, more[[row]], pick(after, [beam]))
                value = max(
                    gap(together[[row]], alone, "the output"), gaps(pick(last, [row]), end, "state")
                )
                found.append(Measured(value, bound, named(cell, f"beam {row} of row {beam}")))
    return worst(found)


@check("C07", "padding is inert", "cell", firm=True)
def padding_is_inert(subject: CellSubject) -> Measured:
    """After its length a row keeps its state, gives zeros and has no gradient, whatever stands
    there.

    Each row equals the row cut to its length, in float64 within 1e-9, gradients within 1e-8; NaN,
    1e6 and resets in the padding change no bit of outputs, states and gradients; a row of length 0
    keeps its state to the bit. States that decay through padding gave published models other
    answers in a batch than alone. A `where` after the step keeps NaN out of the values alone: its
    gradient is 0 times NaN. To mend it: replace padded inputs before the step, and carry the old
    state over it.
    """
    subject.needs("lengths")
    found = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        steps = x.shape[1]
        lengths = torch.tensor([steps * 2 // 3, steps, 0, 1])
        outside = torch.arange(steps) >= lengths.unsqueeze(1)
        clean = _padded(cell, x, start, outside, lengths, 0.0)
        wanted, wanted_slopes = _cut(cell, x, start, lengths)
        found.append(
            Measured(
                gaps(clean[0], wanted),
                allowed(x.dtype, steps),
                named(cell, "rows cut to their lengths"),
            )
        )
        value = gaps(clean[1], wanted_slopes, "gradient")
        found.append(
            Measured(value, allowed(x.dtype, steps, SLOPE), named(cell, "gradients of rows cut"))
        )
        for kind, fill in (("NaN", torch.nan), ("1e6", 1e6)):
            value = _differ(_padded(cell, x, start, outside, lengths, fill), clean)
            found.append(Measured(value, EXACT, named(cell, f"{kind} in the padding")))
        if can(subject, "resets"):
            marked, plain = (
                _padded(cell, x, start, outside, lengths, 0.0, outside & on) for on in (True, False)
            )
            found.append(
                Measured(_differ(marked, plain), EXACT, named(cell, "resets in the padding"))
            )
        y, of_x, kept = clean[0][0], clean[1][0], pick(rebuild(start, clean[0][1:]), [2])
        left = [y[outside], of_x[outside], *kept]
        nothing = [torch.zeros_like(value) for value in left[:2]]
        found.append(
            Measured(
                gaps(left, [*nothing, *pick(start, [2])]), EXACT, named(cell, "after the length")
            )
        )
    return worst(found)


Trace = tuple[list[Tensor], list[Tensor]]
"""Outputs and final state; gradients of inputs, start and weights."""


def _differ(one: Trace, other: Trace) -> float:
    """Return how much values and gradients differ."""
    return max(gaps(one[0], other[0]), gaps(one[1], other[1], "gradient"))


def _padded(
    cell: Cell[Any],
    x: Tensor,
    start: State,
    outside: Tensor,
    lengths: Tensor,
    fill: float,
    reset: Tensor | None = None,
) -> Trace:
    """Return what a padded window gives when `fill` stands in its padding."""
    leaf = torch.where(outside.unsqueeze(-1), fill, x).requires_grad_()
    state = leaves(start)
    y, after = run(cell, leaf, state, reset, lengths)
    return [value.detach() for value in (y, *after)], slopes([y, *after], leaf, state, cell)


def _cut(cell: Cell[Any], x: Tensor, start: State, lengths: Tensor) -> Trace:
    """Return what the rows give one by one, each cut to its length, laid out as the padded window
    is.
    """
    leaf, state = x.clone().requires_grad_(), leaves(start)
    outputs, ends = [], []
    for row, length in enumerate(lengths.tolist()):
        y, end = x.new_zeros(1, 0, cell.output_size), pick(state, [row])
        if length:
            y, end = run(cell, leaf[[row], :length], end)
        outputs.append(torch.cat([y, y.new_zeros(1, x.shape[1] - length, cell.output_size)], dim=1))
        ends.append(end)
    y, after = torch.cat(outputs), [torch.cat(fields) for fields in zip(*ends, strict=True)]
    return [value.detach() for value in (y, *after)], slopes([y, *after], leaf, state, cell)


@check("C08", "left padding", "cell")
def left_padding(subject: CellSubject) -> Measured:
    """A row whose sequence begins inside the window, at a reset, equals that sequence alone; in
    float64 within 1e-9.

    Rows that begin at different steps, after inputs a hundred times as large; then rows that end at
    different steps as well. Prompts of different lengths are aligned at their end: where the
    filling before them reaches the state, every short prompt is continued differently in a batch
    than alone. To mend it: start from `initial_state` at the reset, and count lengths from the
    start of the window.
    """
    subject.needs("resets")
    found = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        steps = x.shape[1]
        begins = [0, 3, steps // 2, steps - 5]
        reset = torch.zeros(4, steps, dtype=torch.bool)
        reset[range(4), begins] = True
        before = torch.arange(steps) < torch.tensor(begins).unsqueeze(1)
        x = torch.where(before.unsqueeze(-1), 100 * x, x)
        ends = [[steps] * 4] + (
            [[steps - 3, steps - 2, steps - 1, steps]] if can(subject, "lengths") else []
        )
        for lengths in ends:
            with torch.no_grad():
                y, after = run(
                    cell, x, start, reset, None if lengths is ends[0] else torch.tensor(lengths)
                )
                for row, (begin, end) in enumerate(zip(begins, lengths, strict=True)):
                    piece = x[[row], begin:end]
                    wanted, last = run(cell, piece, subject.fresh(cell, piece))
                    value = max(
                        gap(y[[row], begin:end], wanted, "the output"),
                        gaps(pick(after, [row]), last, "state"),
                    )
                    kind = f"steps {begin} to {end} of {steps}"
                    found.append(Measured(value, allowed(x.dtype, steps), named(cell, kind)))
    return worst(found)


@check("C09", "resets cut", "cell", firm=True)
def resets_cut(subject: CellSubject) -> Measured:
    """A row with resets equals its sequences one by one, and what comes after a reset has no
    gradient before it.

    Resets at the first step and the last, two in succession, several in a row and none, from a
    state that is not the initial one; each sequence begins from `initial_state`, learned or not.
    Values in float64 within 1e-9, gradients of inputs, start and weights within 1e-8; across a
    reset the gradient is exactly 0, and NaN does not pass it. Documents are packed into one window,
    and episodes end inside it: a reset to zeros forgets a learned start, and a decay that is only
    very small at a reset is a leak. To mend it: take `initial_state` where a reset stands, by
    selection and not by a product.
    """
    subject.needs("resets")
    found = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        steps = x.shape[1]
        marks = _marks(steps, subject.generator(9))
        reset = torch.zeros(4, steps, dtype=torch.bool)
        for row, at in enumerate(marks):
            reset[row, at] = True
        leaf, state = x.clone().requires_grad_(), leaves(start)
        y, after = run(cell, leaf, state, reset)
        leak = _leak(cell, leaf, state, y, after, marks)
        found.append(Measured(leak, EXACT, named(cell, "gradient across a reset")))
        for row, at in [(row, at) for row, at in enumerate(marks) if at]:
            with torch.no_grad():
                value = _spread_over_resets(cell, x[[row]], pick(start, [row]), reset[[row]], at)
            found.append(Measured(value, EXACT, named(cell, "NaN before a reset")))

        alone, ends = _separate(subject, cell, leaf, state, marks)
        values = max(gap(y, alone, "the output"), gaps(after, ends, "state"))
        found.append(Measured(values, allowed(x.dtype, steps), named(cell, "separate sequences")))
        value = gaps(
            slopes([y, *after], leaf, state, cell),
            slopes([alone, *ends], leaf, state, cell),
            "gradient",
        )
        found.append(
            Measured(
                value,
                allowed(x.dtype, steps, SLOPE),
                named(cell, "gradients of separate sequences"),
            )
        )
    return worst(found)


def _marks(steps: int, generator: torch.Generator) -> list[list[int]]:
    """Return the steps of four rows at which a sequence begins."""
    drawn = sorted(torch.randperm(steps, generator=generator)[:4].tolist())
    return [[], [0, steps // 2], [3, 4, steps - 1], drawn]


def _leak(
    cell: Cell[Any],
    x: Tensor,
    start: State,
    y: Tensor,
    after: Sequence[Tensor],
    marks: Sequence[Sequence[int]],
) -> float:
    """Return the greatest gradient that crosses a row's last reset, or comes from another row."""
    rows = [row for row, at in enumerate(marks) if at]
    kept = [y[row, marks[row][-1] :] for row in rows] + [field[rows] for field in after]
    of_x, *others = slopes(kept, x, start, cell)
    crossed = [of_x[row, : at[-1]] if at else of_x[row] for row, at in enumerate(marks)] + others[
        : len(start)
    ]
    return gaps(crossed, [torch.zeros_like(grad) for grad in crossed], "gradient")


def _spread_over_resets(
    cell: Cell[Any], x: Tensor, start: State, reset: Tensor, marks: Sequence[int]
) -> float:
    """Return how much changes after the last reset of a row alone when all before it is NaN."""
    seen = []
    for poison in (True, False):
        inputs, state = x.clone(), copied(start)
        for field in (inputs[:, : marks[-1]], *state) if poison else ():
            if field.is_floating_point():
                field.fill_(torch.nan)
        y, after = run(cell, inputs, state, reset)
        seen.append([y[:, marks[-1] :], *after])
    return gaps(seen[0], seen[1])


def _separate(
    subject: CellSubject, cell: Cell[Any], x: Tensor, start: State, marks: Sequence[Sequence[int]]
) -> tuple[Tensor, State]:
    """Return outputs and final states of the sequences of each row, run one by one."""
    outputs, ends = [], []
    for row, at in enumerate(marks):
        state, parts = pick(start, [row]), []
        for low, high in pairwise([*([] if 0 in at else [0]), *at, x.shape[1]]):
            piece = x[[row], low:high]
            y, state = run(cell, piece, subject.fresh(cell, piece) if low in at else state)
            parts.append(y)
        outputs.append(torch.cat(parts, dim=1))
        ends.append(state)
    return torch.cat(outputs), rebuild(
        start, [torch.cat(fields) for fields in zip(*ends, strict=True)]
    )
