"""What every path owes to every cell: chunks, resets, lengths, rows, time, empty windows,
shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hand_made import COMBINATIONS, NAMES, build
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recurra import Cell, State
from recurra.engine.choice import Choice
from recurra.engine.recurrence import detach, map_state

laws = settings(deadline=None, max_examples=5)
every = pytest.mark.parametrize(("name", "path"), COMBINATIONS)


@dataclass
class Case:
    """Random input and start of a cell that is set to a path."""

    cell: Cell
    x: Tensor
    start: State
    generator: torch.Generator

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def flags(self, share: float = 0.3) -> Tensor:
        return torch.rand(*self.x.shape[:2], generator=self.generator) < share

    def lengths(self) -> Tensor:
        return torch.randint(0, self.x.shape[1] + 1, (self.x.shape[0],), generator=self.generator)

    def row(self, index: int) -> State:
        return map_state(lambda field: field[index : index + 1], self.start)


WIDTHS = [(1, 1), (2, 3), (2, 4), (3, 5)]
"""Of input and state: few, for a kernel is compiled for each."""

sizes = st.tuples(
    st.integers(1, 4), st.integers(1, 9), st.sampled_from(WIDTHS), st.integers(0, 2**31)
).map(lambda drawn: (drawn[0], drawn[1], *drawn[2], drawn[3]))


def draw(name: str, path: str, size: tuple[int, int, int, int, int]) -> Case:
    batch, steps, inputs, hidden, seed = size
    cell = build(name, inputs, hidden)
    choice = Choice.named(cell, path)
    if choice.path != path:
        pytest.skip(f"{path} does not take {name}: {choice.refused}")
    cell.path = path
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, steps, inputs, generator=generator, dtype=torch.float64)
    zero = cell.initial_state(batch, device=x.device, dtype=x.dtype)
    start = map_state(
        lambda field: torch.randn(field.shape, generator=generator, dtype=field.dtype), zero
    )
    return Case(cell, x, start, generator)


def close(found: Tensor, wanted: Tensor, bound: float = 1e-12) -> None:
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, atol=bound, rtol=bound)


def all_close(found: State, wanted: State) -> None:
    assert type(found) is type(wanted)
    for one, other in zip(found, wanted, strict=True):
        close(one, other)


@every
@laws
@given(size=sizes, data=st.data())
def test_any_chunking_with_the_state_carried_equals_the_whole(name, path, size, data):
    """Cuts anywhere, empty chunks too, change nothing, with resets and with rows of different
    lengths.
    """
    case = draw(name, path, size)
    steps = case.x.shape[1]
    reset = case.flags() if data.draw(st.booleans()) else None
    lengths = case.lengths() if data.draw(st.booleans()) else None
    cuts = sorted(data.draw(st.lists(st.integers(0, steps), max_size=4)))
    whole, final = case.cell(case.x, case.start, reset=reset, lengths=lengths)
    parts, state = [], case.start
    for low, high in zip([0, *cuts], [*cuts, steps], strict=True):
        y, state = case.cell(
            case.x[:, low:high],
            state,
            reset=reset[:, low:high] if reset is not None else None,
            lengths=(lengths - low).clamp(0, high - low) if lengths is not None else None,
        )
        parts.append(y)
    close(torch.cat(parts, dim=1), whole)
    all_close(state, final)


@every
@laws
@given(size=sizes)
def test_a_reset_equals_separate_sequences(name, path, size):
    """A row with resets gives the outputs, the state and every gradient of its sequences run one by
    one.
    """
    case = draw(name, path, size)
    reset = case.flags()
    start = map_state(lambda field: field.clone().requires_grad_(), case.start)
    x = case.x.clone().requires_grad_()
    weight = case.normal(*case.x.shape[:2], case.cell.output_size)
    wanted = [x, *start, *case.cell.parameters()]

    def gradients(y: Tensor, final: State) -> tuple[Tensor, ...]:
        total = (y * weight).sum() + sum(field.sin().sum() for field in final)
        return torch.autograd.grad(total, wanted, materialize_grads=True)

    y, final = case.cell(x, start, reset=reset)
    found = gradients(y, final)

    case.cell.path = "eager"
    rows, finals = [], []
    for row in range(x.shape[0]):
        cuts = [0, *[t for t in range(1, x.shape[1]) if reset[row, t]], x.shape[1]]
        parts = []
        for low, high in zip(cuts, cuts[1:], strict=False):
            goes_on = low == 0 and not reset[row, 0]
            state = map_state(lambda field, r=row: field[r : r + 1], start) if goes_on else None
            part, state = case.cell(x[row : row + 1, low:high], state)
            parts.append(part)
        rows.append(torch.cat(parts, dim=1))
        finals.append(state)
    alone = torch.cat(rows)
    ends = type(final)._make(torch.cat(fields) for fields in zip(*finals, strict=True))
    close(y, alone)
    all_close(final, ends)
    for one, other in zip(found, gradients(alone, ends), strict=True):
        close(one, other, 1e-10)


@every
@laws
@given(size=sizes, data=st.data())
def test_nothing_leaks_across_a_reset(name, path, size, data):
    """What comes after a reset has a gradient of exactly 0 with respect to all that came before
    it.
    """
    case = draw(name, path, size)
    steps = case.x.shape[1]
    at = data.draw(st.integers(0, steps - 1))
    reset = torch.zeros(case.x.shape[:2], dtype=torch.bool)
    reset[0, at] = True
    x = case.x.clone().requires_grad_()
    start = map_state(lambda field: field.clone().requires_grad_(), case.start)
    y, final = case.cell(x, start, reset=reset)
    total = y[0, at:].sum() + sum(field[0].sum() for field in final)
    of_x, *of_start = torch.autograd.grad(total, [x, *start], materialize_grads=True)
    assert not of_x[0, :at].any()
    assert not of_x[1:].any()
    assert not any(grad.any() for grad in of_start)
    assert of_x[0, at:].any() or name == "rnn_relu"  # a relu may be off everywhere


@every
@laws
@given(size=sizes, data=st.data())
def test_padding_is_inert_even_when_it_is_nan(name, path, size, data):
    """A padded row gives the outputs, state and gradients of the row cut to its length, and zeros
    after it.
    """
    case = draw(name, path, size)
    lengths = case.lengths()
    outside = torch.arange(case.x.shape[1]) >= lengths.unsqueeze(1)
    reset = case.flags() if data.draw(st.booleans()) else None
    x = torch.where(outside.unsqueeze(-1), torch.nan, case.x).requires_grad_()
    start = map_state(lambda field: field.clone().requires_grad_(), case.start)
    y, final = case.cell(x, start, reset=reset, lengths=lengths)
    assert not y[outside].any()

    total = y.sin().sum() + sum(field.cos().sum() for field in final)
    wanted = [x, *start, *case.cell.parameters()]
    found = torch.autograd.grad(total, wanted, materialize_grads=True)
    assert all(grad.isfinite().all() for grad in found)
    assert not found[0][outside].any()

    sums: Tensor = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(lengths.tolist()):
        flags = reset[row : row + 1, :length] if reset is not None else None
        part, state = case.cell(
            x[row : row + 1, :length],
            map_state(lambda field, r=row: field[r : r + 1], start),
            reset=flags,
        )
        close(y[row : row + 1, :length], part)
        all_close(map_state(lambda field, r=row: field[r : r + 1], final), state)
        sums = sums + part.sin().sum() + sum(field.cos().sum() for field in state)
    for one, other in zip(
        found, torch.autograd.grad(sums, wanted, materialize_grads=True), strict=True
    ):
        close(one, other, 1e-10)


@every
def test_a_row_of_length_zero_keeps_its_state_to_the_bit(name, path):
    """Whatever is marked in its padding, a row that has no step ends as it began."""
    case = draw(name, path, (3, 5, 2, 4, 0))
    reset = torch.ones(3, 5, dtype=torch.bool)
    for lengths in (torch.tensor([0, 5, 0]), torch.tensor([0, 0, 0])):
        y, final = case.cell(case.x, case.start, reset=reset, lengths=lengths)
        assert not y[0].any() and not y[2].any()
        for before, after in zip(case.start, final, strict=True):
            assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])


@every
def test_a_length_beyond_the_window_is_the_window(name, path):
    """A row that goes on after the window is read to the window's end."""
    case = draw(name, path, (2, 4, 2, 3, 0))
    y, final = case.cell(case.x, case.start, lengths=torch.tensor([9, 2]))
    wanted, end = case.cell(case.x, case.start, lengths=torch.tensor([4, 2]))
    assert torch.equal(y, wanted)
    assert all(torch.equal(one, other) for one, other in zip(final, end, strict=True))


