"""rnn, lstm and gru are torch's own, on every path, and begin as their options say."""

from __future__ import annotations

import math

import pytest
import torch
from equations import near
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recurra.engine.choice import Choice
from recurra.model.network import Network
from recurra.randomness import seeded
from recurra_cells.gru import GRU
from recurra_cells.lstm import LSTM
from recurra_cells.options import GRUOptions, LSTMOptions, RNNOptions
from recurra_cells.rnn import RNN
from recurra_encoders.identity import Identity
from recurra_encoders.options import IdentityOptions
from recurra_losses.mse import MSE
from recurra_losses.options import MSEOptions

KINDS = {
    "rnn_tanh": (RNN, RNNOptions, {"nonlinearity": "tanh"}, nn.RNN, {"nonlinearity": "tanh"}, 1),
    "rnn_relu": (RNN, RNNOptions, {"nonlinearity": "relu"}, nn.RNN, {"nonlinearity": "relu"}, 1),
    "lstm": (LSTM, LSTMOptions, {}, nn.LSTM, {}, 4),
    "gru": (GRU, GRUOptions, {}, nn.GRU, {}, 3),
}
PATHS = ("native", "eager")
BOUNDS = {torch.float32: 1e-6, torch.float64: 1e-12}
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

kinds = pytest.mark.parametrize("kind", KINDS)
sizes = st.tuples(*[st.integers(1, n) for n in (4, 9, 5, 6)], st.integers(0, 2**31))


def make(kind, inputs, **options):
    """Return one of the cells."""
    cell, model, fixed, *_ = KINDS[kind]
    return cell(inputs, model(**fixed, **options))


def reference(kind, inputs, hidden, layers, dtype):
    """Return torch's module of the same kind."""
    *_, module, arguments, _ = KINDS[kind]
    return module(inputs, hidden, num_layers=layers, batch_first=True, **arguments).to(dtype)


def copy(cell, module, layer):
    """Give a cell the weights of one layer of torch's module."""
    with torch.no_grad():
        for part in PARTS:
            getattr(cell, part).copy_(getattr(module, f"{part}_l{layer}"))


def compare(kind, path, dtype, layers, size):
    """Run torch's module and the cells with its weights; compare outputs, final states and all
    gradients.
    """
    batch, steps, inputs, hidden, seed = size
    with seeded(seed):
        module = reference(kind, inputs, hidden, layers, dtype)
        cells = [
            make(kind, inputs if layer == 0 else hidden, hidden_size=hidden)
            for layer in range(layers)
        ]
        network = Network(Identity(inputs, IdentityOptions()), cells, MSE(1, MSEOptions())).to(
            dtype
        )
        x = torch.randn(batch, steps, inputs, dtype=dtype, requires_grad=True)
        fields = 2 if kind == "lstm" else 1
        start = [
            torch.randn(layers, batch, hidden, dtype=dtype, requires_grad=True)
            for _ in range(fields)
        ]
        weights = [torch.randn(batch, steps, hidden, dtype=dtype)]
        weights += [torch.randn(layers, batch, hidden, dtype=dtype) for _ in range(fields)]
    for layer, cell in enumerate(network.cells):
        copy(cell, module, layer)
        assert Choice.named(cell, path).path == path
        cell.path = path
    network.head = nn.Identity()
    network.head.weight = module.weight_ih_l0  # where the network looks for its type

    y, final = module(x, tuple(start) if fields == 2 else start[0])
    wanted = [y, *(final if fields == 2 else [final])]
    types = [type(cell.initial_state(1, device=x.device, dtype=dtype)) for cell in cells]
    states = tuple(
        make_state(*[part[layer] for part in start]) for layer, make_state in enumerate(types)
    )
    z, (_, *after) = network(x, ((), *states))
    found = [z, *[torch.stack(parts) for parts in zip(*after, strict=True)]]

    def total(parts):
        return sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))

    for one, other in zip(found, wanted, strict=True):
        near(one, other, BOUNDS[dtype], "values")
    names = [f"{part}_l{layer}" for layer in range(layers) for part in PARTS]
    mine = [x, *start, *[getattr(cell, part) for cell in network.cells for part in PARTS]]
    theirs = [x, *start, *[getattr(module, name) for name in names]]
    labels = ["input", *["start"] * fields, *names]
    pairs = zip(
        torch.autograd.grad(total(found), mine),
        torch.autograd.grad(total(wanted), theirs),
        strict=True,
    )
    for label, (one, other) in zip(labels, pairs, strict=True):
        near(one, other, BOUNDS[dtype], f"gradient of {label}")


@kinds
@pytest.mark.parametrize(
    ("path", "dtype"),
    [
        ("native", torch.float64),
        ("native", torch.float32),
        ("eager", torch.float64),
        pytest.param("eager", torch.float32, marks=pytest.mark.slow),
    ],
)
@settings(deadline=None, max_examples=6)
@given(size=sizes, layers=st.integers(1, 3))
def test_with_the_same_weights_it_is_torchs(kind, path, dtype, size, layers):
    """Outputs, final states and every gradient equal torch's module, also with layers one on the
    other.
    """
    compare(kind, path, dtype, layers, size)


