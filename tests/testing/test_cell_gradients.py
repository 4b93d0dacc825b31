"""What the checks of gradients see: wrong slopes, paths that differ, scans that are no step, idle
parameters.
"""

from __future__ import annotations

import torch
from cells import Turning, named, record, records
from hypothesis import given, settings
from hypothesis import strategies as st
from liars.values import Honest, LeakyState, Windowed
from torch import nn

from recurra import CellOptions, ScanCell, ScanState
from recurra.engine.recurrence import detach
from recurra.testing.checks.cell.gradients import SPLITS, join


class UsesData(Honest):
    """What the recurrent map gives is cut from the graph."""

    def step(self, x_t, state):
        recurrent = state.h @ self.of_state.weight.data.T
        return self.shown(0.7 * state.h + 0.3 * torch.tanh(self.of_input(x_t) + recurrent))

    def shown(self, h):
        return h, LeakyState(h)


class CutsItsStart(Honest):
    """The state that is given is detached where it is carried."""

    def step(self, x_t, state):
        h = 0.7 * state.h.detach() + 0.3 * torch.tanh(self.of_input(x_t) + self.of_state(state.h))
        return h, LeakyState(h)


class Rounds(Honest):
    """It computes in float32, whatever its type: no slope can be measured."""

    def step(self, x_t, state):
        h, _ = super().step(x_t, state)
        h = h.float().to(x_t.dtype)
        return h, LeakyState(h)


class Tiny(torch.autograd.Function):
    """The identity, with a gradient that is a ten-thousandth too large."""

    @staticmethod
    def forward(ctx, v):
        return v.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * 1.0001


class SlightlySteep(Honest):
    def step(self, x_t, state):
        h, _ = super().step(x_t, state)
        h = Tiny.apply(h)
        return h, LeakyState(h)


def test_slopes_name_what_has_the_wrong_gradient():
    named("C14", UsesData, "gradient of of_state.weight")
    named("C14", CutsItsStart, "gradient of ")
    assert record("C14", Rounds).verdict == "FAIL"
    assert 1e-6 < record("C14", SlightlySteep).value < 1e-2


class ForgetsWhatComesThroughTheState(Windowed):
    """The form over a window gives a final state that is cut from the graph."""

    def window(self, x, state, reset, live):
        y, after = super().window(x, state, reset, live)
        return y, detach(after)


class CutsItsForward(Honest):
    """The cell's own forward is detached on the way."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        return super().forward(x.detach(), state, reset=reset, lengths=lengths)


def test_gradients_are_compared_on_every_path():
    named("C15", ForgetsWhatComesThroughTheState, "path chunkwise")
    named("C15", CutsItsForward, "the input")


class Once(torch.autograd.Function):
    """tanh, whose backward is a constant to autograd."""

    @staticmethod
    def forward(ctx, v):
        y = torch.tanh(v)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * (1 - y * y)


class DifferentiatesOnce(Honest):
    def step(self, x_t, state):
        h = 0.7 * state.h + 0.3 * Once.apply(self.of_input(x_t) + self.of_state(state.h))
        return h, LeakyState(h)


def test_a_backward_without_a_gradient_is_right_once():
    found = records(DifferentiatesOnce, ["C14", "C15", "C16"], "full")
    assert [one.verdict for one in found.values()] == ["PASS", "PASS", "FAIL"]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.sampled_from(sorted(SPLITS)), st.booleans(), st.integers(0, 2**31))
def test_pairs_joined_in_any_order_are_the_recurrence(steps, name, is_complex, seed):
    """h_t = a_t h_{t-1} + b_t, one step after the other, in real and in complex numbers."""
    draw = torch.Generator().manual_seed(seed)
    dtype = torch.complex128 if is_complex else torch.float64
    a, b = (torch.randn(2, steps, 3, generator=draw, dtype=dtype) for _ in range(2))
    start = h = torch.randn(2, 3, generator=draw, dtype=dtype)
    total, brought = join(a, b, SPLITS[name])
    for t in range(steps):
        h = a[:, t] * h + b[:, t]
        found = total[:, t] * start + brought[:, t]
        torch.testing.assert_close(found, h, rtol=1e-10, atol=1e-10)


class NotQuiteItself(Turning):
    """Its `scan` is of another recurrence than its `step`."""

    def step(self, x_t, state):
        y, after = super().step(x_t, state)
        return y, after._replace(h=after.h * 0.999)


class DiffersUnseen(ScanCell[CellOptions]):
    """Its output shows the first unit alone, and `step` is of another recurrence in the others."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size, self.hidden_size)

    def coefficients(self, x):
        return torch.full_like(x[..., :1], 0.8), self.map(x)

    def readout(self, h, x):
        return h[..., :1].expand_as(h)

    def step(self, x_t, state):
        y, after = super().step(x_t, state)
        return y, ScanState(torch.cat([after.h[:, :1], 0.9 * after.h[:, 1:]], dim=-1))


def test_a_scan_is_what_step_is():
    assert record("C17", Turning).verdict == "PASS"
    assert record("C17", NotQuiteItself).verdict == "FAIL"
    assert record("C17", DiffersUnseen).verdict == "FAIL"
    assert record("C17", Honest).verdict == "N/A"


class KeepsAList(Honest):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.parts = [nn.Linear(2, 2)]


class Freezes(Honest):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.of_state.weight.requires_grad_(False)


class TakesARoot(Honest):
    """The root of the size of the state, which is 0 at the start."""

    def step(self, x_t, state):
        h, after = super().step(x_t, state)
        return h + self.of_state(state.h).square().sum(-1, keepdim=True).sqrt(), after


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


class HasAnIdlePart(Honest):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.part = Part()


def test_parameters_that_do_not_learn_and_tensors_that_hide_are_named():
    named("C18", KeepsAList, "parts", "nn.ModuleList")
    named("C18", Freezes, "of_state.weight", "buffer")
    named("C18", TakesARoot, "of_state.weight", "not finite")
    named("C18", HasAnIdlePart, "part.weight", "no gradient")
