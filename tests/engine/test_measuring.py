"""Measuring is felt by nobody, and is done on windows like those of the call."""

from __future__ import annotations

import os
import platform
import threading
import warnings

import pytest
import three_paths
import torch
from hand_made import build
from three_paths import window
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from recurra import CellOptions
from recurra.engine import choice, eager, paths
from recurra.engine.isolated import is_isolated, isolated
from recurra.engine.paths import Path
from recurra.randomness import seeded

cache = pytest.fixture(three_paths.cache)
clock = pytest.fixture(three_paths.clock)


def test_where_no_thread_can_be_started_the_work_is_done_here(monkeypatch):
    """As under a limit of processes; what it raises is raised, and afterwards this is no such
    thread.
    """

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert isolated(is_isolated) and not is_isolated()
    with pytest.raises(ZeroDivisionError):
        isolated(lambda: 1 / 0)
    assert not is_isolated()


def test_the_window_that_is_timed_is_like_the_call(cache, monkeypatch):
    """Resets, rows of different lengths, type, gradients and autocast of the trial are those of the
    call.
    """
    seen = []

    def looks(cell, x, state, reset, lengths):
        if x.dtype == torch.float32:
            kinds = (
                reset is not None and bool(reset.any()),
                lengths is not None and bool((lengths < x.shape[1]).any()),
            )
            seen.append((x.shape[1], *kinds, torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                         torch.is_autocast_enabled("cpu")))  # fmt: skip
        return eager.run(cell, x, state, reset, lengths)

    paths.PATHS["first"] = Path(looks)
    cell, x = build("leaky", 3, 4, torch.float32), window(4, 8).float()
    reset, lengths = torch.zeros(4, 8, dtype=torch.bool), torch.full((4,), 8)
    cell(x, reset=reset)
    assert (8, True, False, True, False, False) in seen
    seen.clear()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        cell(x, lengths=lengths)
    assert (8, False, True, False, True, True) in seen
    assert all(part[3:] == (False, True, True) for part in seen)
    seen.clear()
    with torch.no_grad():
        cell(x, lengths=lengths, reset=reset)
    assert (8, True, True, False, False, False) in seen
    assert all(part[3:] == (False, False, False) for part in seen)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_the_memory_of_a_run_is_kept_for_the_next(cache, monkeypatch):
    """The system clears pages for the first runs of a path alone, as it does in training."""
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    faults = []

    def hungry(cell, x, state, reset, lengths):
        import resource

        start = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        torch.ones(10 * 2**20)  # of 40 MiB: 20 pages, be they the largest
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - start)
        return eager.run(cell, x, state, reset, lengths)

    paths.PATHS["first"] = Path(hungry)
    choice.explain(build("leaky", 3, 4), 1, 1, grad=False)
    assert max(faults) >= 20 and min(faults) <= 4


def test_measuring_disturbs_nothing(cache):
    """Not the global generators, gradients, weights, mode, inputs, hooks, warnings, or what counts
    operations.
    """
    cell = build("gru", 3, 4)
    cell.train()
    counted = []
    cell.register_parameter("unused", torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))
    for weight in cell.parameters():
        weight.register_hook(lambda grad: counted.append("weight"))
        weight.grad = torch.ones_like(weight)
    wanted = {name: weight.clone() for name, weight in cell.state_dict().items()}
    x = window().requires_grad_()
    random = torch.get_rng_state()
    copied = x.detach().clone()
    saved = []

    def note(tensor):
        saved.append(tensor)
        return tensor

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            FlopCounterMode(display=False) as one,
        ):
            y, _ = cell(x)
        kept = len(saved)
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            FlopCounterMode(display=False) as two,
        ):
            z, _ = cell(x)
    assert cell.chosen_paths and torch.equal(y, z)
    assert len(saved) == 2 * kept and one.get_total_flops() == two.get_total_flops()
    assert not said and not counted and cell.training
    assert torch.equal(random, torch.get_rng_state()) and torch.equal(x, copied) and x.grad is None
    assert all(torch.equal(weight.grad, torch.ones_like(weight)) for weight in cell.parameters())
    assert all(torch.equal(weight, wanted[name]) for name, weight in cell.state_dict().items())
    assert torch.is_grad_enabled()


class Noisy(type(build("leaky", 2, 2))):
    """Draws noise while it trains, warns, and counts what it is asked."""

    def step(self, x_t, state):
        warnings.warn("a step", RuntimeWarning, stacklevel=1)
        y, state = super().step(x_t, state)
        return (y + torch.randn_like(y) if self.training else y), state


def test_a_cell_that_draws_while_it_trains_draws_as_if_nothing_was_measured(cache):
    """The first call in a process gives what any later call from the same seed gives, and warns as
    often.
    """
    with seeded(0, "init"):
        cell = Noisy(3, CellOptions(hidden_size=4)).double().train()
    found, x = [], window()
    for _ in range(2):
        with warnings.catch_warnings(record=True) as said, seeded(1, "dropout"):
            warnings.simplefilter("always")
            found.append((cell(x)[0], torch.get_rng_state()))
        assert len(said) == x.shape[1]
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_the_first_call_may_stand_in_a_checkpoint(cache):
    """Activation checkpointing counts what is saved, forward and again: proof and measurement do
    not count.
    """
    cell, x = build("gru", 3, 4), window().requires_grad_()
    y = checkpoint(lambda x: cell(x)[0], x, use_reentrant=False)
    (found,) = torch.autograd.grad(y.sum(), x)
    (wanted,) = torch.autograd.grad(cell(x)[0].sum(), x)
    assert torch.equal(found, wanted)


def test_a_cell_in_a_cell_is_not_measured_within_a_proof(clock):
    """A cell that is made of another one is proved and measured alone; the inner one runs eager
    meanwhile.
    """

    class Outer(type(build("leaky", 2, 2))):
        def __init__(self, input_size, options):
            super().__init__(input_size, options)
            self.inner = type(self).__mro__[1](input_size, options)

        def step(self, x_t, state):
            y, state = super().step(x_t, state)
            return y + self.inner(x_t.unsqueeze(1))[0][:, 0], state

    cell = Outer(3, CellOptions(hidden_size=4)).double()
    choice.explain(cell, 2, 5)
    assert not cell.inner.chosen_paths
