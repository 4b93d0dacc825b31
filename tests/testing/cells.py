"""Cells that the checks of the suite are tried on, and what each check said of them."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from liars import entry
from liars.values import Honest, LeakyState
from torch import nn

from recurra import Cell, CellOptions, Component, ScanCell
from recurra.testing.suite import examine

IDS = [f"C{number:02}" for number in range(1, 14)]
"""The checks of what a cell gives: its values, row by row, and its state."""
REPORTED = ["R33", "R34"]
"""Those that only tell."""
SMALL = [{"hidden_size": 8}]


def component(cell, **more):
    return Component(
        "cell",
        "cell",
        f"{cell.__module__}:{cell.__name__}",
        "recurra:CellOptions",
        "a cell",
        **more,
    )


def records(cell, only=IDS, level="core", **more):
    """Examine a class of cells, which need not be importable, and return the record of each
    check.
    """
    found = entry(component(cell, **more))
    vars(found)["target"] = cell
    return {record.id: record for record in examine(found, level, sets=SMALL, only=only).records}


def record(check, cell, **more):
    """Return the record of one check, of whatever level."""
    return records(cell, [check], "full", **more)[check]


def failed(cell, only=IDS, **more):
    """Return the checks that do not pass."""
    return {
        name
        for name, record in records(cell, only, **more).items()
        if record.verdict not in ("PASS", "N/A")
    }


def named(check, cell, *words, **more):
    """Assert that the check fails, and that its line holds these words."""
    found = record(check, cell, **more)
    assert found.verdict == "FAIL", found
    assert all(word in found.detail for word in words), found.detail


def every(wrong):
    """Return the parameters of a test of wrong cells: each cell, and the checks of what it
    breaks.
    """
    return pytest.mark.parametrize(
        ("cell", "wanted"), wrong.items(), ids=lambda value: getattr(value, "__name__", "")
    )


def named_by(cell, wanted):
    """Assert that each check that is about the fault of a cell fails, and is no error of the
    suite.
    """
    found = records(cell, sorted(wanted))
    assert {name: record.verdict for name, record in found.items()} == dict.fromkeys(
        sorted(wanted), "FAIL"
    )


# Cells that are right


class MeanState(NamedTuple):
    mean: torch.Tensor
    count: torch.Tensor


class Mean(Cell[CellOptions]):
    """The running mean of the inputs; it has no weights, and counts its steps."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.output_size = input_size

    def initial_state(self, batch_size, *, device, dtype):
        mean = torch.zeros(batch_size, self.input_size, device=device, dtype=dtype)
        return MeanState(mean, torch.zeros(batch_size, device=device, dtype=torch.long))

    def step(self, x_t, state):
        count = state.count + 1
        mean = state.mean + (x_t - state.mean) / count.unsqueeze(-1)
        return mean, MeanState(mean, count)


class Turning(ScanCell[CellOptions]):
    """A scan of complex numbers that reads two inputs back."""

    paired = True
    context = 2

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.angles = nn.Parameter(torch.randn(self.hidden_size))
        self.map = nn.Linear(3 * input_size, 2 * self.hidden_size)

    def coefficients(self, x):
        a = 0.95 * torch.stack([self.angles.cos(), self.angles.sin()], dim=-1)
        return a, self.map(x.flatten(-2)).unflatten(-1, (-1, 2))

    def readout(self, h, x):
        return h[..., 0] + h[..., 1]


# Cells that are wrong, and what such are made of


class Overriding(Honest):
    """A cell that runs its window itself."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        return self.spoilt(*super().forward(x, state, reset=reset, lengths=lengths), x)

    def spoilt(self, y, after, x):
        return y, after


class WithGradient(torch.autograd.Function):
    """The identity, with a gradient that is changed."""

    @staticmethod
    def forward(ctx, y, change):
        ctx.change = change
        return y.clone()

    @staticmethod
    def backward(ctx, grad):
        return ctx.change(grad), None


class KeepsItsPast(Honest):
    """The state is all inputs so far."""

    def initial_state(self, batch_size, *, device, dtype):
        return LeakyState(torch.zeros(batch_size, 1, self.input_size, device=device, dtype=dtype))

    def step(self, x_t, state):
        past = torch.cat([state.h, x_t.unsqueeze(1)], dim=1)
        v = torch.tanh(self.of_input(past))
        return self.of_state(v.mean(1)), LeakyState(past)
