"""Both ways and blocks: against torch's own module, against the parts by hand, and the same however
they are cut.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from recurra.model.layers import Bidirectional, Block, layer
from recurra.model.network import Network
from recurra.randomness import Noise, seeded
from recurra_cells.gru import GRU
from recurra_cells.lstm import LSTM
from recurra_cells.options import GRUOptions, LSTMOptions
from recurra_encoders.identity import Identity
from recurra_encoders.options import IdentityOptions
from recurra_losses.mse import MSE
from recurra_losses.options import MSEOptions

laws = settings(deadline=None, max_examples=25)


def make(width: int = 5, hidden: int = 4, **options):
    """Return a layer of GRU cells in float64."""
    given_options = GRUOptions(hidden_size=hidden, **options)
    with seeded(3, "layer"):
        return layer(lambda size: GRU(size, given_options), width, given_options).double().eval()


def draw(batch=3, steps=7, width=5, seed=0):
    return torch.randn(
        batch, steps, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def gap(one, other):
    return (one - other).abs().max().item()


@pytest.mark.parametrize("lengths", [None, [7, 3, 5], [1, 7, 2]])
def test_both_ways_are_torchs(lengths):
    """With the same weights the outputs and the gradients are those of nn.LSTM(bidirectional=True),
    packed or not.
    """
    module = nn.LSTM(5, 4, batch_first=True, bidirectional=True).double()
    options = LSTMOptions(hidden_size=4, bidirectional=True)
    ours = layer(lambda size: LSTM(size, options), 5, options).double()
    assert isinstance(ours, Bidirectional) and ours.output_size == 8
    with torch.no_grad():
        for cell, suffix in ((ours.ahead, ""), (ours.back, "_reverse")):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(cell, name).copy_(getattr(module, f"{name}_l0{suffix}"))
    x = draw().requires_grad_()
    if lengths is None:
        wanted = module(x)[0]
        found, _ = ours(x)
    else:
        sizes = torch.tensor(lengths)
        packed = nn.utils.rnn.pack_padded_sequence(x, sizes, batch_first=True, enforce_sorted=False)
        wanted, _ = nn.utils.rnn.pad_packed_sequence(
            module(packed)[0], batch_first=True, total_length=7
        )
        found, _ = ours(x, lengths=sizes)
    assert gap(found, wanted) < 1e-12
    weights = torch.randn_like(wanted)
    grads = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, wanted)]
    assert gap(*grads) < 1e-12


def test_both_ways_stop_at_the_start_of_a_sequence():
    """In packed documents nothing read comes from the next one or from the one before."""
    ours, x = make(bidirectional=True), draw(2)
    reset = torch.zeros(2, 7, dtype=torch.bool)
    reset[0, 3] = reset[1, 1] = reset[1, 5] = True
    y, _ = ours(x, reset=reset)
    for row, cuts in ((0, [0, 3, 7]), (1, [0, 1, 5, 7])):
        for start, stop in zip(cuts, cuts[1:], strict=False):
            alone, _ = ours(x[row : row + 1, start:stop])
            assert gap(y[row, start:stop], alone[0]) < 1e-12


def test_a_block_is_its_parts_by_hand():
    """x + cell(silu(conv(norm(x)))), then x + down(silu(gate) * up)(norm(x)), with torch's own
    functions.
    """
    block = make(block={"norm": "layer", "convolution": 3, "feed_forward": 2.0})
    assert isinstance(block, Block)
    x = draw()
    hidden = functional.layer_norm(x, (5,), block.norm.weight, block.norm.bias)
    kernel = block.convolution.weight.T.unsqueeze(1)  # D 1 k
    padded = functional.pad(hidden.transpose(1, 2), (2, 0))
    hidden = functional.silu(
        functional.conv1d(padded, kernel, block.convolution.bias, groups=5)
    ).transpose(1, 2)
    hidden = x + block.back(block.inner(hidden)[0])
    inside = functional.layer_norm(
        hidden, (5,), block.feed_forward.norm.weight, block.feed_forward.norm.bias
    )
    gate, value = block.feed_forward.up(inside).split(10, dim=-1)
    wanted = hidden + block.feed_forward.down(functional.silu(gate) * value)
    assert gap(block(x)[0], wanted) < 1e-12


@pytest.mark.parametrize("both", [False, True])
def test_rows_of_different_lengths_are_alone(both):
    """In a block too a finished row gives zeros, and what is stored beyond its end has no say, not
    even as NaN.
    """
    block = make(bidirectional=both, block={"convolution": 3, "feed_forward": 1.0})
    x, sizes = draw(), torch.tensor([7, 2, 4])
    poisoned = x.clone()
    for row, size in enumerate(sizes):
        poisoned[row, size:] = float("nan")
    poisoned.requires_grad_()
    y, _ = block(poisoned, lengths=sizes)
    y.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in block.parameters())
    assert torch.isfinite(poisoned.grad).all()
    for row, size in enumerate(sizes):
        alone, _ = block(x[row : row + 1, :size])
        assert gap(y[row, :size], alone[0]) < 1e-12
        assert not y[row, size:].any()


def deep(depth=3):
    """Return a network of blocks with everything in them."""
    options = GRUOptions(hidden_size=4, block={"convolution": 4, "feed_forward": 1.5})
    with seeded(5, "deep"):
        layers = [layer(lambda size: GRU(size, options), 5, options) for _ in range(depth)]
        return Network(Identity(5, IdentityOptions()), layers, MSE(2, MSEOptions())).double().eval()


@laws
@given(cuts=st.lists(st.integers(0, 12), max_size=4), flags=st.integers(0, 2**36 - 1))
def test_a_deep_stack_is_the_same_however_it_is_cut(cuts, flags):
    """Any windows with the state carried give what one window gives, resets and convolution tails
    included.
    """
    network, x = deep(), draw(3, 12)
    reset = torch.tensor([(flags >> index) & 1 for index in range(36)], dtype=torch.bool).view(
        3, 12
    )
    whole, last = network(x, reset=reset)
    states, parts = network.initial_states(3), []
    edges = [0, *sorted(cuts), 12]
    for start, stop in zip(edges, edges[1:], strict=False):
        part, states = network(x[:, start:stop], states, reset=reset[:, start:stop])
        parts.append(part)
    assert gap(torch.cat(parts, dim=1), whole) < 1e-12
    for one, other in zip(states, last, strict=True):
        assert all(gap(a, b) < 1e-12 for a, b in zip(one, other, strict=True))


def test_a_deep_stack_has_a_closing_norm_and_a_clear_path():
    """The head reads normalised outputs; with branches that give nothing the stack is the norm of
    its input.
    """
    network, x = deep(8), draw()
    with torch.no_grad():
        for block in network.layers:
            block.back.weight.zero_()
            block.back.bias.zero_()
            block.feed_forward.down.weight.zero_()
            block.feed_forward.down.bias.zero_()
    wanted = network.head(functional.rms_norm(x, (5,), network.norm.weight))
    assert gap(network(x)[0], wanted) < 1e-12


def test_a_gradient_reaches_the_first_of_many_blocks():
    """Through 24 blocks the first one's gradient is no smaller than a hundredth of the last
    one's.
    """
    network = deep(24)
    network(draw())[0].square().mean().backward()
    first, last = (network.layers[index].inner.weight_ih.grad.norm() for index in (0, -1))
    assert first > last / 100


def test_dropout_falls_on_the_branches_alone():
    """In a block the path of the residuals is never dropped: with dropout near 1, what comes in
    goes out.
    """
    block = make(dropout=0.999999, block={})
    block.train()
    x = draw()
    torch.manual_seed(0)
    assert gap(block(x)[0], x) < 1e-12
    assert gap(block.eval()(x)[0], x) > 1e-3


def test_every_dropout_draws_from_the_networks_stream():
    """The noise of blocks and of plain layers comes from the stream that a checkpoint keeps."""
    options = GRUOptions(hidden_size=5, dropout=0.5, block={})
    plain = GRUOptions(hidden_size=5, dropout=0.5)
    layers = [layer(lambda size: GRU(size, options), 5, options), GRU(5, plain)]
    network = Network(Identity(5, IdentityOptions()), layers, MSE(2, MSEOptions())).double().train()
    found = []
    for salt in (1, 1, 2):
        network.noise = Noise(7)
        torch.manual_seed(salt)
        found.append(network(draw())[0])
        assert not torch.equal(network(draw())[0], found[-1])
    assert torch.equal(found[0], found[2]) and torch.equal(found[0], found[1])


def test_lengths_beyond_the_window_are_its_end():
    """A length above T means the whole window, both ways as in a cell."""
    ours, x = make(bidirectional=True), draw()
    assert gap(ours(x, lengths=torch.tensor([9, 7, 8]))[0], ours(x)[0]) < 1e-12
