"""The form of a cell's own: what the engine gives to it, what it makes of what comes back, and when
it is not taken.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recurra import Cell, CellOptions
from recurra.engine import chunkwise, eager, proof
from recurra.engine.choice import Choice
from recurra.randomness import seeded

NAN = torch.nan
laws = settings(deadline=None, max_examples=40)


class FadingState(NamedTuple):
    memory: Tensor
    """[B, H, D]"""
    mass: Tensor
    """[B]"""
    count: Tensor
    """[B], whole numbers"""


class Fading(Cell[CellOptions]):
    """M_t = 0.5 M_{t-1} + v_t x_t^T, the output M_t x_t; its form weighs all pairs of steps, 0
    included, at once.
    """

    fault = ""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.value = nn.Linear(input_size, self.hidden_size)
        self.seen: list[tuple[Tensor, ...]] = []

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> FadingState:
        memory = torch.zeros(
            batch_size, self.hidden_size, self.input_size, device=device, dtype=dtype
        )
        count = torch.zeros(batch_size, device=device, dtype=torch.long)
        return FadingState(memory, torch.zeros(batch_size, device=device, dtype=dtype), count)

    def step(self, x_t: Tensor, state: FadingState) -> tuple[Tensor, FadingState]:
        memory = 0.5 * state.memory + self.value(x_t).unsqueeze(-1) * x_t.unsqueeze(1)
        y = (memory @ x_t.unsqueeze(-1)).squeeze(-1)
        return y, FadingState(memory, 0.5 * state.mass + x_t.sum(-1), state.count + 1)

    def chunkwise(self):
        return self.window

    def window(self, x, state, reset, live):
        self.seen.append((x, *state))
        batch, steps, _ = x.shape
        if self.fault == "raises":
            raise NotImplementedError("not on a Tuesday")
        none = torch.zeros(batch, steps, dtype=torch.bool)
        reset = none if reset is None or self.fault == "resets" else reset
        live = ~none if live is None or self.fault == "lengths" else live
        own, age = reset.cumsum(1), live.cumsum(1)
        pair = (own.unsqueeze(2) == own.unsqueeze(1)) & live.unsqueeze(1)
        if self.fault != "future":
            pair = pair.tril()
        fade = torch.where(pair, 0.5 ** (age.unsqueeze(2) - age.unsqueeze(1)).double(), 0.0).to(
            x.dtype
        )
        old = torch.where(own == 0, 0.5 ** age.double(), 0.0).to(x.dtype)
        v = self.value(x.detach() if self.fault == "detaches" else x)
        y = (fade * (x @ x.mT)) @ v + old.unsqueeze(-1) * (x @ state.memory.mT)
        memory = (
            torch.einsum("bt,bth,btd->bhd", fade[:, -1], v, x)
            + old[:, -1, None, None] * state.memory
        )
        mass = (fade[:, -1] * x.sum(-1)).sum(-1) + old[:, -1] * state.mass
        if self.fault == "state":
            mass = mass + 1e-6
        count = ((own == own[:, -1:]) & live).sum(1) + torch.where(own[:, -1] == 0, state.count, 0)
        return y, FadingState(memory, mass, count)


def build(dtype=torch.float64, fault=""):
    with seeded(0):
        cell = Fading(2, CellOptions(hidden_size=3)).to(dtype)
    cell.fault = fault
    return cell


def drawn(seed, batch, steps):
    """Return input, start, resets and lengths; a reset only where a step counts, as the engine
    gives them.
    """
    generator = torch.Generator().manual_seed(seed)
    x, memory = (
        torch.randn(batch, n, 2, generator=generator, dtype=torch.float64) for n in (steps, 3)
    )
    mass = torch.randn(batch, generator=generator, dtype=torch.float64)
    state = FadingState(memory, mass, torch.randint(0, 9, (batch,), generator=generator))
    lengths = torch.randint(0, steps + 1, (batch,), generator=generator)
    reset = (torch.rand(batch, steps, generator=generator) < 0.3) & (
        torch.arange(steps) < lengths.unsqueeze(1)
    )
    return x, state, reset, lengths


def same(found, wanted):
    """Compare outputs and states: nan in the same places, all else equal."""
    (y, state), (z, other) = found, wanted
    for one, two in zip((y, *state), (z, *other), strict=True):
        torch.testing.assert_close(one, two, atol=1e-12, rtol=1e-12, equal_nan=True)


sizes = st.tuples(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 9))


@laws
@given(size=sizes, data=st.data())
def test_it_is_the_loop_also_where_numbers_are_not(size, data):
    """With nan or inf at random in inputs, padding and starts, all that is nan from step is, and
    nothing else.
    """
    x, state, reset, lengths = drawn(*size)
    generator = torch.Generator().manual_seed(size[0] + 1)
    ill = torch.rand(x.shape[:2], generator=generator) < data.draw(st.sampled_from([0.0, 0.1, 0.4]))
    outside = torch.arange(x.shape[1]) >= lengths.unsqueeze(1)
    x = torch.where((ill | outside).unsqueeze(-1), NAN, x)
    bad = torch.rand(len(x), generator=generator) < 0.3
    memory, mass = (
        torch.where(bad[:, None, None], NAN, state.memory),
        torch.where(bad, NAN, state.mass),
    )
    state = FadingState(memory, mass, state.count)
    for flags, counts in ((None, None), (reset, None), (None, lengths), (reset, lengths)):
        arguments = (
            build(),
            x if counts is not None else torch.where(outside.unsqueeze(-1), 0, x),
            state,
            flags,
        )
        same(chunkwise.run(*arguments, counts), eager.run(*arguments, counts))


@laws
@given(size=sizes, bad=st.sampled_from([NAN, torch.inf, -torch.inf]))
def test_the_form_sees_finite_numbers_alone(size, bad):
    """Padding and ill steps are zeros there, and an ill start is; what was healthy is given as it
    was.
    """
    x, state, reset, lengths = drawn(*size)
    outside = torch.arange(x.shape[1]) >= lengths.unsqueeze(1)
    x[outside] = bad
    x[0, 0, 1] = bad
    state.memory[0, 1, 1] = NAN
    cell = build()
    y, _ = chunkwise.run(cell, x, state, reset, lengths)
    assert not y[outside].any()
    if x.shape[1] == 1:
        return
    given_x, *given_state = cell.seen[0]
    assert all(part.isfinite().all() for part in (given_x, *given_state))
    assert not given_x[outside].any() and not given_x[0, 0].any()
    kept = ~outside
    kept[0, 0] = False
    assert torch.equal(given_x[kept], x[kept])
    assert all(torch.equal(one[1:], two[1:]) for one, two in zip(given_state, state, strict=True))


def test_a_bad_step_changes_no_bit_before_it_nor_in_another_sequence():
    """Outputs and gradients of earlier steps, of other rows and of what follows the next reset stay
    as they were.
    """
    x, state, _, _ = drawn(0, 2, 8)
    reset = torch.zeros(2, 8, dtype=torch.bool)
    reset[0, 6] = True
    elsewhere = torch.ones(2, 8, dtype=torch.bool)
    elsewhere[0, 3:6] = False
    found = []
    for poison in (1.0, NAN, torch.inf):
        other = x.clone()
        other[0, 3] *= poison
        other.requires_grad_()
        y, final = chunkwise.run(build(), other, state, reset, None)
        assert y[~elsewhere].isnan().all() == (poison != 1.0)
        (grad,) = torch.autograd.grad(y[elsewhere].sum(), other)
        found.append([y[elsewhere], grad, *final])
    for poisoned in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], poisoned, strict=True))


def test_a_loss_that_is_nan_has_gradients_of_nan():
    """A bad step is no way to get finite gradients of what is not finite: the weights get nan, as
    from the loop.
    """
    x, state, _, _ = drawn(0, 2, 5)
    x[0, 2] = NAN
    for run in (chunkwise.run, eager.run):
        cell = build()
        y, _ = run(cell, x, state, None, None)
        (y * y).sum().backward()
        assert cell.value.weight.grad.isnan().all()


def test_one_step_is_a_step():
    """A window of one step is not worth a form: it is the loop to the bit, and so is what
    generation gives.
    """
    x, state, reset, _ = drawn(1, 3, 1)
    cell = build()
    for flags, lengths in ((None, None), (reset, torch.tensor([1, 0, 1]))):
        found = chunkwise.run(cell, x, state, flags, lengths)
        wanted = eager.run(cell, x, state, flags, lengths)
        assert torch.equal(found[0], wanted[0])
        assert all(torch.equal(one, two) for one, two in zip(found[1], wanted[1], strict=True))
    assert not cell.seen


@pytest.mark.parametrize(("batch", "steps"), [(0, 4), (3, 0)])
def test_an_empty_window_does_not_reach_the_form(batch, steps):
    """No rows or no steps give outputs of that shape, and the state as it was."""
    cell, state = build(), drawn(0, batch, 5)[1]
    y, after = chunkwise.run(
        cell, torch.zeros(batch, steps, 2, dtype=torch.float64), state, None, None
    )
    assert y.shape == (batch, steps, 3) and after is state and not cell.seen


@pytest.fixture
def _nothing_proved_yet(monkeypatch):
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())


@pytest.mark.usefixtures("_nothing_proved_yet")
def test_a_form_that_equals_step_is_taken():
    """It is proved at its first use, and runs from then on."""
    cell = build(torch.float32)
    y, _ = cell(torch.randn(2, 6, 2))
    assert set(cell.chosen_paths.values()) == {"chunkwise"} and y.dtype == torch.float32
    assert len(cell.seen) == 1


FAULTS = {
    "resets": "on resets inside the window",
    "lengths": "on rows of different lengths",
    "future": "on a plain window",
    "detaches": "gradient of the input",
    "state": "final state 0.1 differs by",
    "raises": "NotImplementedError: not on a Tuesday",
}


@pytest.mark.usefixtures("_nothing_proved_yet")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_form_that_differs_from_step_is_dropped(monkeypatch, fault):
    """With one warning that tells where it differs; the loop runs in its place."""
    monkeypatch.setattr(Fading, "fault", fault)
    cell = build(torch.float32, fault)
    x = torch.randn(2, 6, 2)
    with pytest.warns(RuntimeWarning, match=f"path chunkwise is dropped: .*{FAULTS[fault]}"):
        y, _ = cell(x)
    assert set(cell.chosen_paths.values()) == {"eager"}
    assert torch.equal(
        y, eager.run(cell, x, cell.initial_state(2, device=x.device, dtype=x.dtype), None, None)[0]
    )


@pytest.mark.usefixtures("_nothing_proved_yet")
def test_a_cell_without_a_form_says_so(monkeypatch):
    """The choice names the reason."""
    monkeypatch.setattr(Fading, "chunkwise", lambda self: None)
    assert Choice.named(build(), "chunkwise").refused == {
        "chunkwise": "Fading has no form of its own over a whole window"
    }
