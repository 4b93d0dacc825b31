"""The cells of gates and their variants are their papers' equations, written out here a second
time.
"""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from conftest import HELLO
from equations import logistic, near
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

import recurra
from recurra.contracts.options import validate_options
from recurra.engine import paths
from recurra.engine.choice import Choice
from recurra.engine.proof import PROOFS, disagreement
from recurra.errors import InputError
from recurra.randomness import seeded
from recurra_cells.gru import GRU
from recurra_cells.indrnn import IndRNN
from recurra_cells.ligru import LiGRU
from recurra_cells.lstm import LSTM
from recurra_cells.mgu import MGU
from recurra_cells.options import (
    GRUOptions,
    IndRNNOptions,
    LiGRUOptions,
    LSTMOptions,
    MGUOptions,
    RNNOptions,
    SLSTMOptions,
)
from recurra_cells.rnn import RNN
from recurra_cells.slstm import SLSTM

D, H, P = 3, 6, 4
"""Width of the inputs, of the state, and of a projection."""
CPU = torch.device("cpu")
BOUNDS = {torch.float64: 1e-11, torch.float32: 2e-4}

MODELS = {
    "rnn": (RNN, RNNOptions),
    "lstm": (LSTM, LSTMOptions),
    "gru": (GRU, GRUOptions),
    "mgu": (MGU, MGUOptions),
    "indrnn": (IndRNN, IndRNNOptions),
    "ligru": (LiGRU, LiGRUOptions),
    "slstm": (SLSTM, SLSTMOptions),
}
LSTMS = [
    dict(peephole=peephole, layer_norm=layer_norm, projection=projection, coupled=coupled)
    for peephole, layer_norm, projection, coupled in itertools.product(
        *[[False, True]] * 2, [0, P], [False, True]
    )
]
PAIRS = [(False,) * 4, *((True,) * at + (False,) + (True,) * (3 - at) for at in range(4))]
"""Rows in which every two options of an LSTM take all four values together; the other rows of the
product are slow.
"""
VARIANTS = [
    ("rnn", {"nonlinearity": "tanh"}),
    ("rnn", {"nonlinearity": "relu"}),
    *(("lstm", table) for table in LSTMS),
    ("gru", {"reset": "after"}),
    ("gru", {"reset": "before"}),
    ("mgu", {}),
    ("indrnn", {"nonlinearity": "relu"}),
    ("indrnn", {"nonlinearity": "tanh", "recurrent_bound": 0.5}),
    ("ligru", {}),
    ("ligru", {"layer_norm": True}),
    *(
        ("slstm", {"heads": heads, "forget": forget})
        for heads in (1, 2, 3)
        for forget in ("sigmoid", "exp")
    ),
]


def label(variant):
    """Return the name of a variant, as in lstm[peephole,projection=4]."""
    kind, table = variant
    told = [name if value is True else f"{name}={value}" for name, value in table.items() if value]
    return f"{kind}[{','.join(told)}]"


def by_default(variant):
    """Return a variant as a parameter, marked slow if it is an LSTM that is none of the pairs."""
    kind, table = variant
    slow = kind == "lstm" and tuple(map(bool, table.values())) not in PAIRS
    return pytest.param(variant, marks=[pytest.mark.slow] if slow else [], id=label(variant))


every = pytest.mark.parametrize("variant", [by_default(variant) for variant in VARIANTS])


def build(variant, dtype=torch.float64, inputs=D, seed=0, **more):
    """Return a cell, the same at every call, with no weight left at 0 or 1, where a mistake would
    not show.
    """
    kind, table = variant
    cell, model = MODELS[kind]
    with seeded(seed):
        made = cell(inputs, model(**{"hidden_size": H, **table, **more}))
        for weight in made.parameters():
            weight.data.add_(torch.rand_like(weight) - 0.5)
    return made.to(dtype)


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


def counted(kind, table):
    """Return the number of parameters by the papers' formulas."""
    if kind == "lstm":
        gates, out = 3 if table["coupled"] else 4, table["projection"] or H
        biases = 4 * gates * H + 2 * H if table["layer_norm"] else 2 * gates * H
        return (
            gates * H * (D + out)
            + biases
            + table["peephole"] * (gates - 1) * H
            + table["projection"] * H
        )
    if kind == "slstm":
        return 4 * H * (D + 1) + 4 * H * H // table["heads"]
    return {
        "rnn": H * (D + H + 2),
        "gru": 3 * H * (D + H + 1) + (3 * H if table.get("reset") == "after" else 0),
        "mgu": 2 * H * (D + H + 1),
        "indrnn": H * (D + 2),
        "ligru": 2 * H * (D + H + 1) + (4 * H if table.get("layer_norm") else 0),
    }[kind]


