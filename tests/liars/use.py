"""Cells that are right, and do something beside it when they are used."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from liars import Liar
from liars.values import Honest, LeakyState
from recurra import Component


class HasAConstantOfTheDefaultType(Honest):
    """Its rate is a tensor of the default type, taken to that of the weights."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        rate = torch.tensor(0.3).to(x_t)
        h = (1 - rate) * state.h + rate * torch.tanh(self.of_input(x_t) + self.of_state(state.h))
        return h, LeakyState(h)


class SetsTheEnvironment(Honest):
    """Takes a thread for itself, and tells so to all processes that are started."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        if not torch.compiler.is_compiling():
            os.environ["MKL_NUM_THREADS"] = "1"
        return super().step(x_t, state)


def liar(check: str, cell: type[Honest]) -> Liar:
    """Return a cell of this module as a liar about a check."""
    name = "".join("_" + c.lower() if c.isupper() else c for c in cell.__name__).lstrip("_")
    target, model = f"liars.use:{cell.__name__}", "recurra:CellOptions"
    return Liar(check, Component("cell", name, target, model, "a cell of the tests"))


LIARS = [liar("C36", HasAConstantOfTheDefaultType), liar("P09", SetsTheEnvironment)]
