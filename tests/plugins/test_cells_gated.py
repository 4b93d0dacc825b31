"""The cells of gates and their variants are their papers' equations, written out a second time."""

from __future__ import annotations

import pytest
import torch
from equations import logistic, near
from gated_variants import BOUNDS, CPU, D, H, P, build, every
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recurra.randomness import seeded
from recurra_cells.lstm import LSTM
from recurra_cells.options import LSTMOptions, SLSTMOptions
from recurra_cells.slstm import SLSTM


def norm(z, gain, bias):
    """Layer normalisation as in the paper, over the last axis."""
    mean = z.mean(-1, keepdim=True)
    deviation = torch.sqrt(((z - mean) ** 2).mean(-1, keepdim=True) + 1e-5)
    return (z - mean) / deviation * gain + bias


def softplus(z):
    return torch.clamp(z, min=0) + torch.log1p(torch.exp(-z.abs()))


def lstm(w, table, x, h, c):
    """One step of the LSTM; the variants as in their papers, gate by gate."""
    if table["layer_norm"]:
        total = norm(x @ w["weight_ih"].T, w["norm_x.weight"], w["norm_x.bias"])
        total = total + norm(h @ w["weight_hh"].T, w["norm_h.weight"], w["norm_h.bias"])
    else:
        total = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
    gates = dict(zip("fgo" if table["coupled"] else "ifgo", total.split(H, dim=-1), strict=True))
    seen = dict(
        zip(
            "fo" if table["coupled"] else "ifo", w.get("peepholes", torch.zeros(3, H)), strict=False
        )
    )
    f = logistic(gates["f"] + seen["f"] * c)
    i = 1 - f if table["coupled"] else logistic(gates["i"] + seen["i"] * c)
    c = f * c + i * torch.tanh(gates["g"])
    o = logistic(gates["o"] + seen["o"] * c)
    m = o * torch.tanh(norm(c, w["norm_c.weight"], w["norm_c.bias"]) if table["layer_norm"] else c)
    return (m @ w["weight_hr"].T if table["projection"] else m), c


def gru(w, table, x, h):
    """One step of the gated recurrent unit."""
    W, b = w["weight_ih"].split(H), w["bias_ih"].split(H)
    if table["reset"] == "before":
        U, d = [*w["weight_hh"].split(H), w["weight_hn"]], [0, 0, 0]
    else:
        U, d = w["weight_hh"].split(H), w["bias_hh"].split(H)
    r = logistic(x @ W[0].T + b[0] + h @ U[0].T + d[0])
    z = logistic(x @ W[1].T + b[1] + h @ U[1].T + d[1])
    old = (r * h) @ U[2].T if table["reset"] == "before" else r * (h @ U[2].T + d[2])
    return (z * h + (1 - z) * torch.tanh(x @ W[2].T + b[2] + old),)


def mgu(w, table, x, h):
    """One step of the minimal gated unit."""
    f = logistic(x @ w["weight_ih"][:H].T + h @ w["weight_hh"].T + w["bias_ih"][:H])
    n = torch.tanh(x @ w["weight_ih"][H:].T + (f * h) @ w["weight_hn"].T + w["bias_ih"][H:])
    return ((1 - f) * h + f * n,)


def rnn(w, table, x, h):
    """One step of the simple recurrent network."""
    total = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
    return (torch.tanh(total) if table["nonlinearity"] == "tanh" else torch.clamp(total, min=0),)


def indrnn(w, table, x, h):
    """One step of the independently recurrent network: its recurrent map is a diagonal matrix."""
    total = x @ w["weight_ih"].T + w["bias_ih"] + h @ torch.diag(w["u"])
    return (torch.tanh(total) if table["nonlinearity"] == "tanh" else torch.clamp(total, min=0),)


