"""What the checks of long windows, cost and learning see: what fades, grows, forgets or changes by
being run.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from cells import REPORTED, KeepsItsPast, named, record, records
from liars.module import LIARS
from liars.values import Honest, LeakyState, Windowed

from recurra import CellOptions
from recurra.testing.check import Measured
from recurra.testing.checks.cell.training import bytes_alive, work
from recurra.testing.suite import examine


class Fades(Honest):
    def step(self, x_t, state):
        h, after = super().step(x_t, state)
        return 1e-4 * h, after


class Overshoots(Honest):
    """An exponential of the input: finite for N(0, 1), and not for a thousand times that."""

    def step(self, x_t, state):
        h = 0.5 * state.h + self.of_state(
            torch.tanh(self.of_input(x_t).exp()) + self.of_input(x_t).exp() * 1e-3
        )
        return h, LeakyState(h)


def test_what_fades_or_overflows_is_told():
    named("C27", Fades, "faded")
    named("C27", Overshoots, "N(0, 1) times 1,000", "not finite")


class Explodes(Honest):
    """h_t = 1.03 h_{t-1} + W x_t."""

    def step(self, x_t, state):
        h = 1.03 * state.h + self.of_input(x_t)
        return h, LeakyState(h)


class Remembers(Honest):
    """h_t = 0.999 h_{t-1} + tanh(W x_t): 0.999 ** 1000 is 0.37."""

    def step(self, x_t, state):
        h = 0.999 * state.h + torch.tanh(self.of_input(x_t))
        return h, LeakyState(h)


class TakesRoots(Honest):
    """The root of what is 0: its slope is infinite, times 0."""

    def step(self, x_t, state):
        h = 0.7 * state.h + 0.3 * torch.tanh(
            self.of_input(x_t) + (0 * self.of_input(x_t)).sqrt() + self.of_state(state.h)
        )
        return h, LeakyState(h)


def test_gradients_at_long_lags():
    found = record("C28", Explodes)
    assert found.verdict == "FAIL" and 1e11 < found.value < 1e14  # 1.03 ** 1000 is 6.9e12
    assert record("C28", TakesRoots).value == float("inf")
    found = record("C28", Remembers, claims=("long_memory",))
    assert found.verdict == "PASS"
    assert record("C28", Honest).verdict == "PASS"


class KeepsAHistory(Honest):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.seen = []

    def step(self, x_t, state):
        h, after = super().step(x_t, state)
        self.seen.append(h.detach())
        return h, after


class InsistsOnGradients(Honest):
    def step(self, x_t, state):
        with torch.enable_grad():
            return super().step(x_t, state)


class SlicesItsWindow(Windowed):
    """The input map is one product for the window, and each step takes a slice of it."""

    def window(self, x, state, reset, live):
        if reset is not None or live is not None:
            return super().window(x, state, reset, live)
        given, outputs = self.of_input(x), []
        for t in range(x.shape[1]):
            h = 0.7 * state.h + 0.3 * torch.tanh(given[:, t] + self.of_state(state.h))
            outputs.append(h)
            state = LeakyState(h)
        return torch.stack(outputs, dim=1), state


def test_work_that_grows_is_told():
    """A slice's gradient is as large as what it was taken from."""
    named("C29", SlicesItsWindow, "path chunkwise, bytes written")


@pytest.mark.slow
def test_memory_that_grows_is_told():
    found = record("C29", KeepsAHistory)
    assert found.verdict == "FAIL"
    # Two rows of eight float32 at each step.
    assert found.value == pytest.approx(2 * 8 * 4, rel=0.05)
    named("C29", InsistsOnGradients, "graph")
    assert record("C29", KeepsItsPast).verdict == "FAIL"


def test_work_is_counted_and_not_timed():
    """The loop's work is proportional to the steps; counted twice it is the same."""
    cell = Honest(5, CellOptions(hidden_size=8))
    cell.path = "eager"
    one, again, two = (work(cell, torch.zeros(2, steps, 5)) for steps in (100, 100, 200))
    assert one == again
    for short, long in zip(one, two, strict=True):
        assert long / short == pytest.approx(2, rel=0.02)


def test_tensors_alive_are_counted_by_their_storage():
    before = bytes_alive()
    held = [torch.zeros(1000), None]
    held[1] = held[0][:10]
    assert bytes_alive() - before == 4000
    held.clear()
    gc.collect()
    assert bytes_alive() == before


class Summarises(Honest):
    """It remembers, in one number for all units."""

    def step(self, x_t, state):
        h, after = super().step(x_t, state)
        return h.mean(-1, keepdim=True).expand_as(h), after


@pytest.mark.slow
def test_learning_tells_a_cell_without_memory_from_a_guess():
    """Without a memory every seed is near one answer of four; with one the first two seeds do."""
    (liar,) = (liar for liar in LIARS if liar.check == "C30")
    (found,) = examine(liar.entry, "full", only=["C30"]).records
    shares = [float(share.strip(" %")) for share in found.detail.split(":")[1].split(",")]
    assert len(shares) == 5 and all(share <= 60 for share in shares) and 10 < np.mean(shares) < 40
    assert record("C30", Honest).detail.count("%") == 2
    assert record("C31", Summarises).verdict == "FAIL"


class SavesWhatItSaw(Honest):
    """A buffer follows the inputs."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.register_buffer("mean", torch.zeros(input_size))

    def forward(self, x, state=None, *, reset=None, lengths=None):
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 1))
        return super().forward(x, state, reset=reset, lengths=lengths)


class SavesMoreLater(Honest):
    """A buffer is there from the first call on."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        self.register_buffer("ones", torch.ones(2))
        return super().forward(x, state, reset=reset, lengths=lengths)


class Clips(Honest):
    """The recurrent weights are kept small, in training, by the forward itself."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        if self.training:
            self.of_state.weight.data.clamp_(-0.1, 0.1)
        return super().forward(x, state, reset=reset, lengths=lengths)


def test_what_changes_by_being_run_is_told():
    named("C32", SavesWhatItSaw, "mean, before and after")
    named("C32", SavesMoreLater, "ones")
    named("C32", Clips, "of_state.weight, before and after")


# What is reported


def test_reports_never_fail():
    """Speed is a number of steps a second; the margin is the worst of three other checks'."""
    ids = ["C02", "C03", "C05", *REPORTED]
    found = records(Windowed, ids, "full")
    assert found["R33"].bound is None and found["R33"].value > 0 and "path " in found["R33"].detail
    margins = [Measured(found[name].value, found[name].bound).margin for name in ids[:3]]
    assert found["R34"].value == max(margins) and found["R34"].bound is None


class Breaks(Honest):
    """The window is not the steps."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        return 2 * y, after, None


def test_the_margin_of_what_is_broken_is_none():
    found = records(Breaks, ["C02", "R34"], "full")
    assert found["C02"].verdict == "FAIL"
    assert found["R34"].verdict == "PASS" and "C02 none (Broken)" in found["R34"].detail
