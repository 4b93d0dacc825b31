"""Wrong encoders, and right ones that they are made of."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from liars import Liar
from recurra import Component, Encoder, Field, Options, StatefulEncoder

DONE = threading.Event()
"""What threads that are left running wait for."""


class Width(Options):
    """Options of every encoder here."""

    size: int = Field(6, ge=1, le=64, description="width of a step's vector")


class Right(Encoder[Width]):
    """Each symbol as a learned vector."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.output_size = options.size
        self.weight = nn.Parameter(torch.randn(size, options.size))

    def forward(self, x):
        return functional.embedding(x, self.weight)


class RightNumbers(Encoder[Width]):
    """Each step's numbers through a learned map."""

    reads = ("numbers",)

    def __init__(self, size, options):
        super().__init__(size, options)
        self.output_size = options.size
        self.map = nn.Linear(size, options.size)

    def forward(self, x):
        return self.map(x)


class Before(NamedTuple):
    """last: the numbers of the step before, [B, 1, F]."""

    last: torch.Tensor


class RightStateful(StatefulEncoder[Width]):
    """W x_t + V x_{t-1}, where the step before a sequence is 0."""

    reads = ("numbers",)

    def __init__(self, size, options):
        super().__init__(size, options)
        self.output_size = options.size
        self.now, self.past = nn.Linear(size, options.size), nn.Linear(size, options.size)

    def initial_state(self, batch_size, *, device, dtype, position=None):
        return Before(torch.zeros(batch_size, 1, self.size, device=device, dtype=dtype))

    def advance(self, x, state, *, reset=None):
        steps = torch.cat([state.last, x], dim=1)
        before = self.cut(steps[:, :-1], reset)
        return self.now(x) + self.past(before), Before(steps[:, -1:])

    def cut(self, before, reset):
        return before if reset is None else torch.where(reset.unsqueeze(-1), 0.0, before)


class StacksSteps(Right):
    """Loops over the steps, and has nothing to stack where there are none."""

    def forward(self, x):
        return torch.stack(
            [functional.embedding(step, self.weight) for step in x.unbind(dim=1)], dim=1
        )


class SaysAnotherWidth(Right):
    """Declares one more than it gives."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.output_size = options.size + 1


class LooksAhead(Right):
    """Adds a share of the next step's vector."""

    def forward(self, x):
        y = super().forward(x)
        return y + 0.1 * functional.pad(y, (0, 0, 0, 1))[:, 1:]


class CountsSteps(Right):
    """Adds the place in the window, which is another one when a sequence is read in pieces."""

    def forward(self, x):
        return super().forward(x) + torch.arange(x.shape[1], device=x.device).unsqueeze(-1).to(
            self.weight
        )


class PadsBothSides(RightStateful):
    """Sees the next step as well, as a convolution with padding on both sides does."""

    def advance(self, x, state, *, reset=None):
        y, after = super().advance(x, state, reset=reset)
        return y + 0.1 * functional.pad(self.now(x), (0, 0, 0, 1))[:, 1:], after


class MixesRows(Right):
    """Subtracts the mean over the batch."""

    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(dim=0)


class MasksRowsByProduct(RightNumbers):
    """Multiplies other rows by 0, which a nan survives."""

    def forward(self, x):
        y = super().forward(x)
        return y + 0 * y.sum(dim=0)


class StartsAllRowsTogether(RightStateful):
    """Takes the position of the first row for that of all."""

    def initial_state(self, batch_size, *, device, dtype, position=None):
        start = 0.0 if position is None else float(position[0])
        return Before(torch.full((batch_size, 1, self.size), start, device=device, dtype=dtype))


class MasksStepsByProduct(RightNumbers):
    """Multiplies other steps by 0, which a nan survives."""

    def forward(self, x):
        y = super().forward(x)
        return y + 0 * y.sum(dim=1, keepdim=True)


class LearnsByItself(RightNumbers):
    """Keeps the mean of what passes through in training, and subtracts it in evaluation."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.register_buffer("mean", torch.zeros(size))

    def forward(self, x):
        if not self.training:
            return super().forward(x - self.mean)
        self.mean += 0.1 * (x.detach().mean(dim=(0, 1)).to(self.mean) - self.mean)
        return super().forward(x)


class IgnoresTheSeed(Right):
    """Draws its weights from a generator that nobody seeds."""

    def __init__(self, size, options):
        super().__init__(size, options)
        draw = torch.Generator()
        draw.seed()
        self.weight = nn.Parameter(torch.randn(size, options.size, generator=draw))


class WrapsIds(Right):
    """Indexes the table, so that -1 is its last row."""

    def forward(self, x):
        return self.weight[x]


class ClampsIds(Right):
    """Takes an id beyond the table for the last one."""

    def forward(self, x):
        return super().forward(x.clamp(0, self.size - 1))


class DrawsNoise(Right):
    """Draws noise in evaluation too, and multiplies it by 0."""

    def forward(self, x):
        y = super().forward(x)
        return y + torch.randn_like(y) * float(self.training)


class KeepsATableToItself(RightNumbers):
    """Random directions that are no buffer: another instance has others."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.directions = torch.randn(size, options.size)

    def forward(self, x):
        return super().forward(x) + x @ self.directions.to(x)


