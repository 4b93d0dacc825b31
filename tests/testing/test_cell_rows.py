"""What the checks of the rows of a batch see: rows that meet, padding that shows, resets that do
not cut.
"""

from __future__ import annotations

import torch
from cells import Overriding, WithGradient, every, failed, named_by
from hypothesis import given, settings
from hypothesis import strategies as st
from liars.values import Honest, LeakyState, Learned, Windowed

from recurra.engine.recurrence import detach, map_state, select

laws = settings(deadline=None, max_examples=12)


class NormalisesOverTheBatch(Honest):
    def step(self, x_t, state):
        return super().step(x_t - x_t.mean(0), state)


class AveragesTheRows(Honest):
    """Each row counts as much as a batch of four would let it."""

    def step(self, x_t, state):
        return super().step(x_t * 4 / len(x_t), state)


class ClipsItsGradient(Honest):
    """The gradient of the input is brought to length 1 at each step: that of all rows together."""

    def step(self, x_t, state):
        return super().step(
            WithGradient.apply(x_t, lambda grad: grad / grad.norm().clamp(min=1.0)), state
        )


class MixesPackedRows(Overriding):
    """Rows of different lengths meet in one product, where all but their own is multiplied by 0."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        return super().forward(
            x if lengths is None else x + 0 * x.sum(0), state, reset=reset, lengths=lengths
        )


class SkipsBadBatches(Honest):
    """A batch with anything in it that is not finite is a batch of zeros."""

    def step(self, x_t, state):
        return super().step(x_t if x_t.isfinite().all() else torch.zeros_like(x_t), state)


class KeepsTheSortedOrder(Overriding):
    """Rows are sorted by length for a packed kernel, and the final states stay so."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        order = slice(None) if lengths is None else lengths.argsort(descending=True)
        return y, map_state(lambda field: field[order], after)


class ShowsThePadding(Overriding):
    """The outputs after a row's length are those of its last state."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        if lengths is not None:
            outside = torch.arange(x.shape[1]) >= lengths.unsqueeze(1)
            y = torch.where(outside.unsqueeze(-1), after.h.unsqueeze(1), y)
        return y, after


class ResetsInThePadding(Overriding):
    def forward(self, x, state=None, *, reset=None, lengths=None):
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        if reset is not None and lengths is not None:
            outside = torch.arange(x.shape[1]) >= lengths.unsqueeze(1)
            after = select((reset & outside).any(1), map_state(torch.zeros_like, after), after)
        return y, after


class Finishing(Overriding):
    """What it does to the rows that end before the window does."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        if lengths is None:
            return y, after
        outside = torch.arange(x.shape[1]) >= lengths.unsqueeze(1)
        return y, select(
            lengths < x.shape[1], self.finished(after, x, outside.unsqueeze(-1)), after
        )


class DetachesFinishedRows(Finishing):
    def finished(self, after, x, outside):
        return detach(after)


class DriftsInPadding(Finishing):
    def finished(self, after, x, outside):
        return LeakyState(after.h * (1 + 1e-12))


class SumsThePadding(Finishing):
    """NaN is taken out of the padding, and the rest is not."""

    def finished(self, after, x, outside):
        padding = torch.where(outside, x.detach(), 0.0).nan_to_num()
        return LeakyState(after.h + 1e-9 * padding.sum((1, 2)).unsqueeze(1))


class IgnoresResets(Windowed):
    def window(self, x, state, reset, live):
        return super().window(x, state, None, live)


class ResetsAfterTheStep(Windowed):
    def window(self, x, state, reset, live):
        return super().window(x, state, None if reset is None else reset.roll(1, dims=1), live)


class ResetsEveryRow(Windowed):
    def window(self, x, state, reset, live):
        return super().window(
            x, state, None if reset is None else reset.any(0).expand_as(reset), live
        )


class ResetsByProduct(Windowed):
    """A reset multiplies by 0, which NaN survives."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        if reset is None or lengths is not None:
            return super().forward(x, state, reset=reset, lengths=lengths)
        return self.window(x, state, reset, None)

    def begun(self, state, x, rows, t):
        return LeakyState(state.h * ~rows.unsqueeze(-1))


class LeaksBackward(Windowed):
    """The values are right, and a little of the gradient goes on to the sequence before."""

    def begun(self, state, x, rows, t):
        return select(rows, LeakyState(Switched.apply(state.h, torch.zeros_like(state.h))), state)


class Switched(torch.autograd.Function):
    """The second of two, with a little gradient for the first."""

    @staticmethod
    def forward(ctx, first, second):
        return second.clone()

    @staticmethod
    def backward(ctx, grad):
        return 1e-12 * grad, grad


class DetachesAtResets(Learned):
    """A sequence inside the window begins from the learned start, which learns nothing of it."""

    def begun(self, state, x, rows, t):
        fresh = self.initial_state(x.shape[0], device=x.device, dtype=x.dtype)
        return select(rows, detach(fresh), state)


WRONG = {
    NormalisesOverTheBatch: {"C05", "C06", "C07"},
    AveragesTheRows: {"C05"},
    ClipsItsGradient: {"C05"},
    MixesPackedRows: {"C05"},
    SkipsBadBatches: {"C05"},
    KeepsTheSortedOrder: {"C07"},
    ShowsThePadding: {"C07"},
    ResetsInThePadding: {"C07"},
    DetachesFinishedRows: {"C07"},
    DriftsInPadding: {"C07"},
    SumsThePadding: {"C07"},
    IgnoresResets: {"C08", "C09"},
    ResetsAfterTheStep: {"C08", "C09"},
    ResetsEveryRow: {"C08", "C09"},
    ResetsByProduct: {"C09"},
    LeaksBackward: {"C09"},
    DetachesAtResets: {"C09"},
}


@every(WRONG)
def test_a_wrong_cell_is_named_by_the_checks_of_what_it_breaks(cell, wanted):
    """Each check that is about its fault fails, and is no error of the suite."""
    named_by(cell, wanted)


@laws
@given(pair=st.permutations(range(4)), size=st.floats(1e-10, 1.0))
def test_a_row_that_reads_any_other_is_caught(pair, size):
    """One row of a batch that takes a little of one other row is found, by what it gives alone."""
    reader, read = pair[:2]

    class Reading(Honest):
        def step(self, x_t, state):
            other = torch.zeros_like(x_t)
            if len(x_t) == 4:
                other[reader] = x_t[read]
            return super().step(x_t + size * other, state)

    assert "C05" in failed(Reading, ["C05"])
