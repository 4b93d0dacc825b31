"""What a check of a cell is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.engine import eager, proof
from recurra.engine.recurrence import State, map_state
from recurra.testing.option_sets import allowed, validated
from recurra.testing.subjects.subject import Subject

WIDTH = 5
"""Width of the inputs that cells are checked on: odd, and not the hidden size."""


class CellSubject(Subject[Cell[Any]]):
    """A cell under one set of options."""

    def cell(
        self, width: int = WIDTH, dtype: torch.dtype = torch.float64, path: str = "eager"
    ) -> Cell[Any]:
        """Return the cell in evaluation mode, on one execution path."""
        if dtype == torch.float64:
            self.needs("float64")

        cell = self.build(width).to(dtype).eval()
        cell.path = path
        return cell

    def paths(self, dtype: torch.dtype = torch.float32) -> list[str]:
        """Return the execution paths that its author declares, and those that the engine finds.

        Declared ones are there whether they are right or wrong.
        """
        return proof.PROOFS.accepting(self.cell(dtype=dtype))

    def x(
        self,
        batch: int,
        steps: int,
        width: int = WIDTH,
        dtype: torch.dtype = torch.float64,
        salt: int = 0,
    ) -> Tensor:
        """Return inputs `[B, T, D]` drawn from N(0, 1)."""
        draw = self.generator(salt)
        # Drawn in float64, so that inputs of every type are the same numbers, rounded.
        x = torch.randn(batch, steps, width, generator=draw, dtype=torch.float64)
        return x.to(dtype)

    def start(
        self, cell: Cell[Any], batch: int, salt: int = 7, dtype: torch.dtype | None = None
    ) -> State:
        """Return a state that is not the initial one, without a graph: random steps lead to it."""
        dtype = dtype or next(cell.parameters()).dtype
        x = self.x(batch, 3, cell.input_size, dtype, salt)
        fresh = self.fresh(cell, x)
        with torch.no_grad():
            _, state = eager.run(cell, x, fresh, None, None)
        return map_state(torch.clone, state)

    def wider(self, hidden: int) -> CellSubject:
        """Return the subject with another hidden size, if its options allow it, else itself."""
        table = {**self.table, "hidden_size": hidden}
        if not allowed(self.entry, table):
            return self
        options = validated(self.entry, table)
        return CellSubject(self.entry, options, table, self.sets)

    @staticmethod
    def fresh(cell: Cell[Any], x: Tensor) -> State:
        """Return the cell's initial state for inputs `[B, T, D]`."""
        state: State = cell.initial_state(x.shape[0], device=x.device, dtype=x.dtype)
        return state

    @staticmethod
    def stepped(cell: Cell[Any], x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return what calling `step` in a loop gives: the specification.

        That is outputs `[B, T, H]` and the final state.
        """
        return eager.run(cell, x, state, None, None)