class Detaches(Right):
    """Reads its weights outside of the graph."""

    def forward(self, x):
        return functional.embedding(x, self.weight.detach())


class StaysOnTheCpu(Right):
    """Scales each number by a constant that is made on the CPU."""

    def forward(self, x):
        return super().forward(x) * torch.arange(1, self.output_size + 1)


class RoundsToSingle(Right):
    """Gives float32, whatever it is asked in."""

    def forward(self, x):
        return super().forward(x).float()


class ForgetsBetweenCalls(RightStateful):
    """Pads every call afresh, whatever the state."""

    def advance(self, x, state, *, reset=None):
        _, after = super().advance(x, state, reset=reset)
        fresh = self.initial_state(len(x), device=x.device, dtype=x.dtype)
        return super().advance(x, fresh, reset=reset)[0], after


class CallsItselfOtherwise(RightStateful):
    """Computes something else where it is called without a state."""

    def forward(self, x):
        return self.now(x)


class IgnoresResets(RightStateful):
    """Goes on with the sequence before."""

    def cut(self, before, reset):
        return before


class ResetsByProduct(RightStateful):
    """Multiplies what came before by 0, which a nan survives."""

    def cut(self, before, reset):
        return before if reset is None else before * (~reset).unsqueeze(-1)


class ScalesInPlace(RightNumbers):
    """Changes the numbers that it is given, which are the targets too."""

    def forward(self, x):
        return super().forward(x.mul_(0.5))


class ViewsIds(Right):
    """Takes ids to lie one after the other."""

    def forward(self, x):
        return functional.embedding(x.view(-1), self.weight).view(*x.shape, self.output_size)


class WritesOnTheState(RightStateful):
    """Carries on in the tensor that it was given."""

    def advance(self, x, state, *, reset=None):
        y, after = super().advance(x, Before(state.last.clone()), reset=reset)
        state.last.copy_(after.last.detach())
        return y, after


class RemembersTheLastWindow(Right):
    """Keeps what it was asked, which nobody clears and no checkpoint holds."""

    def forward(self, x):
        self.last = x
        return super().forward(x)


class FillsOneBuffer(Right):
    """Writes all its answers into one tensor."""

    buffer = None

    def forward(self, x):
        y = super().forward(x)
        if self.buffer is None or self.buffer.shape != y.shape or self.buffer.dtype != y.dtype:
            self.buffer = torch.empty_like(y, requires_grad=False)
        if self.training or torch.is_grad_enabled() or y.device.type == "meta":
            return y
        return self.buffer.copy_(y.detach())


class ListensToItself(Right):
    """Adds a hook at each call."""

    def forward(self, x):
        self.register_forward_hook(lambda module, given, y: y)
        return super().forward(x)


class HasAConstantOfTheDefaultType(RightNumbers):
    """Multiplies by 0.3 as the default type has it."""

    def forward(self, x):
        return super().forward(x) * torch.tensor(0.3).to(x)


class RoundsWithoutGradients(RightNumbers):
    """Is a little less exact where nobody asks for gradients."""

    def forward(self, x):
        y = super().forward(x)
        return y if torch.is_grad_enabled() else y + 1e-4 * y.square()


class WorksInDoubles(RightNumbers):
    """Makes float64 the default type of the process."""

    def forward(self, x):
        torch.set_default_dtype(torch.float64)
        return super().forward(x)


class LeavesAThread(Right):
    """Starts a thread that waits for work."""

    def forward(self, x):
        if not self.training:
            threading.Thread(target=DONE.wait, args=(60,), daemon=True).start()
        return super().forward(x)


class SeedsWhenItIsPrepared(Right):
    """Seeds everybody's random numbers before it draws nothing."""

    def prepare(self, names):
        torch.manual_seed(0)


class SeedsAtAPosition(RightStateful):
    """Seeds everybody's random numbers where a position is given."""

    def initial_state(self, batch_size, *, device, dtype, position=None):
        if position is not None:
            torch.manual_seed(0)
        return super().initial_state(batch_size, device=device, dtype=dtype)


class TellsOfResets(RightStateful):
    """Tells everybody that a sequence began."""

    def cut(self, before, reset):
        if reset is not None:
            os.environ["BEGAN"] = "1"
        return super().cut(before, reset)


class MovesItsPosition(RightStateful):
    """Counts on in the position that it is given."""

    def initial_state(self, batch_size, *, device, dtype, position=None):
        if position is not None:
            position.add_(1)
        return super().initial_state(batch_size, device=device, dtype=dtype)


