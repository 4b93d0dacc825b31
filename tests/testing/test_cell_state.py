"""What the checks of a cell's state see: what is changed or hidden, how it begins, how far
gradients reach.
"""

from __future__ import annotations

import torch
from cells import every, named_by
from liars.values import Honest, LeakyState, Windowed
from torch import nn

from recurra.engine.recurrence import detach


class StepsInPlace(Honest):
    def step(self, x_t, state):
        h, _ = super().step(x_t, state)
        return h, LeakyState(state.h.detach().copy_(h))


class ClampsItsInput(Honest):
    def step(self, x_t, state):
        return super().step(x_t.clamp_(-2, 2), state)


class WritesTheSame(Honest):
    """It writes on its input, and only what is there."""

    def step(self, x_t, state):
        return super().step(x_t.mul_(1.0), state)


class WritesBehindTheGraph(Honest):
    def step(self, x_t, state):
        x_t.data.clamp_(-1, 1)
        return super().step(x_t, state)


class RemembersElsewhere(Honest):
    """Without a state it goes on from the last, which no attribute of the module holds."""

    kept = {}

    def forward(self, x, state=None, *, reset=None, lengths=None):
        last = self.kept.get((id(self), len(x)))
        y, after = super().forward(
            x, last if state is None else state, reset=reset, lengths=lengths
        )
        self.kept[id(self), len(x)] = detach(after)
        return y, after


class RemembersTheState(Honest):
    """Without a state it goes on from the last."""

    last = None

    def forward(self, x, state=None, *, reset=None, lengths=None):
        if state is None and self.last is not None and len(self.last.h) == len(x):
            state = self.last
        y, self.last = super().forward(x, state, reset=reset, lengths=lengths)
        return y, self.last


class ReusesItsBuffer(Honest):
    """Outputs are written where those of the last call stand, as a captured graph does."""

    kept = {}

    def forward(self, x, state=None, *, reset=None, lengths=None):
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        if torch.is_grad_enabled():
            return y, after
        return (
            self.kept.setdefault((id(self), y.shape, y.dtype), torch.empty_like(y)).copy_(y),
            after,
        )


class ListsItsOutputs(Honest):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.seen = []

    def step(self, x_t, state):
        self.seen.append(x_t.detach())
        return super().step(x_t, state)


class LearnsInTraining(Honest):
    """A mean of the inputs that is kept in training alone."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.norm = nn.BatchNorm1d(input_size, affine=False)

    def step(self, x_t, state):
        self.norm(x_t)
        return super().step(x_t, state)


class KeepsTheGraph(Honest):
    """What it returned last is found again by its memory, with its graph, though it comes back
    detached.
    """

    last = [None]

    def forward(self, x, state=None, *, reset=None, lengths=None):
        last = self.last[0]
        if state is not None and last is not None and state.h.data_ptr() == last.h.data_ptr():
            state = last
        y, self.last[0] = super().forward(x, state, reset=reset, lengths=lengths)
        return y, self.last[0]


class TruncatesItself(Windowed):
    """Gradients reach 32 steps back."""

    def window(self, x, state, reset, live):
        outputs = []
        for low in range(0, x.shape[1], 32):
            parts = [None if part is None else part[:, low : low + 32] for part in (x, reset, live)]
            y, state = super().window(parts[0], detach(state), *parts[1:])
            outputs.append(y)
        return torch.cat(outputs, dim=1), state


class BeginsInSingle(Honest):
    def initial_state(self, batch_size, *, device, dtype):
        return super().initial_state(batch_size, device=device, dtype=torch.float32)


class BeginsOnTheCPU(Honest):
    def initial_state(self, batch_size, *, device, dtype):
        return super().initial_state(batch_size, device=torch.device("cpu"), dtype=dtype)


class BeginsAtRandom(Honest):
    def initial_state(self, batch_size, *, device, dtype):
        return LeakyState(torch.randn(batch_size, self.hidden_size, device=device, dtype=dtype))


class BeginsWithOneRow(Honest):
    def initial_state(self, batch_size, *, device, dtype):
        return super().initial_state(1, device=device, dtype=dtype)


class BeginsWithADictionary(Honest):
    def initial_state(self, batch_size, *, device, dtype):
        return {"h": torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype)}


WRONG = {
    StepsInPlace: {"C10"},
    ClampsItsInput: {"C10"},
    WritesTheSame: {"C10"},
    RemembersTheState: {"C10"},
    RemembersElsewhere: {"C10"},
    WritesBehindTheGraph: {"C10"},
    ReusesItsBuffer: {"C10"},
    ListsItsOutputs: {"C10"},
    LearnsInTraining: {"C10"},
    KeepsTheGraph: {"C12"},
    TruncatesItself: {"C12"},
    BeginsInSingle: {"C13"},
    BeginsOnTheCPU: {"C13"},
    BeginsAtRandom: {"C13"},
    BeginsWithOneRow: {"C13"},
    BeginsWithADictionary: {"C13"},
}


@every(WRONG)
def test_a_wrong_cell_is_named_by_the_checks_of_what_it_breaks(cell, wanted):
    """Each check that is about its fault fails, and is no error of the suite."""
    named_by(cell, wanted)