def ligru(w, table, x, h):
    """One step of the light gated recurrent unit."""
    given = (x @ w["weight_ih"].T + w["bias_ih"]).split(H, dim=-1)
    if table.get("layer_norm"):
        given = [
            norm(part, w["gain"][gate, 0], w["shift"][gate, 0]) for gate, part in enumerate(given)
        ]
    z = logistic(given[0] + h @ w["weight_hh"][:H].T)
    n = torch.clamp(given[1] + h @ w["weight_hh"][H:].T, min=0)
    return (z * h + (1 - z) * n,)


def slstm(w, table, x, h, c, n, m):
    """One step of the sLSTM with no stabiliser at all: what the state holds is scaled back first,
    and after.
    """
    size = H // table["heads"]
    blocks = w["weight_hh"].view(table["heads"], 4, size, size)
    U = [
        torch.block_diag(*(blocks[head, gate] for head in range(table["heads"])))
        for gate in range(4)
    ]
    W, b = w["weight_ih"].split(H), w["bias_ih"].split(H)
    i, f, z, o = (x @ W[gate].T + h @ U[gate].T + b[gate] for gate in range(4))
    forget = logistic(f) if table["forget"] == "sigmoid" else torch.exp(f)
    scale = torch.exp(m)
    memory = forget * c * scale + torch.exp(i) * torch.tanh(z)
    total = forget * n * scale + torch.exp(i)
    log_forget = -softplus(-f) if table["forget"] == "sigmoid" else f
    after = torch.maximum(log_forget + m, i)
    return (
        logistic(o) * memory / total,
        memory * torch.exp(-after),
        total * torch.exp(-after),
        after,
    )


STEPS = {
    "rnn": rnn,
    "lstm": lstm,
    "gru": gru,
    "mgu": mgu,
    "indrnn": indrnn,
    "ligru": ligru,
    "slstm": slstm,
}


def started(cell, dtype, batch, generator):
    """Return a start that is not zero and that the cell could be in: what sLSTM has let in is never
    less than 1.
    """
    fresh = cell.initial_state(batch, device=CPU, dtype=dtype)
    drawn = [torch.randn(part.shape, generator=generator, dtype=dtype) for part in fresh]
    if "n" in fresh._fields:
        drawn[2] = 1 + drawn[2].abs()
    return [part.requires_grad_() for part in drawn]


def looped(variant, cell, x, state):
    """Return outputs `[B, T, H]` and the final state by the equations above."""
    kind, table = variant
    weights, outputs = dict(cell.named_parameters()), []
    for x_t in x.unbind(dim=1):
        state = STEPS[kind](weights, table, x_t, *state)
        outputs.append(state[0])
    return torch.stack(outputs, dim=1), list(state)


def compare(cell, x, start, found, wanted, bound):
    """Check outputs, final states and every gradient: `found` and `wanted` hold outputs and a final
    state.
    """
    found, wanted = [found[0], *found[1]], [wanted[0], *wanted[1]]
    generator = torch.Generator().manual_seed(5)
    probes = [torch.randn(part.shape, generator=generator, dtype=part.dtype) for part in wanted]
    for one, other in zip(found, wanted, strict=True):
        near(one, other, bound, "values")
    names, weights = zip(*cell.named_parameters(), strict=True)
    inputs = [x, *start, *weights]
    grads = [
        torch.autograd.grad(
            sum((part * probe).sum() for part, probe in zip(parts, probes, strict=True)),
            inputs,
            materialize_grads=True,
        )
        for parts in (found, wanted)
    ]
    for name, one, other in zip(["input", *["start"] * len(start), *names], *grads, strict=True):
        near(one, other, 10 * bound, f"gradient of {name}")
    assert all(grad.any() for grad in grads[1]), "a weight that nothing depends on compares nothing"


