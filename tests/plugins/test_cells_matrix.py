"""mlstm and gated_delta are those of their papers, and stay sound at extreme gates."""

from __future__ import annotations

import math

import pytest
import torch
from matrix_cells import (
    FLOAT64,
    KINDS,
    build,
    close,
    each_path,
    gated_by_input,
    kinds,
    normal,
    start_of,
)
from pydantic import ValidationError
from torch.nn import functional

from recurra.engine.recurrence import map_state
from recurra_cells.gated_delta import GatedDelta
from recurra_cells.matrix_options import GatedDeltaOptions, MLSTMOptions
from recurra_cells.mlstm import MLSTM


def mlstm_of_the_paper(cell, x):
    """The equations of section 2.3 over one row `[T, D]`: no stabiliser, one head after the
    other.
    """
    z, width = (
        functional.linear(x, cell.maps.weight, cell.maps.bias),
        cell.hidden_size // cell.heads,
    )
    q, k, v, o, i, f = z.split([cell.hidden_size] * 4 + [cell.heads] * 2, dim=1)
    outputs, states = [], []
    for head in range(cell.heads):
        own = slice(head * width, (head + 1) * width)
        c, n = x.new_zeros(width, width), x.new_zeros(width)
        found = []
        for t in range(len(x)):
            key, forget, write = (
                k[t, own] / math.sqrt(width),
                torch.sigmoid(f[t, head]),
                torch.exp(i[t, head]),
            )
            c = forget * c + write * torch.outer(v[t, own], key)
            n = forget * n + write * key
            found.append(
                torch.sigmoid(o[t, own])
                * (c @ q[t, own])
                / torch.dot(n, q[t, own]).abs().clamp(min=1)
            )
        outputs.append(torch.stack(found))
        states.append((c, n))
    return torch.cat(outputs, dim=1), states


def delta_of_the_paper(cell, x):
    """The gated delta rule over one row `[T, D]`, with its matrices written out, then the norm and
    the output gate.
    """
    z, width = functional.linear(x, cell.maps.weight), cell.hidden_size // cell.heads
    (q, k, v, g), gates = z[:, : 4 * cell.hidden_size].chunk(4, dim=1), z[:, 4 * cell.hidden_size :]
    outputs, states = [], []
    for head in range(cell.heads):
        own = slice(head * width, (head + 1) * width)
        s, found = x.new_zeros(width, width), []
        for t in range(len(x)):
            key, query = (functional.silu(part[t, own]) for part in (k, q))
            key, query = (vector / torch.sqrt(vector @ vector + 1e-6) for vector in (key, query))
            beta, alpha = torch.sigmoid(gates[t, head]), 1.0
            if cell.options.gated:
                time = torch.log1p(torch.exp(gates[t, cell.heads + head] + cell.bias[head]))
                alpha = torch.exp(-torch.exp(cell.log_rate[head]) * time)
            kept = torch.eye(width, dtype=x.dtype) - beta * torch.outer(key, key)
            s = alpha * s @ kept + beta * torch.outer(functional.silu(v[t, own]), key)
            read = s @ query
            normed = cell.norm * read / torch.sqrt((read * read).mean() + 1e-5)
            found.append(normed * functional.silu(g[t, own]))
        outputs.append(torch.stack(found))
        states.append((s,))
    return torch.cat(outputs, dim=1), states


@kinds
@each_path
def test_it_is_the_papers(kind, path):
    """Outputs, states and the gradients of input and weights equal a plain loop written from the
    equations.
    """
    cell, x = build(kind, path=path), normal(2, 11, 3).requires_grad_()
    y, final = cell(x)
    paper = mlstm_of_the_paper if kind == "mlstm" else delta_of_the_paper
    rows = [paper(cell, row) for row in x]
    wanted = torch.stack([row for row, _ in rows])
    close([y], [wanted])
    for row, (_, states) in enumerate(rows):
        scale = (
            torch.exp(final.peak[row]) if kind == "mlstm" else torch.ones(cell.heads, dtype=FLOAT64)
        )
        for head, state in enumerate(states):
            close([field[row, head] * scale[head] for field in final[: len(state)]], list(state))
    weight, leaves = normal(*y.shape, seed=5), [x, *cell.parameters()]
    grads = [torch.autograd.grad((each * weight).sum(), leaves) for each in (y, wanted)]
    close(*grads)
    assert all(grad.abs().max() > 1e-6 for grad in grads[0])


