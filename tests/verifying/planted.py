"""A plugin file of parts that keep what no checkpoint holds, and one that takes nothing back."""

COUNTER = """\
from typing import NamedTuple

import torch
from recurra import Cell, CellOptions, Component, hookimpl


class State(NamedTuple):
    h: torch.Tensor


class Counter(Cell[CellOptions]):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.w = torch.nn.Linear(input_size, options.hidden_size)
        self.u = torch.nn.Linear(options.hidden_size, options.hidden_size)
        self.calls = 0

    def initial_state(self, batch_size, *, device, dtype):
        return State(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def share(self):
        self.calls += 1
        return 1 - 0.1 / self.calls

    def step(self, x, state):
        h = torch.tanh(self.w(x) + self.u(state.h)) * self.share()
        return h, State(h)


class Honest(Counter):
    def share(self):
        return 0.9


class Noisy(Counter):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.own = torch.Generator().manual_seed(1)

    def share(self):
        return torch.rand(self.hidden_size, generator=self.own)


@hookimpl
def recurra_components():
    return [
        Component("cell", name.lower(), f"liar:{name}", "recurra:CellOptions", "a liar")
        for name in ("Counter", "Honest", "Noisy")
    ]
"""
"""A cell that counts its steps, one that draws from its own stream, one that does neither."""

FORGETFUL = """\
from recurra import hookimpl
from recurra.train.loop import Trainer

whole = Trainer.restore


def restore(self, checkpoint):
    whole(self, checkpoint)
    self.optimizer.state.clear()


Trainer.restore = restore


@hookimpl
def recurra_components():
    return []
"""
"""What takes back all of a checkpoint but the state of the optimizer."""

MOVING = """\
import os

from recurra import Component, Options, Piece, Source, hookimpl


class Nothing(Options):
    pass


class Moving(Source[Nothing]):
    offers = ("text",)

    def read(self, element):
        yield Piece("abcabcab" * 4 + format(os.getpid(), "b").replace("0", "a").replace("1", "b"))

    def fingerprint(self):
        return FINGERPRINT


@hookimpl
def recurra_components():
    return [Component("source", "moving", "liar:Moving", "liar:Nothing", "a liar")]
"""
"""A source that gives another text in each process; what it says of itself is to be filled in."""