class UsesUpItsResets(RightStateful):
    """Takes flags of resets away once they are followed."""

    def cut(self, before, reset):
        parts = super().cut(before, reset)
        if reset is not None:
            reset.fill_(False)
        return parts


class SortsTheNames(Right):
    """Sorts the names that it is given in place."""

    def prepare(self, names):
        names.sort(reverse=True)


class LooksAheadWhenItTrains(LooksAhead):
    """Adds a share of the next step's vector, in training alone."""

    def forward(self, x):
        return super().forward(x) if self.training else Right.forward(self, x)


class CentresWhenItTrains(RightNumbers):
    """Takes the mean of the batch away, in training alone."""

    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(dim=0, keepdim=True) if self.training else y


class CountsInAQueue(Right):
    """Remembers what it was asked in a queue."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.shapes = deque()

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return super().forward(x)


class RightShared(Right):
    """Lets the head have its vectors."""

    def head_weight(self):
        return self.weight


class RightTable(Right):
    """Lets the first cell look up its vectors."""

    def symbol_vectors(self):
        return self.weight


class ScalesWhatItLooksUp(Right):
    """Gives vectors that are raised, and a table that is not."""

    def forward(self, x):
        return 2 * super().forward(x)

    def symbol_vectors(self):
        return self.weight


class KeepsItsTableFromGradients(Right):
    """Gives a table that learns nothing."""

    def symbol_vectors(self):
        return self.weight.detach()


class SharesACopy(Right):
    """Lets the head have vectors that are nobody's."""

    def head_weight(self):
        return nn.Parameter(self.weight.detach().clone())


class SharesItTurned(RightShared):
    """Has its vectors in columns, which no head reads."""

    def __init__(self, size, options):
        super().__init__(size, options)
        self.weight = nn.Parameter(torch.randn(options.size, size))

    def forward(self, x):
        return functional.embedding(x, self.weight.t())


def component(name: str) -> Component:
    """Return an encoder of this module as a plugin would describe it."""
    lower = "".join(f"_{mark.lower()}" if mark.isupper() else mark for mark in name).strip("_")
    return Component(
        "encoder",
        lower,
        f"liars.encoders:{name}",
        "liars.encoders:Width",
        "an encoder of the tests",
    )


RIGHT = [
    component(name)
    for name in ("Right", "RightNumbers", "RightStateful", "RightShared", "RightTable")
]

LIARS = [
    Liar("E01", component("StacksSteps")),
    Liar("E01", component("SaysAnotherWidth")),
    Liar("E02", component("LooksAhead"), frozenset({"E11"})),
    Liar("E02", component("CountsSteps"), frozenset({"E11"})),
    Liar("E02", component("PadsBothSides"), frozenset({"E04", "E11"})),
    Liar("E03", component("MixesRows")),
    Liar("E03", component("MasksRowsByProduct")),
    Liar("E03", component("StartsAllRowsTogether")),
    Liar("E04", component("MasksStepsByProduct")),
    Liar("E05", component("LearnsByItself"), frozenset({"E13"})),
    Liar("E05", component("IgnoresTheSeed")),
    Liar("E06", component("WrapsIds")),
    Liar("E06", component("ClampsIds")),
    Liar("E07", component("DrawsNoise"), frozenset({"P09"})),
    Liar("E08", component("KeepsATableToItself")),
    Liar("E09", component("Detaches")),
    Liar("E10", component("StaysOnTheCpu")),
    Liar("E10", component("RoundsToSingle"), frozenset({"E09"})),
    Liar("E11", component("ForgetsBetweenCalls")),
    Liar("E11", component("CallsItselfOtherwise")),
    Liar("E11", component("IgnoresResets")),
    Liar("E11", component("ResetsByProduct")),
    Liar("E12", component("ScalesInPlace")),
    Liar("E12", component("ViewsIds")),
    Liar("E12", component("WritesOnTheState")),
    Liar("E14", component("SharesACopy")),
    Liar("E14", component("SharesItTurned")),
    Liar("E15", component("ScalesWhatItLooksUp")),
    Liar("E15", component("KeepsItsTableFromGradients")),
    Liar("E13", component("RemembersTheLastWindow")),
    Liar("E13", component("FillsOneBuffer")),
    Liar("E13", component("ListensToItself")),
    Liar("E13", component("HasAConstantOfTheDefaultType")),
    Liar("E13", component("RoundsWithoutGradients"), frozenset({"E09"})),
    Liar("E02", component("LooksAheadWhenItTrains")),
    Liar("E03", component("CentresWhenItTrains")),
    Liar("E12", component("MovesItsPosition")),
    Liar("E12", component("UsesUpItsResets")),
    Liar("E12", component("SortsTheNames")),
    Liar("E13", component("CountsInAQueue")),
    Liar("P09", component("SeedsWhenItIsPrepared")),
    Liar("P09", component("SeedsAtAPosition")),
    Liar("P09", component("TellsOfResets")),
    Liar("P09", component("WorksInDoubles")),
    Liar("P09", component("LeavesAThread")),
]