@kinds
def test_the_equations_are_those_of_the_paper(kind):
    """One step is the textbook's, written out for one unit."""
    cell = make(kind, 1, hidden_size=1).double()
    x, h, c = (torch.tensor([[v]], dtype=torch.float64) for v in (0.7, -0.4, 0.3))
    w, u, b, d = (getattr(cell, part).detach().flatten().tolist() for part in PARTS)

    def gate(index):
        return w[index] * 0.7 + b[index], u[index] * -0.4 + d[index]

    def logistic(value):
        return 1 / (1 + math.exp(-value))

    state = cell.initial_state(1, device=x.device, dtype=x.dtype)
    y, after = cell.step(x, state._replace(h=h, **({"c": c} if kind == "lstm" else {})))
    if kind == "lstm":
        i, f, g, o = (sum(gate(index)) for index in range(4))
        memory = logistic(f) * 0.3 + logistic(i) * math.tanh(g)
        assert after.c.item() == pytest.approx(memory, rel=1e-12)
        wanted = logistic(o) * math.tanh(memory)
    elif kind == "gru":
        r, z = logistic(sum(gate(0))), logistic(sum(gate(1)))
        of_x, of_h = gate(2)
        wanted = (1 - z) * math.tanh(of_x + r * of_h) + z * -0.4
    else:
        wanted = math.tanh(sum(gate(0))) if kind == "rnn_tanh" else max(0.0, sum(gate(0)))
    assert y.item() == pytest.approx(wanted, rel=1e-12)
    assert after.h.item() == y.item()


@kinds
@pytest.mark.parametrize("hidden", [1, 3, 16])
def test_orthogonal_is_orthogonal_gate_by_gate(kind, hidden):
    """Each gate's recurrent map keeps every length; biases are zero."""
    cell, gates = make(kind, 5, hidden_size=hidden, init="orthogonal").double(), KINDS[kind][-1]
    blocks = cell.weight_hh.detach().chunk(gates)
    assert len(blocks) == gates
    for block in blocks:
        torch.testing.assert_close(
            block @ block.mT, torch.eye(hidden, dtype=torch.float64), atol=1e-5, rtol=0
        )
    assert not cell.bias_ih.any() and not cell.bias_hh.any()
    if gates > 1 and hidden > 1:
        assert not torch.equal(blocks[0], blocks[1])


@kinds
def test_identity_is_the_identity_gate_by_gate(kind):
    """Each gate's recurrent map is exactly the identity; biases are zero."""
    cell = make(kind, 5, hidden_size=6, init="identity")
    for block in cell.weight_hh.detach().chunk(KINDS[kind][-1]):
        assert torch.equal(block, torch.eye(6))
    assert not cell.bias_ih.any() and not cell.bias_hh.any()


@kinds
@pytest.mark.parametrize("init", ["xavier", "orthogonal", "identity"])
def test_xavier_fills_its_bound_gate_by_gate(kind, init):
    """A xavier map is uniform within sqrt(6 / (fan in + fan out)) of one gate, not of all gates
    together.
    """
    inputs, hidden = 40, 60
    cell = make(kind, inputs, hidden_size=hidden, init=init)
    maps = [(cell.weight_ih, inputs)] + ([(cell.weight_hh, hidden)] if init == "xavier" else [])
    for weight, fan in maps:
        bound = math.sqrt(6 / (fan + hidden))
        for block in weight.detach().chunk(KINDS[kind][-1]):
            assert 0.98 * bound < block.abs().max() <= bound
            assert block.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@kinds
def test_the_default_is_torchs_distribution(kind):
    """Every weight is uniform within 1/sqrt(H), as torch's module begins; from one seed it is the
    same to the bit.
    """
    hidden, bound = 64, 1 / 8
    cell, module = make(kind, 50, hidden_size=hidden), reference(kind, 50, hidden, 1, torch.float32)
    for part in PARTS:
        mine, theirs = getattr(cell, part).detach(), getattr(module, f"{part}_l0").detach()
        assert mine.shape == theirs.shape
        for weight in (mine, theirs):
            assert 0.9 * bound < weight.abs().max() <= bound
            assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.2)
    with seeded(5):
        mine = make(kind, 50, hidden_size=hidden)
    with seeded(5):
        theirs = reference(kind, 50, hidden, 1, torch.float32)
    for part in PARTS:
        assert torch.equal(getattr(mine, part), getattr(theirs, f"{part}_l0"))


@pytest.mark.parametrize("init", ["uniform", "orthogonal", "xavier", "identity"])
def test_forget_bias_raises_the_forget_gate_alone(init):
    """With forget_bias b the sum of both biases is b higher at the forget gate and the same
    elsewhere.
    """
    found = []
    for bias in (0.0, 1.5):
        with seeded(3):
            maps = make("lstm", 4, hidden_size=5, init=init, forget_bias=bias)
        found.append((maps.bias_ih + maps.bias_hh).detach().chunk(4))
    for index, (without, raised) in enumerate(zip(*found, strict=True)):
        torch.testing.assert_close(raised - without, torch.full((5,), 1.5 if index == 1 else 0.0))


def test_a_raised_forget_gate_keeps_the_memory():
    """With no input and a high forget bias the memory lasts: c after a step is almost c before
    it.
    """
    kept = []
    for bias in (0.0, 8.0):
        cell = make("lstm", 2, hidden_size=3, init="xavier", forget_bias=bias)
        state = cell.initial_state(1, device=torch.device("cpu"), dtype=torch.float32)._replace(
            c=torch.ones(1, 3)
        )
        _, after = cell.step(torch.zeros(1, 2), state)
        kept.append(after.c)
    torch.testing.assert_close(kept[0], torch.full((1, 3), 0.5))
    assert (kept[1] > 0.999).all()
