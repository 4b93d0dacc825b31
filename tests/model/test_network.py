"""The network: dropout in training alone, the precision asked for, states that are saved and come
back.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from recurra import InputError
from recurra.errors import OtherVersion
from recurra.model.device import DTYPES, arithmetic, choose, of_here
from recurra.model.network import Network, detached, flatten, unflatten
from recurra.randomness import Noise, seeded
from recurra.spec.tables import Device
from recurra_cells.gru import GRU
from recurra_cells.lstm import LSTM
from recurra_cells.options import GRUOptions, LSTMOptions
from recurra_encoders.embedding import Embedding
from recurra_encoders.identity import Identity
from recurra_encoders.one_hot import OneHot
from recurra_encoders.options import EmbeddingOptions, IdentityOptions, OneHotOptions
from recurra_losses.cross_entropy import CrossEntropy
from recurra_losses.options import CrossEntropyOptions

SYMBOLS = 5


def network(dropout=0.0, precision="float32", seed=0, hidden=6):
    with seeded(seed):
        cells = [
            LSTM(4, LSTMOptions(hidden_size=hidden, dropout=dropout)),
            GRU(hidden, GRUOptions(hidden_size=3, dropout=dropout)),
        ]
        loss = CrossEntropy(SYMBOLS, CrossEntropyOptions())
        made = Network(Embedding(SYMBOLS, EmbeddingOptions(size=4)), cells, loss)
    made = made.to(DTYPES[precision])
    made.narrow = precision == "bfloat16"
    made.noise = Noise(seed)
    return made


def ids(batch=3, steps=7, seed=0):
    return torch.randint(SYMBOLS, (batch, steps), generator=torch.Generator().manual_seed(seed))


def same(states, others, equal=torch.equal):
    """Return whether states of all layers agree, field by field."""
    return all(
        type(one) is type(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
        for one, other in zip(states, others, strict=True)
    )


def test_the_network_is_its_parts_one_after_the_other():
    """Encoder, each layer, head: what the network gives is what the parts give by hand."""
    made, x = network().eval(), ids()
    hidden, states = made.encoder(x), [()]
    for cell in made.cells:
        hidden, state = cell(hidden)
        states.append(state)
    y, after = made(x)
    assert y.shape == (3, 7, SYMBOLS)
    assert torch.equal(y, made.head(hidden))
    assert same(after, states)


def test_states_and_resets_reach_every_layer():
    """Chunks with all states carried equal the whole; a reset of every row equals a fresh start."""
    made, x = network(precision="float64").eval(), ids(steps=8)
    whole, final = made(x)
    first, states = made(x[:, :5])
    second, last = made(x[:, 5:], states)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-12, rtol=0)
    assert same(last, final, torch.allclose)
    reset = torch.zeros(3, 3, dtype=torch.bool)
    reset[:, 0] = True
    torch.testing.assert_close(
        made(x[:, 5:], states, reset=reset)[0], made(x[:, 5:])[0], atol=1e-12, rtol=0
    )


def test_dropout_draws_from_its_own_stream_in_training_alone():
    """Evaluation draws nothing; training draws by the seed and leaves the global generator where it
    was.
    """
    made, x = network(dropout=0.5), ids()
    state = torch.get_rng_state()
    plain, _ = network()(x)
    assert torch.equal(made.eval()(x)[0], plain)
    assert not made.noise.calls
    one, two = made.train()(x)[0], made(x)[0]
    assert not torch.equal(one, two)
    assert not torch.equal(one, plain)
    made.noise.begin(0)
    assert torch.equal(made(x)[0], one)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_dropout_draws_nothing_in_training():
    """A share of 0 asks nothing of the stream."""
    made = network().train()
    made(ids())
    assert not made.noise.calls


def test_dropout_falls_on_outputs_and_keeps_their_mean():
    """The share is dropped, the rest is scaled up, and the recurrence itself is untouched."""
    made = network(dropout=0.25, hidden=400).train()
    made.head = nn.Identity()
    made.head.weight = made.cells[0].weight_ih
    made.layers = made.layers[:1]
    x = ids(batch=8, steps=20)
    y, states = made(x)
    plain, kept = made.eval()(x)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(y[y != 0], plain[y != 0] / 0.75)
    assert all(torch.equal(a, b) for a, b in zip(states[0], kept[0], strict=True))


def test_float64_is_float64_throughout():
    """Weights, outputs and states are of the precision asked for; it agrees with float32 to
    float32's rounding.
    """
    wide, narrow = network(precision="float64").eval(), network().eval()
    y, states = wide(ids())
    assert {y.dtype, *(field.dtype for state in states for field in state)} == {torch.float64}
    assert {weight.dtype for weight in wide.parameters()} == {torch.float64}
    torch.testing.assert_close(narrow(ids())[0].double(), y, atol=1e-5, rtol=0)


@pytest.mark.parametrize("encoder", ["embedding", "one_hot", "identity"])
def test_bfloat16_keeps_states_wide_and_stays_close(encoder):
    """Under bfloat16 outputs, states and gradients are float32, near those of float32 and not equal
    to them.
    """
    made, other = network(precision="bfloat16").train(), network().train()
    if encoder != "embedding":
        width = SYMBOLS if encoder == "one_hot" else 2
        for each in (made, other):
            with seeded(1):
                each.encoder = (
                    OneHot(SYMBOLS, OneHotOptions())
                    if encoder == "one_hot"
                    else Identity(2, IdentityOptions())
                )
                each.layers[0] = LSTM(width, LSTMOptions(hidden_size=6))
    x = torch.randn(3, 7, 2) if encoder == "identity" else ids()
    y, states = made(x)
    wanted, _ = other(x)
    assert {y.dtype, *(field.dtype for state in states for field in state)} == {torch.float32}
    y.sin().sum().backward()
    assert {weight.grad.dtype for weight in made.parameters()} == {torch.float32}
    gap = (y - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
    assert 0 < gap < 2e-2


def test_states_saved_by_name_come_back():
    """unflatten(flatten(s)) is s, of the same types; what was saved is a copy."""
    made = network()
    _, states = made(ids())
    saved = flatten(states)
    assert sorted(saved) == ["0.c", "0.h", "1.h"]
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in saved.values())
    back = unflatten(made.initial_states(3), saved)
    assert [type(state) for state in back] == [type(state) for state in states]
    assert same(back, states)
    saved["0.h"].zero_()
    assert states[1].h.any()


def test_states_of_another_network_do_not_come_back():
    """A missing or a foreign field, another width and another precision are errors that name the
    field.
    """
    made = network()
    saved = flatten(made(ids())[1])
    like = made.initial_states(3)
    with pytest.raises(KeyError, match=r"1\.h"):
        unflatten(like, {name: tensor for name, tensor in saved.items() if name != "1.h"})
    with pytest.raises(
        ValueError, match=r"state 2\.h has no place here, where the states are 0\.c, 0\.h, 1\.h"
    ):
        unflatten(like, saved | {"2.h": saved["1.h"]})
    with pytest.raises(
        ValueError, match=r"state 0\.c is \(3, 2\) torch.float32, not \(3, 6\) torch.float32"
    ):
        unflatten(like, saved | {"0.c": saved["0.c"][:, :2]})
    with pytest.raises(ValueError, match=r"state 1\.h is .* torch.float64, not .* torch.float32"):
        unflatten(like, saved | {"1.h": saved["1.h"].double()})


def test_a_state_without_names_is_numbered():
    """A plain tuple of tensors is saved by index, and comes back as a tuple."""

    class Named(NamedTuple):
        h: Tensor

    states = ((), (torch.ones(2, 3), torch.zeros(2, 1)), Named(torch.full((2, 2), 7.0)))
    saved = flatten(states)
    assert sorted(saved) == ["0.0", "0.1", "1.h"]
    back = unflatten(states, saved)
    assert [type(state) for state in back] == [tuple, tuple, Named]
    assert torch.equal(back[2].h, states[2].h)


def test_detached_touches_every_field():
    """A detached state holds the same values without a graph."""
    made = network()
    _, states = made(ids())
    assert all(field.requires_grad for state in states for field in state)
    for one, other in zip(detached(states), states, strict=True):
        assert type(one) is type(other)
        assert all(
            torch.equal(a, b) and not a.requires_grad for a, b in zip(one, other, strict=True)
        )


def test_arithmetic_is_put_back():
    """Threads and determinism are set inside and as before outside, also after an error."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError), arithmetic(Device(threads=2, determinism="strict")):
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert torch.backends.cudnn.allow_tf32


def test_a_device_that_is_not_there_is_refused():
    """The error names the device and those of this machine; cpu is always one."""
    assert choose(Device(kind="cpu")).type == "cpu"
    with pytest.raises(ValueError, match="pattern"):
        Device(kind="abacus")
    with pytest.raises(InputError, match=r"no cuda:99(.|\n)*allowed: cpu"):
        choose(Device(kind="cuda:99"))


def test_a_run_of_another_machines_device_takes_one_of_here():
    """It says which was asked for and which is taken; a device that is here is taken without a
    word.
    """
    there = Device(kind="cuda:99", precision="float64", threads=2)
    with pytest.warns(OtherVersion, match=r"asks for cuda:99, and this machine has cpu.* is used"):
        found = of_here(there)
    assert found == there.model_copy(update={"kind": "auto"})
    assert choose(found).type in ("cpu", "cuda")
    for kind in ("cpu", "auto"):
        assert of_here(Device(kind=kind)) == Device(kind=kind)