@every
def test_the_parameters_are_as_many_as_the_formula_says(variant):
    """Nothing is there twice, and nothing is missing; the output is as wide as it says."""
    cell = build(variant)
    assert sum(weight.numel() for weight in cell.parameters()) == counted(*variant)
    y, _ = cell(torch.zeros(2, 3, D, dtype=torch.float64))
    assert y.shape == (2, 3, cell.output_size)
    assert cell.output_size == (variant[1].get("projection") or H)
    y, _ = cell(torch.zeros(0, 3, D, dtype=torch.float64))
    assert y.shape == (0, 3, cell.output_size)


@every
def test_every_path_that_it_allows_is_right(variant):
    """torch's kernels are taken where they compute this variant, and equal `step`; elsewhere the
    loop runs.
    """
    kind, table = variant
    cell = build(variant)
    plain = (
        kind == "rnn"
        or (kind == "lstm" and not any(table.values()))
        or table.get("reset") == "after"
    )
    declared = [
        name for name, path in paths.PATHS.items() if path.declared and path.refusal(cell) is None
    ]
    assert declared == (["native", "eager"] if plain else ["eager"])
    for name in PROOFS.accepting(cell):
        assert disagreement(cell, paths.PATHS[name].run) is None
        assert Choice.named(cell, name).path == name


@every
def test_it_can_be_built_without_memory_for_its_weights(variant):
    """On the meta device a cell has shapes alone, and steps through them."""
    kind, table = variant
    cell, model = MODELS[kind]
    schemes = (
        ("uniform", "xavier")
        if kind == "indrnn"
        else ("uniform", "orthogonal", "xavier", "identity")
    )
    for init in schemes:
        with torch.device("meta"):
            made = cell(D, model(hidden_size=H, init=init, **table))
        assert all(weight.is_meta for weight in made.parameters())
        made.path = "eager"
        y, _ = made(torch.empty(2, 3, D, device="meta"))
        assert y.is_meta and y.shape == (2, 3, made.output_size)


@pytest.mark.parametrize(
    "variant", [("gru", {"reset": "before"}), ("mgu", {}), ("slstm", {"heads": 2})], ids=label
)
def test_every_recurrent_map_begins_as_the_options_say(variant):
    """Gate by gate, head by head: orthogonal or the identity, with biases of 0; or within
    1/sqrt(H).
    """
    kind, table = variant
    cell, model = MODELS[kind]

    def blocks(init):
        made = cell(D, model(hidden_size=H, init=init, **table))
        weights = dict(made.named_parameters())
        maps = [
            weights["weight_hh"],
            *(weight for name, weight in weights.items() if name == "weight_hn"),
        ]
        size = H // table.get("heads", 1)
        return weights, [block.detach() for part in maps for block in part.reshape(-1, size, size)]

    weights, found = blocks("orthogonal")
    assert not weights["bias_ih"].any()
    for block in found:
        torch.testing.assert_close(block @ block.mT, torch.eye(len(block)), atol=1e-5, rtol=0)
    assert all(torch.equal(block, torch.eye(len(block))) for block in blocks("identity")[1])
    everything = torch.cat([block.flatten() for block in blocks("uniform")[1]])
    assert 0.8 / math.sqrt(H) < everything.abs().max() <= 1 / math.sqrt(H)


@pytest.mark.parametrize("init", ["uniform", "orthogonal", "xavier", "identity"])
def test_peepholes_begin_as_biases_do(init):
    """Within 1/sqrt(H) where all weights do, and at 0 elsewhere; the projection fills its bound in
    either case.
    """
    made = LSTM(D, LSTMOptions(hidden_size=200, peephole=True, projection=100, init=init))
    bound = 1 / math.sqrt(200) if init == "uniform" else 0
    assert 0.95 * bound <= made.peepholes.abs().max() <= bound
    assert torch.equal(made.peepholes == 0, torch.full((3, 200), init != "uniform"))
    bound = bound or math.sqrt(6 / 300)
    assert 0.99 * bound <= made.weight_hr.abs().max() <= bound


