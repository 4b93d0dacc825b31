"""How a check calls a cell.

By its own `forward`, on copies, and with a look at the answer before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.engine.recurrence import State, map_state
from recurra.testing.check import Broken
from recurra.testing.measure import FLOAT64, float32
from recurra.testing.subjects.cell import CellSubject

BRIEF, SHORT, LONG = 9, 17, 70
"""Steps of a window: if each is paid for, if a few more are worth it, and if chunks are cut."""
SLOPE = 1e-8
"""Bound in float64 of the difference of two gradients that should be the same."""


def called(
    cell: Cell[Any],
    x: Tensor,
    state: State | None,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Return the outputs and the state of a call of the cell itself.

    Raises `Broken` if it gives anything else.
    """
    # A flag that is not there is left out, for a cell need not know of it.
    flags = {"reset": reset, "lengths": lengths}
    answer: Any = cell(x, state, **{name: flag for name, flag in flags.items() if flag is not None})
    if not (isinstance(answer, tuple) and len(answer) == 2):
        raise Broken(f"the cell gives {type(answer).__name__}, not outputs and a state")

    y, after = answer
    if not isinstance(y, Tensor):
        raise Broken(f"the outputs are {type(y).__name__}, not a tensor")
    expected = [*x.shape[:2], cell.output_size]
    if list(y.shape) != expected:
        raise Broken(f"the outputs have shape {list(y.shape)}, not {expected}")

    if not (isinstance(after, tuple) and all(isinstance(field, Tensor) for field in after)):
        raise Broken(f"the state is {type(after).__name__}, not a NamedTuple of tensors")
    rows = x.shape[0]
    for field in after:
        if not field.dim() or field.shape[0] != rows:
            raise Broken(f"a field of the state has shape {list(field.shape)}, not [{rows}, ...]")
    return y, after


def run(
    cell: Cell[Any],
    x: Tensor,
    state: State,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Call the cell on contiguous copies.

    A cell that writes on them fails where that is the question, and nowhere else.
    """
    inputs = x.clone(memory_format=torch.contiguous_format)
    return called(cell, inputs, copied(state), reset, lengths)


def copied(state: State) -> State:
    """Return a copy of a state that can be written on, with the graph that it has."""
    return map_state(lambda field: field.clone(memory_format=torch.contiguous_format), state)


def pick(state: State, rows: Sequence[int]) -> State:
    """Return some rows of a state, as a beam search does."""
    return map_state(lambda field: field[list(rows)], state)


def leaves(state: State) -> State:
    """Return a copy of a state that asks for gradients; fields that count have none."""
    return map_state(lambda field: field.clone().requires_grad_(field.is_floating_point()), state)


def slopes(values: Sequence[Tensor], x: Tensor, state: State, cell: Cell[Any]) -> list[Tensor]:
    """Return the gradients of one number made of `values`.

    They are for the input, each field of the state, and each weight. A field that counts keeps its
    place, with zeros; the graph is kept. Raises `Broken` if there is none.
    """
    total = _total(values)
    if not total.requires_grad:
        raise Broken("what the cell gives has no gradient")
    fields = [field for field in state if field.requires_grad]
    weights = [weight for weight in cell.parameters() if weight.requires_grad]

    leaves = [x, *fields, *weights]
    gradients = torch.autograd.grad(total, leaves, retain_graph=True, materialize_grads=True)
    of_x, of_fields, of_weights = gradients[0], iter(gradients[1:]), gradients[1 + len(fields) :]
    of_state = [
        next(of_fields) if field.requires_grad else torch.zeros_like(field) for field in state
    ]
    return [of_x, *of_state, *of_weights]


def _total(values: Sequence[Tensor]) -> Tensor:
    """Return one number that depends on every value, none of them alike: the sum of v cos v."""
    total = torch.zeros((), dtype=torch.float64)
    for value in values:
        if value.is_floating_point():
            # A field may hold -inf, which stands for nothing yet.
            finite = torch.where(torch.isfinite(value), value, torch.zeros_like(value))
            total = total + (finite * torch.cos(finite)).sum()
    return total


def can(subject: CellSubject, capability: str) -> bool:
    """Tell whether a cell has a capability: it does, unless it declares that it lacks it."""
    return capability not in subject.entry.component.lacks


def finest(subject: CellSubject) -> torch.dtype:
    """Return the type in which a cell is measured: float64, unless it declares that it lacks it."""
    return torch.float64 if can(subject, "float64") else torch.float32


def precisions(subject: CellSubject) -> list[torch.dtype]:
    """Return the types in which a cell computes, the finest first."""
    return list(dict.fromkeys([finest(subject), torch.float32]))


def allowed(dtype: torch.dtype, steps: int, bound: float = FLOAT64) -> float:
    """Return the bound of a difference: in float32 it is one that grows with the steps."""
    return bound if dtype == torch.float64 else max(bound, float32(steps))


def chunked(cell: Cell[Any]) -> bool:
    """Tell whether a window may be computed in chunks.

    So may any form that is neither the loop nor a kernel of torch's.
    """
    return cell.path not in ("native", "eager") or type(cell).forward is not Cell.forward


def ready(
    subject: CellSubject, batch: int, dtype: torch.dtype, steps: int = BRIEF, longer: int = LONG
) -> Iterator[tuple[Cell[Any], Tensor, State]]:
    """Give the cell on each of its paths, with inputs `[B, T, D]` and a state of a few steps later.

    T is `steps`, and `longer` where the window may be computed in chunks.
    """
    for path in subject.paths(dtype):
        cell = subject.cell(dtype=dtype, path=path)
        x = subject.x(batch, longer if chunked(cell) else steps, dtype=dtype)
        yield cell, x, subject.start(cell, batch, dtype=dtype)


def named(cell: Cell[Any], *more: str) -> str:
    """Return what a finding is of: the path, and what else."""
    return ", ".join([f"path {cell.path}", *more])