@every
@pytest.mark.parametrize(
    "dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_is_the_papers_equations(variant, dtype, seed):
    """Outputs, final states and all gradients are those of a plain loop over the equations."""
    cell, generator = build(variant, dtype, seed=seed), torch.Generator().manual_seed(seed)
    x = torch.randn(3, 5, D, generator=generator, dtype=dtype, requires_grad=True)
    start = started(cell, dtype, 3, generator)
    state = type(cell.initial_state(1, device=CPU, dtype=dtype))(*start)
    compare(cell, x, start, cell(x, state), looped(variant, cell, x, start), BOUNDS[dtype])


@pytest.mark.parametrize("projection", [1, P])
def test_a_projection_is_torchs(projection):
    """With the same weights, outputs, final states and gradients are those of
    nn.LSTM(proj_size=...).
    """
    cell = build(("lstm", {"projection": projection}))
    module = nn.LSTM(D, H, proj_size=projection, batch_first=True).double()
    for name, weight in cell.named_parameters():
        setattr(module, f"{name}_l0", weight)
    x = torch.randn(3, 5, D, dtype=torch.float64, requires_grad=True)
    start = started(cell, torch.float64, 3, torch.Generator().manual_seed(0))
    y, final = module(x, tuple(part.unsqueeze(0) for part in start))
    state = type(cell.initial_state(1, device=CPU, dtype=torch.float64))(*start)
    compare(cell, x, start, cell(x, state), (y, [part.squeeze(0) for part in final]), 1e-12)


def test_a_projection_begins_as_torchs():
    """From one seed the weights are nn.LSTM's to the bit, the projection's too."""
    with seeded(4):
        cell = LSTM(D, LSTMOptions(hidden_size=H, projection=P))
    with seeded(4):
        module = nn.LSTM(D, H, proj_size=P)
    for name, weight in cell.named_parameters():
        assert torch.equal(weight, getattr(module, f"{name}_l0"))


def test_coupled_gates_are_an_lstm_whose_input_gate_mirrors_the_forget_gate():
    """1 - sigmoid(f) is sigmoid(-f): nn.LSTM with the forget gate's weights negated at its input
    gate.
    """
    cell = build(("lstm", {"coupled": True}))
    module = nn.LSTM(D, H, batch_first=True).double()
    with torch.no_grad():
        for name, weight in cell.named_parameters():
            getattr(module, f"{name}_l0").copy_(torch.cat([-weight[:H], weight]))
    x = torch.randn(2, 9, D, dtype=torch.float64)
    y, (h, c) = module(x)
    z, state = cell(x)
    near(z, y, 1e-12, "output")
    near(state.c, c[0], 1e-12, "memory")
    assert (state.c.abs() < 1).all()


def test_the_output_gate_sees_the_memory_after_the_step_and_the_others_before():
    """From an empty memory, the peepholes of i and f change nothing in one step, and that of o
    does.
    """
    cell = build(("lstm", {"peephole": True}))
    state = cell.initial_state(2, device=CPU, dtype=torch.float64)
    y, after = cell.step(torch.randn(2, D, dtype=torch.float64), state)
    (grad,) = torch.autograd.grad(y.sum(), [cell.peepholes], retain_graph=True)
    assert not grad[:2].any() and grad[2].all()
    y, _ = cell.step(torch.randn(2, D, dtype=torch.float64), after)
    (grad,) = torch.autograd.grad(y.sum(), [cell.peepholes])
    assert grad.all()


@pytest.mark.parametrize("coupled", [False, True])
def test_layer_norm_forgets_the_scale_of_its_weights(coupled):
    """Maps that are twice as large give the same, as far as normalisation leaves nothing but
    direction.
    """
    cell = build(("lstm", {"layer_norm": True, "coupled": coupled}))
    x = torch.randn(2, 4, D, dtype=torch.float64)
    wanted, _ = cell(x)
    with torch.no_grad():
        cell.weight_ih *= 1e3
        cell.weight_hh *= 1e3
        cell.norm_h.bias += 0.5
        cell.norm_x.bias -= 0.5
    found, _ = cell(x)
    near(found, wanted, 1e-3, "output")
    cell.weight_ih.data[0] *= 3  # of one unit alone: its weight among the others changes
    assert (cell(x)[0] - wanted).abs().max() > 1e-2


def identity_slstm(forget):
    """Return an sLSTM of two units whose inputs are the sums of its gates, i f z o."""
    cell = SLSTM(8, SLSTMOptions(hidden_size=2, forget=forget)).double()
    with torch.no_grad():
        cell.weight_ih.copy_(torch.eye(8))
        cell.bias_ih.zero_()
        cell.weight_hh.zero_()
    return cell


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@settings(deadline=None, max_examples=25)
@given(
    scale=st.sampled_from([1.0, 30.0, 1e3]),
    steps=st.integers(1, 7),
    seed=st.integers(0, 2**31),
    signs=st.booleans(),
)
def test_slstm_is_a_weighted_average_of_its_values(forget, dtype, scale, steps, seed, signs):
    """h_t / o_t is the mean of all tanh(z_s), weighted by exp(i_s) and every F since: a softmax, up
    to sums of 1e3.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, steps, 8, generator=generator, dtype=torch.float64)
    x = (scale * (x.sign() if signs else x.clamp(-1, 1))).to(dtype).requires_grad_()
    cell = identity_slstm(forget).to(dtype)
    y, state = cell(x)
    i, f, z, o = x.detach().double().split(2, dim=-1)
    kept = -softplus(-f) if forget == "sigmoid" else f
    for t in range(steps):
        since = torch.stack([kept[:, s + 1 : t + 1].sum(1) for s in range(t + 1)], dim=1)
        weights = torch.softmax(i[:, : t + 1] + since, dim=1)
        wanted = logistic(o[:, t]) * (weights * torch.tanh(z[:, : t + 1])).sum(1)
        near(y[:, t].double(), wanted, 1e-9 if dtype == torch.float64 else 1e-2, f"step {t}")
    grads = torch.autograd.grad(sum(part.sum() for part in (y, *state)), [x, *cell.parameters()])
    assert all(torch.isfinite(part).all() for part in (y, *state, *grads))
    assert (state.n >= 1).all()


@pytest.mark.parametrize("heads", [1, 2])
def test_slstm_does_not_tell_one_scale_of_its_weights_from_another(heads):
    """Whatever is added to the input gate's bias, the average is the same, for e^1000 cancels."""
    cell = build(("slstm", {"heads": heads}))
    x = torch.randn(2, 6, D, dtype=torch.float64)
    wanted, _ = cell(x)
    for shift in (1e3, -2e3):
        cell.bias_ih.data[:H] += shift
        near(cell(x)[0], wanted, 1e-9, f"{shift}")


def test_the_first_value_of_an_slstm_is_the_whole_average():
    """h_1 = sigmoid(o) * tanh(z), however little the gates let in, and after a reset as at the
    start.
    """
    x = torch.tensor([[-1e3, 1e3, 1e3, -1e3, 0.3, -0.7, 0.2, 5.0]], dtype=torch.float64)
    wanted = logistic(x[:, 6:]) * torch.tanh(x[:, 4:6])
    for forget in ("sigmoid", "exp"):
        cell = identity_slstm(forget)
        window = torch.stack([x, 7 * torch.ones_like(x), x], dim=1)
        y, _ = cell(window, reset=torch.tensor([[False, False, True]]))
        near(y[:, 0], wanted, 1e-15, "start")
        near(y[:, 2], wanted, 1e-15, "reset")


def test_the_heads_of_an_slstm_do_not_see_each_other():
    """What a unit was changes later outputs of its own head alone."""
    cell = build(("slstm", {"heads": 3}))
    h = torch.randn(1, H, dtype=torch.float64, requires_grad=True)
    state = cell.initial_state(1, device=CPU, dtype=torch.float64)._replace(h=h)
    _, state = cell.step(torch.randn(1, D, dtype=torch.float64), state)
    y, _ = cell.step(torch.randn(1, D, dtype=torch.float64), state)
    size = H // 3
    for unit in range(H):
        (grad,) = torch.autograd.grad(y[0, unit], h, retain_graph=True)
        own = torch.arange(H) // size == unit // size
        assert grad[0, own].all() and not grad[0, ~own].any()