@pytest.mark.parametrize("bound", [1.0, 2 ** (1 / 5), 0.25])
def test_indrnn_begins_with_memories_of_all_lengths(bound):
    """The recurrent weights are uniform between 0 and the bound."""
    u = IndRNN(1, IndRNNOptions(hidden_size=2000, recurrent_bound=bound)).u.detach()
    assert 0 <= u.min() < 0.01 * bound and 0.99 * bound < u.max() <= bound
    assert u.mean().item() == pytest.approx(bound / 2, rel=0.05)
    assert u.std().item() == pytest.approx(bound / math.sqrt(12), rel=0.05)


@pytest.mark.parametrize(
    "variant",
    [("slstm", {}), *(("lstm", table) for table in LSTMS if not table["peephole"])],
    ids=label,
)
def test_forget_bias_raises_the_forget_gate_alone(variant):
    """With no input and no past, forget_bias b makes the forget gate's sum b, and no other's."""
    kind, table = variant
    cell, model = MODELS[kind]
    gates = 3 if table.get("coupled") else 4
    for bias in (0.0, 2.0):
        made = cell(D, model(hidden_size=H, init="xavier", forget_bias=bias, **table))
        given = dict(made.named_parameters())
        sums = (given["norm_x.bias"] if table.get("layer_norm") else given["bias_ih"]).view(
            gates, H
        )
        forget = 0 if table.get("coupled") else 1
        assert (sums[forget] == bias).all()
        assert not sums[[gate for gate in range(gates) if gate != forget]].any()


def refused(model, **table):
    """Return what pydantic says of a table."""
    with pytest.raises(ValidationError) as caught:
        validate_options(model, table, lambda value, field: value)
    (error,) = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


@pytest.mark.parametrize(
    ("model", "table", "key", "words"),
    [
        (
            SLSTMOptions,
            {"hidden_size": 10, "heads": 3},
            "heads",
            "heads must divide hidden_size; got 3 .* = 10",
        ),
        (SLSTMOptions, {"heads": 65}, "heads", "got 65 with hidden_size = 64"),
        (SLSTMOptions, {"heads": 0}, "heads", "greater than or equal to 1"),
        (SLSTMOptions, {"forget": "relu"}, "forget", "'sigmoid' or 'exp'"),
        (
            LSTMOptions,
            {"hidden_size": 4, "projection": 4},
            "projection",
            "less than hidden_size; got 4",
        ),
        (LSTMOptions, {"projection": -1}, "projection", "greater than or equal to 0"),
        (LSTMOptions, {"peephole": 1}, "peephole", "valid boolean"),
        (GRUOptions, {"reset": "both"}, "reset", "'after' or 'before'"),
        (IndRNNOptions, {"recurrent_bound": 0}, "recurrent_bound", "greater than 0"),
        (IndRNNOptions, {"recurrent_bound": 2.5}, "recurrent_bound", "less than or equal to 2"),
        (IndRNNOptions, {"init": "orthogonal"}, "init", "'uniform' or 'xavier'"),
    ],
)
def test_a_bad_option_is_refused_by_name(model, table, key, words):
    """The error names the option, what came and what is allowed."""
    found, message = refused(model, **table)
    assert found == key
    assert re.search(words, message), message


@pytest.mark.parametrize(
    ("model", "table"), [(SLSTMOptions, {"heads": 3}), (LSTMOptions, {"projection": 3})]
)
def test_a_bad_hidden_size_is_the_only_fault(model, table):
    """Where hidden_size itself is wrong, nothing is said of what depends on it."""
    assert refused(model, hidden_size=0, **table)[0] == "hidden_size"


def test_heads_that_do_not_divide_are_told_with_their_place(task):
    """In a task file the fault stands at cell.heads."""
    path = task(HELLO, ('kind = "lstm"', 'kind = "slstm"\nheads = 3'))
    with pytest.raises(InputError) as caught:
        recurra.check(path)
    (problem,) = caught.value.problems
    assert (
        problem.key == "cell.heads"
        and "heads must divide hidden_size; got 3 with hidden_size = 8" in str(problem)
    )
