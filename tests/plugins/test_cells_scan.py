"""The cells that are scans: each equals a plain loop written from its paper, on every path."""

from __future__ import annotations

from typing import Any

import pytest
import scan_papers
import torch
from equations import near
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_papers import KINDS, Kind
from torch import Tensor

from recurra.engine import paths
from recurra.engine.choice import Choice
from recurra.engine.proof import disagreement
from recurra.engine.recurrence import map_state
from recurra_cells.rglru import RGLRU
from recurra_cells.scan_options import RGLRUOptions

BOUND = 1e-10

_same_numbers = pytest.fixture(autouse=True)(scan_papers.same_numbers)
kinds = pytest.mark.parametrize("name", KINDS)
each_path = pytest.mark.parametrize("path", ["scan", "eager"])
sizes = st.tuples(
    st.integers(1, 3),
    st.integers(1, 7),
    st.integers(1, 4),
    st.sampled_from([2, 4]),
    st.integers(0, 2**31),
)


def looped(kind: Kind, cell, x: Tensor, state) -> tuple[Tensor, Any]:
    """Return outputs and final state of rows by the paper's loop."""
    outputs, finals = [], []
    for row in range(x.shape[0]):
        after = [field[row] for field in state]
        ys = []
        for y, step in kind.loop(cell, x[row], *after):
            ys.append(y)
            after = list(step) if isinstance(step, tuple) else [step]
        outputs.append(torch.stack(ys) if ys else x.new_zeros(0, cell.output_size))
        finals.append(after)
    return torch.stack(outputs), type(state)._make(
        torch.stack(fields) for fields in zip(*finals, strict=True)
    )


def sequences(
    kind: Kind, cell, x: Tensor, state, reset: Tensor, lengths: Tensor
) -> tuple[Tensor, Any]:
    """Return outputs and final states by the paper's loop over each sequence of each row alone, cut
    to its length.
    """
    zero = cell.initial_state(1, device=x.device, dtype=x.dtype)
    rows, finals = [], []
    for row, length in enumerate(lengths.tolist()):
        cuts = [t for t in range(length) if reset[row, t]]
        after = map_state(lambda field, r=row: field[r : r + 1], state)
        parts = []
        for low, high in zip([0, *cuts], [*cuts, length], strict=True):
            part, after = looped(
                kind, cell, x[row : row + 1, low:high], after if low not in cuts else zero
            )
            parts.append(part)
        padding = x.new_zeros(1, x.shape[1] - length, cell.output_size)
        rows.append(torch.cat([*parts, padding], dim=1))
        finals.append(after)
    return torch.cat(rows), type(state)._make(
        torch.cat(fields) for fields in zip(*finals, strict=True)
    )


def score(y: Tensor, final: Any) -> Tensor:
    """Return a number in which every output and every part of the state counts otherwise."""
    parts = torch.cat([part.flatten() for part in (y, *final)])
    return (parts * torch.cos(parts + torch.arange(len(parts)))).sum()


def agree(cell, x: Tensor, start, found: tuple[Tensor, Any], wanted: tuple[Tensor, Any]) -> None:
    """Compare outputs, final states and the gradients of input, start and every weight."""
    assert type(found[1]) is type(wanted[1])
    names = ["the output", *[f"state {name}" for name in found[1]._fields]]
    for name, one, other in zip(names, [found[0], *found[1]], [wanted[0], *wanted[1]], strict=True):
        near(one, other, BOUND, name)
    asked = [x, *start, *cell.parameters()]
    labels = [
        "input",
        *[f"start {name}" for name in start._fields],
        *[name for name, _ in cell.named_parameters()],
    ]
    grads = [
        torch.autograd.grad(score(*both), asked, materialize_grads=True) for both in (found, wanted)
    ]
    for label, one, other in zip(labels, *grads, strict=True):
        near(one, other, BOUND, f"the gradient of {label}")


