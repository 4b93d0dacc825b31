"""What two forms of a cell give, compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.engine.recurrence import State
from recurra.testing.calls import leaves, slopes
from recurra.testing.measure import gap, gaps

Answer: TypeAlias = tuple[Tensor, State]
"""Outputs `[B, T, H]` and the final state."""
Form: TypeAlias = Callable[..., Answer]
"""What runs a cell over a window, from a state: the cell itself, or a loop over its `step`."""


def difference(answer: Answer, expected: Answer) -> float:
    """Return the gap of two answers: that of their outputs or of their states."""
    y, after = answer
    right, last = expected
    of_output = gap(y, right, "the output")
    of_state = gaps(after, last, "state")
    return max(of_output, of_state)


class Trace(NamedTuple):
    """Outputs and final state; gradients of inputs, start and weights."""

    values: list[Tensor]
    gradients: list[Tensor]

    @property
    def answer(self) -> Answer:
        """Outputs, and the fields of the final state."""
        y, *fields = self.values
        return y, tuple(fields)


def traced(form: Form, cell: Cell[Any], x: Tensor, start: State, *flags: Tensor | None) -> Trace:
    """Return what a form gives for a window, and the gradients of one number made of it."""
    leaf = x.clone().requires_grad_()
    state = leaves(start)
    y, after = form(cell, leaf, state, *flags)
    return trace(cell, leaf, state, y, after)


def trace(cell: Cell[Any], x: Tensor, start: State, y: Tensor, after: Sequence[Tensor]) -> Trace:
    """Return an answer without its graph, and the gradients that it had."""
    values = [y, *after]
    gradients = slopes(values, x, start, cell)
    return Trace([value.detach() for value in values], gradients)
