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
from recurra.testing.checks.cell.compared import Trace, difference, trace, traced
from recurra.testing.measure import EXACT, ROWS, gaps, worst
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
    findings = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        bound = allowed(x.dtype, x.shape[1], ROWS)
        with torch.no_grad():
            y, after = run(cell, x, start)
            for row in range(4):
                alone = run(cell, x[[row]], pick(start, [row]))
                together = y[[row]], pick(after, [row])
                value = difference(together, alone)
                what = named(cell, f"row {row} alone")
                findings.append(Measured(value, bound, what))

        # A guard against NaN that looks at all rows changes those that have none.
        for lengths in (None, *_ragged(subject, x)):
            value = _spread_of_poison(cell, x, start, lengths)
            what = "NaN in another row"
            if lengths is not None:
                what += ", rows of different lengths"
            findings.append(Measured(value, EXACT, named(cell, what)))
    return worst(findings)


def _ragged(subject: CellSubject, x: Tensor) -> list[Tensor]:
    """Return lengths for four rows; none where the cell lacks them."""
    if not can(subject, "lengths"):
        return []
    steps = x.shape[1]
    return [torch.tensor([steps // 2, steps, steps - 1, steps])]


def _spread_of_poison(cell: Cell[Any], x: Tensor, start: State, lengths: Tensor | None) -> float:
    """Return how much the other rows change, values and gradients, when row 1 is NaN."""
    others = [0, 2, 3]
    answers = []
    for poison in (False, True):
        leaf, state = x.clone(), copied(start)
        if poison:
            _spoil(leaf[1], *(field[1] for field in state))
        leaf, state = leaf.requires_grad_(), leaves(state)
        y, after = run(cell, leaf, state, lengths=lengths)

        # The weights are shared by all rows: only inputs and state have gradients of a row.
        grads = slopes([y, *after], leaf, state, cell)
        values = [y, *after, *grads[: 1 + len(state)]]
        answers.append([value[others].detach() for value in values])
    clean, poisoned = answers
    return gaps(poisoned, clean)


def _spoil(*tensors: Tensor) -> None:
    """Write NaN all over what holds real numbers."""
    for tensor in tensors:
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)


@check("C06", "rows can be chosen", "cell")
def rows_can_be_chosen(subject: CellSubject) -> Measured:
    """Rows in another order answer in that order, and copies of a state go on apart: in float64
    within 1e-12.

    Beam search takes the best rows of a state, some twice, some not at all, and feeds each copy
    another symbol. A cache of its own in the cell, or one entry for states that are equal, gives
    one beam the memory of another. To mend it: keep all of a row in the state's axis 0, and ask
    nothing of a row's number or of its neighbours.
    """
    order = [2, 0, 3, 1]
    beams = [2, 0, 2, 1, 3, 2]
    findings = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        bound = allowed(x.dtype, x.shape[1], ROWS)
        more = subject.x(len(beams), SHORT, dtype=x.dtype, salt=6)
        with torch.no_grad():
            y, after = run(cell, x, start)
            turned = run(cell, x[order], pick(start, order))
            value = difference(turned, (y[order], pick(after, order)))
            findings.append(Measured(value, bound, named(cell, "rows in another order")))

            # Each beam goes on with inputs of its own, from a row that others may share.
            y, last = run(cell, more, pick(after, beams))
            for row, beam in enumerate(beams):
                alone = run(cell, more[[row]], pick(after, [beam]))
                together = y[[row]], pick(last, [row])
                value = difference(together, alone)
                what = named(cell, f"beam {row} of row {beam}")
                findings.append(Measured(value, bound, what))
    return worst(findings)


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
    findings = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        steps = x.shape[1]
        lengths = torch.tensor([steps * 2 // 3, steps, 0, 1])
        # [4, T]: true at the steps that lie behind a row's length.
        outside = torch.arange(steps) >= lengths.unsqueeze(1)
        clean = _padded(cell, x, start, outside, lengths, 0.0)

        expected = _cut(cell, x, start, lengths)
        value = gaps(clean.values, expected.values)
        bound = allowed(x.dtype, steps)
        findings.append(Measured(value, bound, named(cell, "rows cut to their lengths")))
        value = gaps(clean.gradients, expected.gradients, "gradient")
        bound = allowed(x.dtype, steps, SLOPE)
        findings.append(Measured(value, bound, named(cell, "gradients of rows cut")))

        for kind, fill in (("NaN", torch.nan), ("1e6", 1e6)):
            filled = _padded(cell, x, start, outside, lengths, fill)
            value = _differ(filled, clean)
            what = named(cell, f"{kind} in the padding")
            findings.append(Measured(value, EXACT, what))
        if can(subject, "resets"):
            marked = _padded(cell, x, start, outside, lengths, 0.0, outside)
            plain = _padded(cell, x, start, outside, lengths, 0.0, torch.zeros_like(outside))
            value = _differ(marked, plain)
            findings.append(Measured(value, EXACT, named(cell, "resets in the padding")))

        value = _left_behind(clean, start, outside)
        findings.append(Measured(value, EXACT, named(cell, "after the length")))
    return worst(findings)


def _left_behind(clean: Trace, start: State, outside: Tensor) -> float:
    """Return how far outputs and gradients in the padding are from 0, and row 2 from its start.

    Row 2 has length 0.
    """
    y, *fields = clean.values
    of_x = clean.gradients[0]
    behind = [y[outside], of_x[outside]]
    nothing = [torch.zeros_like(value) for value in behind]
    after = rebuild(start, fields)
    values = [*behind, *pick(after, [2])]
    expected = [*nothing, *pick(start, [2])]
    return gaps(values, expected)


def _differ(one: Trace, other: Trace) -> float:
    """Return how much values and gradients differ."""
    of_values = gaps(one.values, other.values)
    return max(of_values, gaps(one.gradients, other.gradients, "gradient"))


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
    padded = torch.where(outside.unsqueeze(-1), fill, x)
    return traced(run, cell, padded, start, reset, lengths)


def _cut(cell: Cell[Any], x: Tensor, start: State, lengths: Tensor) -> Trace:
    """Return what the rows give one by one, each cut to its length.

    It is laid out as the padded window is.
    """
    leaf = x.clone().requires_grad_()
    state = leaves(start)
    steps = x.shape[1]
    outputs, ends = [], []
    for row, length in enumerate(lengths.tolist()):
        y = x.new_zeros(1, 0, cell.output_size)
        end = pick(state, [row])
        # A row of length 0 is not run at all: it keeps its state.
        if length:
            y, end = run(cell, leaf[[row], :length], end)
        padding = y.new_zeros(1, steps - length, cell.output_size)
        outputs.append(torch.cat([y, padding], dim=1))
        ends.append(end)

    after = [torch.cat(fields) for fields in zip(*ends, strict=True)]
    return trace(cell, leaf, state, torch.cat(outputs), after)


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
    findings = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        steps = x.shape[1]
        begins = [0, 3, steps // 2, steps - 5]
        reset = torch.zeros(4, steps, dtype=torch.bool)
        reset[range(4), begins] = True
        # What stands before a row's beginning is loud, so that a leak is seen.
        before = torch.arange(steps) < torch.tensor(begins).unsqueeze(1)
        x = torch.where(before.unsqueeze(-1), 100 * x, x)

        findings += _against_alone(subject, cell, x, start, reset, begins, None)
        if can(subject, "lengths"):
            ends = [steps - 3, steps - 2, steps - 1, steps]
            findings += _against_alone(subject, cell, x, start, reset, begins, ends)
    return worst(findings)


def _against_alone(
    subject: CellSubject,
    cell: Cell[Any],
    x: Tensor,
    start: State,
    reset: Tensor,
    begins: Sequence[int],
    ends: Sequence[int] | None,
) -> list[Measured]:
    """Return how rows that begin, and end, inside a window differ from their sequences alone.

    Without `ends` no lengths are given, and each row ends with the window.
    """
    steps = x.shape[1]
    lengths = None if ends is None else torch.tensor(ends)
    bound = allowed(x.dtype, steps)
    findings = []
    with torch.no_grad():
        y, after = run(cell, x, start, reset, lengths)
        # Alone, a sequence begins at the window's first step, from the initial state.
        for row, begin in enumerate(begins):
            end = steps if ends is None else ends[row]
            piece = x[[row], begin:end]
            alone = run(cell, piece, subject.fresh(cell, piece))
            inside = y[[row], begin:end], pick(after, [row])
            value = difference(inside, alone)
            what = named(cell, f"steps {begin} to {end} of {steps}")
            findings.append(Measured(value, bound, what))
    return findings


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
    findings = []
    for cell, x, start in ready(subject, 4, finest(subject)):
        steps = x.shape[1]
        marks = _marks(steps, subject.generator(9))
        reset = torch.zeros(4, steps, dtype=torch.bool)
        for row, at in enumerate(marks):
            reset[row, at] = True

        leaf = x.clone().requires_grad_()
        state = leaves(start)
        y, after = run(cell, leaf, state, reset)
        leak = _leak(cell, leaf, state, y, after, marks)
        findings.append(Measured(leak, EXACT, named(cell, "gradient across a reset")))
        for row, at in enumerate(marks):
            if not at:
                continue
            before = pick(start, [row])
            with torch.no_grad():
                value = _spread_over_resets(cell, x[[row]], before, reset[[row]], at)
            findings.append(Measured(value, EXACT, named(cell, "NaN before a reset")))

        # `leaf` and `state` are shared by both ways, so that gradients are for the same things.
        alone, ends = _separate(subject, cell, leaf, state, marks)
        value = difference((y, after), (alone, ends))
        bound = allowed(x.dtype, steps)
        findings.append(Measured(value, bound, named(cell, "separate sequences")))

        gradients = slopes([y, *after], leaf, state, cell)
        expected = slopes([alone, *ends], leaf, state, cell)
        value = gaps(gradients, expected, "gradient")
        bound = allowed(x.dtype, steps, SLOPE)
        findings.append(Measured(value, bound, named(cell, "gradients of separate sequences")))
    return worst(findings)


def _marks(steps: int, generator: torch.Generator) -> list[list[int]]:
    """Return the steps of four rows at which a sequence begins."""
    places = torch.randperm(steps, generator=generator)[:4]
    at_random = sorted(places.tolist())
    return [[], [0, steps // 2], [3, 4, steps - 1], at_random]


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
    late = [y[row, marks[row][-1] :] for row in rows]
    final = [field[rows] for field in after]
    of_x, *others = slopes(late + final, x, start, cell)

    # A row without a reset gives nothing to the sum: none of its gradients may be there.
    crossed = []
    for row, at in enumerate(marks):
        crossed.append(of_x[row, : at[-1]] if at else of_x[row])
    crossed += others[: len(start)]
    nothing = [torch.zeros_like(grad) for grad in crossed]
    return gaps(crossed, nothing, "gradient")


def _spread_over_resets(
    cell: Cell[Any], x: Tensor, start: State, reset: Tensor, marks: Sequence[int]
) -> float:
    """Return how much changes after the last reset of a row alone when all before it is NaN."""
    last = marks[-1]
    answers = []
    for poison in (True, False):
        inputs, state = x.clone(), copied(start)
        if poison:
            _spoil(inputs[:, :last], *state)
        y, after = run(cell, inputs, state, reset)
        answers.append([y[:, last:], *after])
    poisoned, clean = answers
    return gaps(poisoned, clean)


def _separate(
    subject: CellSubject, cell: Cell[Any], x: Tensor, start: State, marks: Sequence[Sequence[int]]
) -> tuple[Tensor, State]:
    """Return outputs and final states of the sequences of each row, run one by one."""
    steps = x.shape[1]
    outputs, ends = [], []
    for row, at in enumerate(marks):
        # Without a mark at 0, the row goes on with a sequence that began before the window.
        begins = at if 0 in at else [0, *at]
        state = pick(start, [row])
        parts = []
        for low, high in pairwise([*begins, steps]):
            piece = x[[row], low:high]
            if low in at:
                state = subject.fresh(cell, piece)
            y, state = run(cell, piece, state)
            parts.append(y)
        outputs.append(torch.cat(parts, dim=1))
        ends.append(state)

    fields = [torch.cat(rows) for rows in zip(*ends, strict=True)]
    return torch.cat(outputs), rebuild(start, fields)