@kinds
@each_path
def test_nothing_leaks_across_a_reset_or_from_the_future(kind, path):
    """Gradients there are exactly 0, and a nan leaves all that is before it, or in another
    sequence, as it was.
    """
    cell, x, start = (
        build(kind, path=path),
        normal(2, 20, 3).requires_grad_(),
        start_of(build(kind), 2),
    )
    reset = torch.zeros(2, 20, dtype=torch.bool)
    reset[0, 11] = True
    y, final = cell(x, start, reset=reset)
    grads = torch.autograd.grad(
        y[0, 11:].sum() + sum(f[0].sum() for f in final), [x, *start], retain_graph=True
    )
    assert not grads[0][0, :11].any() and not any(grad.any() for grad in grads[1:])
    (past,) = torch.autograd.grad(y[:, :7].sum(), x)
    assert not past[:, 7:].any() and past[:, 6].any()
    poisoned = x.detach().clone()
    poisoned[0, 7] = torch.nan
    found, after = cell(poisoned, start, reset=reset)
    assert found[0, 7:11].isnan().all() and not found[1].isnan().any()
    assert torch.equal(found[0, :7], y[0, :7]) and torch.equal(found[0, 11:], y[0, 11:])
    assert all(torch.equal(one, other) for one, other in zip(after, final, strict=True))


@kinds
@each_path
def test_float32_is_near_float64(kind, path):
    """Over several chunks, with resets."""
    cell, x = build(kind, path=path, spread=1.0), normal(2, 150, 3)
    reset = torch.rand(2, 150, generator=torch.Generator().manual_seed(0)) < 0.02
    wanted = cell(x, reset=reset)[0]
    found = cell.float()(x.float(), reset=reset)[0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted.float(), atol=2e-4, rtol=2e-4)


@kinds
@each_path
def test_shapes_are_known_without_numbers(kind, path):
    """On the meta device a window gives shapes."""
    cell = build(kind, path=path).to("meta")
    y, final = cell(torch.empty(2, 9, 3, dtype=FLOAT64, device="meta"))
    assert y.shape == (2, 9, 6)
    assert [field.shape for field in final] == [
        f.shape for f in cell.initial_state(2, device=y.device, dtype=y.dtype)
    ]


@kinds
def test_heads_must_divide_the_width(kind):
    """What was given and what it does not divide are both named, for the default too."""
    model = KINDS[kind][1]
    with pytest.raises(
        ValidationError, match="heads\n.*heads must divide hidden_size; got 3 with hidden_size = 8"
    ):
        model(hidden_size=8, heads=3)
    with pytest.raises(ValidationError, match="got 4 with hidden_size = 6"):
        model(hidden_size=6)


# mLSTM


@each_path
@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
def test_extreme_gates_stay_finite(path, dtype):
    """With gates of +-1000 before their functions, in every order, values and gradients are
    finite.
    """
    cell = gated_by_input(path, dtype)
    gates = (
        torch.rand(4, 150, 2, generator=torch.Generator().manual_seed(3)) < 0.5
    ).double() * 2000 - 1000
    gates[2], gates[3] = 1000, -1000
    x = torch.cat([gates, normal(4, 150, 2)], dim=2).to(dtype).requires_grad_()
    start = map_state(lambda field: field.detach().to(dtype).requires_grad_(), start_of(cell, 4))
    y, final = cell(x, start)
    grads = torch.autograd.grad(
        y.sum() + sum(f.sum() for f in final), [x, *start, *cell.parameters()]
    )
    assert all(part.isfinite().all() for part in (y, *final, *grads))
    assert y.abs().max() > 0.1


@each_path
@pytest.mark.parametrize("size", [0.0, 1000.0])
def test_an_open_memory_keeps_what_was_written_once(path, size):
    """One step writes, 199 keep and write nothing: the last reads the value, whatever the size of
    the first gate.
    """
    cell = gated_by_input(path)
    x = torch.zeros(1, 200, 4)
    x[:, :, 0], x[:, :, 1] = -1000, 1000
    x[0, 0] = torch.tensor([size, 1000, 1.5, -2.0])
    x[0, -1, 2:] = torch.tensor([1.5, -2.0])
    y, _ = cell(x)
    read = 6.25 / math.sqrt(2)  # k . q, beside which 1 is the least denominator
    torch.testing.assert_close(
        y[0, -1], torch.tensor([1.5, -2.0]) / 2 * read / max(read, 1), atol=0, rtol=1e-6
    )


@each_path
def test_nothing_depends_on_how_the_state_is_scaled(path):
    """The same C and n under another peak, below 0 as well, give the same outputs and gradients: m
    only keeps scale.
    """
    cell, x, start = (
        build("mlstm", path=path),
        normal(2, 9, 3).requires_grad_(),
        start_of(build("mlstm"), 2),
    )
    found = []
    for shift in (0.0, 7.0, -7.0):
        scale = math.exp(-shift)
        moved = type(start)(start.memory * scale, start.total * scale, start.peak + shift)
        y, final = cell(x, moved)
        leaves = [x, start.memory, start.total, start.peak, *cell.parameters()]
        found.append(
            [
                y,
                final.memory * torch.exp(final.peak[..., None, None]),
                *torch.autograd.grad(y.sum(), leaves),
            ]
        )
    close(found[1], found[0])
    close(found[2], found[0])


