"""A sound cell as the text of a plugin file, its hook, and a part that hides a state."""

from __future__ import annotations

LEAKY = '''
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recurra import Cell, CellOptions, Component, Field, hookimpl


class LeakyOptions(CellOptions):
    """Options of the leaky integrator."""

    leak: float = Field(0.5, gt=0, le=1, description="share of the state that each step replaces")


class LeakyState(NamedTuple):
    h: Tensor


class Leaky(Cell[LeakyOptions]):
    """h_t = (1 - a) h_{t-1} + a tanh(W [x_t, h_{t-1}] + b); the output is h_t."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size + options.hidden_size, options.hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        return LeakyState(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def step(self, x_t, state):
        proposed = torch.tanh(self.map(torch.cat((x_t, state.h), -1)))
        h = state.h + self.options.leak * (proposed - state.h)
        return h, LeakyState(h)
'''
HOOK = """

@hookimpl
def recurra_components():
    return [Component("cell", "leaky", "{module}:Leaky", "{module}:LeakyOptions", "leaks"{more})]
"""
HIDING = '''

class Hiding(Leaky):
    """Counts its steps on itself, and looks at the count."""

    steps = 0

    def step(self, x_t, state):
        self.steps += 1
        h, after = super().step(x_t, state)
        return h + 1e-3 * self.steps, after


Leaky = Hiding
'''
