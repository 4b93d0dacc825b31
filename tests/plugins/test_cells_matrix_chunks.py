"""The chunks of mlstm and gated_delta equal their steps, whatever the length of a chunk."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matrix_cells import FLOAT64, build, close, gated_by_input, kinds, normal, start_of

from recurra.engine import chunkwise, proof
from recurra.engine.choice import Choice
from recurra.engine.proof import disagreement
from recurra.engine.recurrence import map_state, select
from recurra_cells import chunks

LONGEST = chunks.LONGEST


def traced(cell, path, x, start, reset, lengths):
    """Return outputs, final state and every gradient, of the state too."""
    cell.path = path
    y, final = cell(x, start, reset=reset, lengths=lengths)
    total = (y * torch.cos(y)).sum() + sum((field * torch.sin(field)).sum() for field in final)
    grads = torch.autograd.grad(total, [x, *start, *cell.parameters()])
    return [y, *final, *grads]


def compare(cell, x, reset, lengths, bound=1e-9):
    """Compare the chunks with the steps, from a start that is not zero and with nan in what is not
    to be read.
    """
    if lengths is not None:
        outside = torch.arange(x.shape[1]) >= lengths.unsqueeze(1)
        x = torch.where(outside.unsqueeze(-1), torch.nan, x)
    x, start = x.detach().requires_grad_(), start_of(cell, len(x))
    found = traced(cell, "chunkwise", x, start, reset, lengths)
    close(found, traced(cell, "eager", x, start, reset, lengths), bound)
    assert all(part.isfinite().all() for part in found)


@kinds
@pytest.mark.parametrize(
    "steps", [2, LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST + 3, 3 * LONGEST, 3 * LONGEST + 3]
)
@pytest.mark.parametrize("marked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_chunks_equal_steps_around_the_real_length_of_a_chunk(kind, steps, marked):
    """Windows shorter than a chunk, as long, longer, and of several with a rest: plain, and with
    resets and lengths.
    """
    cell, x = build(kind), normal(3, steps, 3)
    reset = torch.rand(3, steps, generator=torch.Generator().manual_seed(steps)) < 0.1
    compare(cell, x, *((reset, torch.tensor([steps, steps // 2, 0])) if marked else (None, None)))


shapes = st.tuples(
    st.integers(1, 3),
    st.integers(1, 14),
    st.sampled_from([(2, 1), (2, 2), (6, 3)]),
    st.integers(1, 6),
)


@kinds
@settings(deadline=None, max_examples=25)
@given(shape=shapes, data=st.data())
def test_chunks_of_any_length_equal_steps(kind, shape, data):
    """For random sizes, lengths of chunks, resets, lengths and starts; the last row may have no
    step at all.
    """
    batch, steps, (hidden, heads), longest = shape
    seed = data.draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    reset = (
        torch.rand(batch, steps, generator=generator) < 0.3 if data.draw(st.booleans()) else None
    )
    lengths = (
        torch.randint(0, steps + 1, (batch,), generator=generator)
        if data.draw(st.booleans())
        else None
    )
    cell = build(kind, 2, hidden, heads, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "length_of", lambda _: longest)
        compare(cell, normal(batch, steps, 2, seed=seed), reset, lengths)


@kinds
@settings(deadline=None, max_examples=20)
@given(steps=st.integers(1, 30), data=st.data())
def test_any_chunking_with_the_state_carried_equals_the_whole(kind, steps, data):
    """Cuts anywhere change nothing, neither values nor gradients, with resets and with rows of
    different lengths.
    """
    cell, start = build(kind, path="chunkwise"), start_of(build(kind), 2)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    x = normal(2, steps, 3).requires_grad_()
    reset = torch.rand(2, steps, generator=generator) < 0.2
    lengths = torch.randint(0, steps + 1, (2,), generator=generator)
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, steps), max_size=3))), steps]
    parts, state = [], start
    for low, high in zip(cuts, cuts[1:], strict=False):
        y, state = cell(
            x[:, low:high],
            state,
            reset=reset[:, low:high],
            lengths=(lengths - low).clamp(0, high - low),
        )
        parts.append(y)
    whole, final = cell(x, start, reset=reset, lengths=lengths)
    close([torch.cat(parts, dim=1), *state], [whole, *final])
    leaves = [x, *start, *cell.parameters()]
    totals = [torch.cat(parts, dim=1).sin().sum() + sum(f.cos().sum() for f in state)]
    totals.append(whole.sin().sum() + sum(f.cos().sum() for f in final))
    close(*(torch.autograd.grad(total, leaves) for total in totals), 1e-9)


@kinds
@settings(deadline=None, max_examples=15)
@given(steps=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_the_form_alone_skips_steps_anywhere(kind, steps, seed):
    """A step that is not live, wherever it stands and whatever x is, keeps the state; a reset there
    still acts.
    """
    cell, generator = build(kind), torch.Generator().manual_seed(seed)
    live, reset = (torch.rand(2, steps, generator=generator) < share for share in (0.6, 0.3))
    x, start = normal(2, steps, 3, seed=seed).requires_grad_(), start_of(cell, 2)
    fresh = cell.initial_state(2, device=x.device, dtype=x.dtype)
    state, outputs = start, []
    for t in range(steps):
        state = select(reset[:, t], fresh, state)
        y, stepped = cell.step(x[:, t], state)
        state = select(live[:, t], stepped, state)
        outputs.append(y)
    wanted = [torch.stack(outputs, dim=1)[live], *state]
    y, final = cell.chunkwise()(x, start, reset, live)
    found = [y[live], *final]
    close(found, wanted)
    leaves = [x, *start, *cell.parameters()]
    totals = [sum(part.sin().sum() for part in parts) for parts in (found, wanted)]
    close(*(torch.autograd.grad(total, leaves, materialize_grads=True) for total in totals), 1e-9)


@kinds
def test_a_row_without_a_step_keeps_its_state_to_the_bit(kind):
    """Its decay is exactly 1 and nothing is added, also when its peak is below 0."""
    cell = build(kind, path="chunkwise")
    start = map_state(lambda field: field - 2, start_of(cell, 2))
    _, final = cell(normal(2, 9, 3), start, lengths=torch.tensor([0, 9]))
    assert all(torch.equal(before[0], after[0]) for before, after in zip(start, final, strict=True))
    assert not any(
        torch.equal(before[1], after[1]) for before, after in zip(start, final, strict=True)
    )


@kinds
@pytest.mark.parametrize(
    "size", [{"hidden": 6, "heads": 1}, {"hidden": 6, "heads": 6}, {"hidden": 192, "heads": 3}]
)
def test_the_form_is_proved_and_chosen(kind, size, monkeypatch):
    """For one head, for heads of one unit, and for widths of which the proof takes a narrower
    one.
    """
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())
    cell = build(kind, 5, **size, spread=1.0)
    assert disagreement(cell, chunkwise.run) is None
    assert Choice.named(cell, "chunkwise").path == "chunkwise"


@kinds
def test_gradients_have_gradients(kind):
    """First and second derivatives of the chunks equal finite differences."""
    cell = build(kind, 2, 4, 2, path="chunkwise")
    x, start = normal(1, 4, 2).requires_grad_(), start_of(cell, 1)

    def function(x, *start):
        y, final = cell(x, type(cell.initial_state(1, device=x.device, dtype=x.dtype))(*start))
        return (y, *final)

    assert torch.autograd.gradcheck(function, (x, *start), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (x, *start), fast_mode=True)


def test_chunks_equal_steps_at_extreme_gates():
    """Gates up to +-1000 before their functions change nothing in that."""
    gates = 1000 * (
        2 * torch.rand(3, 70, 2, generator=torch.Generator().manual_seed(4), dtype=FLOAT64) - 1
    )
    compare(
        gated_by_input("eager", FLOAT64), torch.cat([gates, normal(3, 70, 2)], dim=2), None, None
    )


# What chunks are made of


@settings(deadline=None, max_examples=20)
@given(length=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_sums_between_steps(length, seed):
    """Every sum is that of its terms, -inf where a reset lies between, and its gradient is
    finite.
    """
    logs = -normal(length, seed=seed).abs()
    logs[torch.rand(length, generator=torch.Generator().manual_seed(seed)) < 0.3] = -torch.inf
    logs.requires_grad_()
    found = chunks.between(logs)
    for t in range(length):
        for j in range(length):
            wanted = sum(logs[j + 1 : t + 1].tolist()) if j <= t else -math.inf
            assert found[t, j].item() == pytest.approx(wanted, rel=1e-12)
    (grad,) = torch.autograd.grad(found.exp().sum(), logs)
    assert grad.isfinite().all()


def test_a_strong_decay_costs_what_comes_after_no_digit():
    """In float32, sums after a decay of exp(-10000) are as exact as if it had not been."""
    logs = torch.full((8,), -0.1)
    plain = chunks.between(logs)
    logs[0] = -10000.0
    assert torch.equal(chunks.between(logs)[1:, 1:], plain[1:, 1:])


def test_chunks_are_never_one_where_they_can_be_three():
    """A proof over a short window goes from chunk to chunk as a long one does; no chunk is longer
    than the longest.
    """
    for steps in range(2, 300):
        length = chunks.length_of(steps)
        assert 1 <= length <= chunks.LONGEST
        assert -(-steps // length) >= (2 if steps in (2, 4) else 3)