@every
@laws
@given(size=sizes)
def test_a_row_alone_equals_the_row_in_a_batch(name, path, size):
    """Who else is in the batch does not matter."""
    case = draw(name, path, size)
    y, final = case.cell(case.x, case.start)
    for row in range(case.x.shape[0]):
        alone, state = case.cell(case.x[row : row + 1], case.row(row))
        close(y[row : row + 1], alone)
        all_close(map_state(lambda field, r=row: field[r : r + 1], final), state)


@every
@pytest.mark.parametrize("lengths", [None, torch.tensor([5, 3, 4])])
def test_nan_in_one_row_stays_there(name, path, lengths):
    """A poisoned row changes no bit of the others, neither in values nor in the gradient of their
    input.
    """
    case = draw(name, path, (3, 5, 2, 4, 1))
    seen = []
    for poison in (1.0, torch.nan):
        x = case.x.clone()
        x[1] *= poison
        x.requires_grad_()
        y, final = case.cell(x, case.start, lengths=lengths)
        (grad,) = torch.autograd.grad(y.sum(), x)
        seen.append([part[[0, 2]] for part in (y, grad, *final)])
    assert y[1].isnan().any() or name == "rnn_relu"
    assert all(torch.equal(clean, other) for clean, other in zip(*seen, strict=True))