def drawn(cell, batch: int, steps: int, seed: int) -> tuple[Tensor, Any]:
    """Return inputs and a start that is not zero, both asking for gradients."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, steps, cell.input_size, generator=generator, dtype=torch.float64)
    zero = cell.initial_state(batch, device=x.device, dtype=x.dtype)

    def draw(field):
        return torch.randn(field.shape, generator=generator, dtype=x.dtype).requires_grad_()

    return x.requires_grad_(), map_state(draw, zero)


@kinds
@each_path
@settings(deadline=None, max_examples=8)
@given(size=sizes)
def test_it_is_the_loop_of_its_paper(name, path, size):
    """Outputs, final state and every gradient equal the equations, one step and one row after the
    other.
    """
    batch, steps, inputs, hidden, seed = size
    kind = KINDS[name]
    cell = kind.build(inputs, hidden, seed)
    cell.path = path
    x, start = drawn(cell, batch, steps, seed)
    agree(cell, x, start, cell(x, start), looped(kind, cell, x, start))


@kinds
@each_path
@settings(deadline=None, max_examples=8)
@given(size=sizes)
def test_resets_and_lengths_are_sequences_of_their_own(name, path, size):
    """Rows with beginnings inside and ends before the window equal their sequences alone; the
    padding is nan.
    """
    batch, steps, inputs, hidden, seed = size
    kind = KINDS[name]
    cell = kind.build(inputs, hidden, seed)
    cell.path = path
    x, start = drawn(cell, batch, steps, seed)
    generator = torch.Generator().manual_seed(seed)
    reset = torch.rand(batch, steps, generator=generator) < 0.3
    lengths = torch.randint(0, steps + 1, (batch,), generator=generator)
    outside = torch.arange(steps) >= lengths.unsqueeze(1)
    poisoned = torch.where(outside.unsqueeze(-1), torch.nan, x)
    found = cell(poisoned, start, reset=reset, lengths=lengths)
    agree(cell, x, start, found, sequences(kind, cell, x, start, reset, lengths))


@kinds
@pytest.mark.parametrize("inputs", [3, 4])
def test_the_scan_proves_itself_and_is_taken(name, inputs):
    """On its own proof the scan equals `step`, and so it is chosen."""
    cell = KINDS[name].build(inputs, 4)
    assert disagreement(cell, paths.PATHS["scan"].run) is None
    assert Choice.named(cell, "scan").path == "scan"


def test_a_wide_cell_proves_itself_with_as_many_heads():
    """Where the proof takes a narrower cell, its heads still divide its width."""
    cell = RGLRU(3, RGLRUOptions(hidden_size=384, heads=12))
    assert Choice.named(cell, "scan").path == "scan"


@kinds
@pytest.mark.parametrize(("inputs", "hidden"), [(3, 4), (6, 6), (1, 2)])
def test_the_number_of_weights_is_the_papers(name, inputs, hidden):
    """Counted by the formula of the paper's maps."""
    kind = KINDS[name]
    assert sum(
        weight.numel() for weight in kind.build(inputs, hidden).parameters()
    ) == kind.weights(inputs, hidden)


@kinds
def test_a_seed_fixes_the_start(name):
    """The same seed gives the same weights to the bit, another one others, all of them finite."""
    kind = KINDS[name]
    one, same, other = (kind.build(3, 4, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not any(torch.equal(one[key], other[key]) for key in one)
    assert all(weight.isfinite().all() for weight in one.values())


@kinds
def test_gradients_have_gradients(name):
    """Second derivatives on the scan equal those of the step loop."""
    kind = KINDS[name]
    cell = kind.build(2, 2)
    found = []
    for path in ("scan", "eager"):
        cell.path = path
        x, start = drawn(cell, 2, 4, 0)
        wanted = [x, *start, *cell.parameters()]
        first = torch.autograd.grad(score(*cell(x, start)), wanted, create_graph=True)
        found.append(
            torch.autograd.grad(
                sum(grad.sin().sum() for grad in first), wanted, materialize_grads=True
            )
        )
    for one, other in zip(*found, strict=True):
        near(one, other, BOUND, "a second derivative")