@each_path
def test_a_query_of_nothing_reads_nothing(path):
    """Where q is 0 beside a memory of any size the output is 0, and its gradient finite."""
    cell = gated_by_input(path)
    x = torch.tensor([[[500.0, 5, 1, 2], [-500, 5, 0, 0], [-500, 5, 0, 0]]]).requires_grad_()
    y, _ = cell(x)
    assert y[0, 0].all() and not y[0, 1:].any()
    assert torch.autograd.grad(y.sum(), x)[0].isfinite().all()


def test_the_forget_gate_begins_open():
    """Its bias begins between 3 and 6, each head's its own."""
    bias = MLSTM(3, MLSTMOptions(hidden_size=8, heads=4)).maps.bias[-4:]
    torch.testing.assert_close(bias, torch.tensor([3.0, 4.0, 5.0, 6.0]))


# the delta rule


def writing(path):
    """Return a delta rule without decay whose beta is 1 where x[0] is 40 and 0 where it is -1000; k
    reads x[1:3].
    """
    cell = build("delta", 5, 2, 1, path=path)
    with torch.no_grad():
        cell.maps.weight.zero_()
        cell.maps.weight[2:4, 1:3] = 1e6 * torch.eye(2)
        cell.maps.weight[4:6, 3:5] = torch.eye(2)
        cell.maps.weight[8, 0] = 1
    return cell


@each_path
def test_what_is_written_is_read(path):
    """With alpha = beta = 1 a key gives exactly the value last written to it; with beta = 0 nothing
    is written.
    """
    cell, off = writing(path), [-1000.0, 1, 1, 1, 1]
    keys = [(1.0, 0.0), (0.6, 0.8), (0.6, 0.8), (1.0, 0.0), (0.6, 0.8)]
    values = [(3.0, 5.0), (2.0, 7.0), (4.0, 1.0), (6.0, 2.0), (9.0, 9.0)]
    memory, state = torch.zeros(2, 2, dtype=FLOAT64), None
    for key, value, gate in zip(keys, values, [40.0, 40.0, 40.0, 40.0, -1000.0], strict=True):
        _, state = cell(torch.tensor([[[gate, *key, *value], off]], dtype=FLOAT64), state)
        if gate > 0:
            read = state.memory[0, 0] @ torch.tensor(key, dtype=FLOAT64)
            close([read], [functional.silu(torch.tensor(value, dtype=FLOAT64))], 1e-11)
        else:
            assert torch.equal(state.memory[0, 0], memory)
        memory = state.memory[0, 0]


@each_path
def test_a_key_at_right_angles_is_left_alone(path):
    """Writing to one key changes nothing of what another at right angles to it gives."""
    cell = writing(path)
    steps = [[40.0, 1, 0, 3, 5], [40, 0, 1, 7, 2], [40, 0, 1, -4, 1]]
    states = [cell(torch.tensor([steps[:n]], dtype=FLOAT64))[1].memory[0, 0] for n in (1, 2, 3)]
    first, last = (
        functional.silu(torch.tensor(value, dtype=FLOAT64)) for value in ([3.0, 5.0], [-4.0, 1.0])
    )
    close([state[:, 0] for state in states], [first] * 3, 1e-11)
    close([states[2][:, 1]], [last], 1e-11)


def test_without_a_gate_nothing_of_it_is_there():
    """DeltaNet has no weights for a decay, and equals the gated rule where the rate of decay is
    0.
    """
    plain, gated = build("delta"), build("gated_delta")
    assert {name for name, _ in gated.named_parameters()} - {
        name for name, _ in plain.named_parameters()
    } == {
        "log_rate",
        "bias",
    }
    with torch.no_grad():
        gated.maps.weight[: len(plain.maps.weight)] = plain.maps.weight
        gated.log_rate.fill_(-torch.inf)
    close([gated(normal(2, 9, 3))[0]], [plain(normal(2, 9, 3))[0]], 1e-12)


def test_decay_begins_as_in_mamba2():
    """softplus of the bias begins between 0.001 and 0.1, and each head's rate between 1 and 16."""
    cell = GatedDelta(3, GatedDeltaOptions(hidden_size=256, heads=256)).double()
    time, rate = functional.softplus(cell.bias), cell.log_rate.exp()
    assert 0.00099 < time.min() < 0.002 and 0.05 < time.max() < 0.101
    assert 0.99 < rate.min() < 2 and 15 < rate.max() < 16.01


@each_path
def test_a_step_of_nothing_has_a_finite_gradient(path):
    """Where x is 0, q and k are 0 and no direction: nothing is written, and the gradient is
    finite.
    """
    cell = build("gated_delta", path=path, dtype=torch.float32)
    x = torch.zeros(1, 5, 3, requires_grad=True)
    y, final = cell(x)
    assert not y.any() and not final.memory.any()
    (grad,) = torch.autograd.grad(y.sum() + final.memory.sum(), x)
    assert grad.isfinite().all() and grad.abs().max() < 1e6