@every
@laws
@given(size=sizes, data=st.data())
def test_the_future_does_not_reach_the_past(name, path, size, data):
    """Other inputs from step t on leave every output before t the same to the bit, and have no
    gradient there.
    """
    case = draw(name, path, size)
    at = data.draw(st.integers(0, case.x.shape[1] - 1))
    y, _ = case.cell(case.x, case.start)
    for fill in (torch.nan, 1e6, 0.0):
        other = case.x.clone()
        other[:, at:] = fill
        changed, _ = case.cell(other, case.start)
        assert torch.equal(changed[:, :at], y[:, :at])
    x = case.x.clone().requires_grad_()
    y, _ = case.cell(x, case.start)
    (grad,) = torch.autograd.grad(y[:, :at].sum(), x, materialize_grads=True)
    assert not grad[:, at:].any()


@every
@pytest.mark.parametrize("with_flags", [False, True])
def test_an_empty_window_gives_nothing_and_keeps_the_state(name, path, with_flags):
    """T = 0: outputs of no steps, and the state as it was."""
    case = draw(name, path, (3, 1, 2, 4, 0))
    flags = {
        "reset": torch.zeros(3, 0, dtype=torch.bool),
        "lengths": torch.zeros(3, dtype=torch.long),
    }
    y, final = case.cell(case.x[:, :0], case.start, **(flags if with_flags else {}))
    assert y.shape == (3, 0, case.cell.output_size)
    assert y.dtype == case.x.dtype
    assert all(torch.equal(one, other) for one, other in zip(case.start, final, strict=True))


