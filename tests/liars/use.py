"""Cells that are right, and do something beside it when they are used."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liars import Liar
from liars.values import Honest, LeakyState
from recurra import CellOptions, Component


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


class SeedsWhenItTrains(Honest):
    """Begins each step of training with the same random numbers."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.training and not torch.compiler.is_compiling():
            torch.default_generator.manual_seed(0)
        return super().step(x_t, state)


class HushesWhenItIsTrained(Honest):
    """Tells all that training has begun."""

    def train(self, mode: bool = True) -> Any:
        if mode:
            os.environ["TRAINING"] = "1"
        return super().train(mode)


class CountsInAnArray(Honest):
    """Counts its steps in an array of numpy's."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.count = np.zeros(1)

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        if not torch.compiler.is_compiling():
            self.count[0] += 1
        return super().step(x_t, state)


class KeepsAllStates(Honest):
    """Keeps the shape of each state in a list of its module."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        if not torch.compiler.is_compiling():
            HISTORY.append(x_t.shape)
        return super().step(x_t, state)


class CountsInItsOptions(Honest):
    """Counts its steps in its options."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        if not torch.compiler.is_compiling():
            self.options.__dict__["steps"] = vars(self.options).get("steps", 0) + 1
        return super().step(x_t, state)


class AsksForThreads(Honest):
    """Gives a hundredth more with more than one thread."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, after = super().step(x_t, state)
        return h * (1.01 if torch.get_num_threads() > 1 else 1.0), after


HISTORY: list[torch.Size] = []


def liar(check: str, cell: type[Honest], *others: str) -> Liar:
    """Return a cell of this module as a liar about a check."""
    name = "".join("_" + c.lower() if c.isupper() else c for c in cell.__name__).lstrip("_")
    target, model = f"liars.use:{cell.__name__}", "recurra:CellOptions"
    return Liar(
        check, Component("cell", name, target, model, "a cell of the tests"), frozenset(others)
    )


LIARS = [
    liar("C36", HasAConstantOfTheDefaultType),
    liar("C36", AsksForThreads, "C25"),
    liar("P09", SetsTheEnvironment),
    liar("P09", SeedsWhenItTrains),
    liar("P09", HushesWhenItIsTrained),
    liar("P09", CountsInItsOptions, "C10"),
    liar("C10", CountsInAnArray),
    liar("C10", KeepsAllStates),
]