@every
def test_no_start_is_the_initial_state(name, path):
    """Leaving the state out, giving the initial one, and resetting at the first step are the
    same.
    """
    case = draw(name, path, (3, 4, 2, 4, 0))
    first = torch.zeros(3, 4, dtype=torch.bool)
    first[:, 0] = True
    initial = case.cell.initial_state(3, device=case.x.device, dtype=case.x.dtype)
    y, final = case.cell(case.x)
    for state, reset in ((initial, None), (case.start, first)):
        other, end = case.cell(case.x, state, reset=reset)
        assert torch.equal(y, other)
        all_close(final, end)


@every
def test_what_is_given_is_not_changed(name, path):
    """Input, start, flags and lengths are read and never written; a second call gives the same
    bits.
    """
    case = draw(name, path, (3, 5, 2, 4, 0))
    reset, lengths = case.flags(), torch.tensor([5, 0, 3])
    given_in = [case.x, *case.start, reset, lengths]
    copies = [part.clone() for part in given_in]
    first, one = case.cell(case.x, case.start, reset=reset, lengths=lengths)
    second, two = case.cell(case.x, case.start, reset=reset, lengths=lengths)
    assert all(torch.equal(part, copy) for part, copy in zip(given_in, copies, strict=True))
    assert torch.equal(first, second)
    assert all(torch.equal(left, right) for left, right in zip(one, two, strict=True))


@every
def test_the_layout_of_the_input_does_not_matter(name, path):
    """Transposed and expanded views equal their contiguous copies."""
    case = draw(name, path, (3, 5, 2, 4, 0))
    turned = case.normal(5, 3, 2).transpose(0, 1)
    spread = case.normal(1, 5, 2).expand(3, 5, 2)
    for view in (turned, spread):
        start = map_state(
            lambda field: field.mT.contiguous().mT if field.dim() > 1 else field, case.start
        )
        y, final = case.cell(view, start)
        wanted, end = case.cell(view.contiguous(), case.start)
        close(y, wanted)
        all_close(final, end)


@every
def test_a_detached_state_cuts_the_gradient(name, path):
    """Nothing flows through a detached state; without detaching, two chunks give the gradients of
    the whole.
    """
    case = draw(name, path, (2, 6, 2, 4, 3))
    x = case.x.clone().requires_grad_()
    wanted = [x, *case.cell.parameters()]

    def chunked(cut: bool) -> Tensor:
        first, state = case.cell(x[:, :3], case.start)
        second, _ = case.cell(x[:, 3:], detach(state) if cut else state)
        return second if cut else torch.cat([first, second], dim=1)

    (grad,) = torch.autograd.grad(chunked(cut=True).sum(), x)
    assert not grad[:, :3].any()
    assert grad[:, 3:].any()
    whole, _ = case.cell(x, case.start)
    found = torch.autograd.grad(chunked(cut=False).sum(), wanted, materialize_grads=True)
    for one, other in zip(
        found, torch.autograd.grad(whole.sum(), wanted, materialize_grads=True), strict=True
    ):
        close(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_misfit_names_the_axis_and_both_sizes(name):
    """A wrong shape is a ValueError that says which axis, what came and what was expected."""
    cell = build(name, 3, 4)
    x = torch.zeros(2, 5, 3, dtype=torch.float64)
    state = cell.initial_state(6, device=x.device, dtype=x.dtype)
    field = state._fields[0]
    flags = torch.zeros(2, 4, dtype=torch.bool)
    cases = [
        ({"x": x[0]}, [r"\[B, T, D\]", r"\(5, 3\)"]),
        ({"x": x[..., :2]}, ["axis D", "is 2", "for 3"]),
        ({"x": x, "state": state}, ["axis B", f"state {field}", "is 6", "is 2"]),
        ({"x": x, "reset": flags}, [r"\[B, T\]", r"\(2, 5\)", r"\(2, 4\)"]),
        ({"x": x, "lengths": torch.zeros(3, dtype=torch.long)}, [r"\[B\]", r"\(2,\)", r"\(3,\)"]),
    ]
    for arguments, words in cases:
        with pytest.raises(ValueError, match=".*".join([type(cell).__name__, *words])):
            cell(**arguments)
