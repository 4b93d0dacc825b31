"""A step as one kernel: where it begins, that it is the network's step, and what becomes of it when
things change.
"""

from __future__ import annotations

import shutil
import threading

import pytest
import torch

from recurra.contracts.options import BlockOptions
from recurra.engine.fused.step import Step
from recurra.model import stepper as steppers
from recurra.model.layers import Block
from recurra.model.network import Network
from recurra.model.stepper import Packed, stepper
from recurra.randomness import seeded
from recurra_cells.gru import GRU
from recurra_cells.lstm import LSTM
from recurra_cells.mingru import MinGRU
from recurra_cells.options import GRUOptions, LSTMOptions
from recurra_cells.scan_options import MinGRUOptions
from recurra_encoders.convolution import Convolution
from recurra_encoders.embedding import Embedding
from recurra_encoders.identity import Identity
from recurra_encoders.linear import Linear
from recurra_encoders.one_hot import OneHot
from recurra_encoders.options import (
    ConvolutionOptions,
    EmbeddingOptions,
    IdentityOptions,
    LinearOptions,
    OneHotOptions,
)
from recurra_losses.cross_entropy import CrossEntropy
from recurra_losses.options import CrossEntropyOptions

SYMBOLS, FEATURES, WIDTH = 7, 3, 6

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="without a compiler there are no kernels",
)


def layers(first, stack):
    if stack == "lstm":
        return [
            LSTM(first, LSTMOptions(hidden_size=WIDTH)),
            LSTM(WIDTH, LSTMOptions(hidden_size=WIDTH)),
        ]
    if stack == "mixed":
        return [
            GRU(first, GRUOptions(hidden_size=5)),
            LSTM(5, LSTMOptions(hidden_size=4, layer_norm=True)),
        ]
    options = BlockOptions(feed_forward=2)
    return [
        Block(MinGRU(first, MinGRUOptions(hidden_size=first)), first, options) for _ in range(2)
    ]


ENCODERS = {
    "embedding": (lambda: Embedding(SYMBOLS, EmbeddingOptions(size=4)), "ids"),
    "one_hot": (lambda: OneHot(SYMBOLS, OneHotOptions()), "ids"),
    "linear": (lambda: Linear(FEATURES, LinearOptions(size=4)), "rows"),
    "identity": (lambda: Identity(FEATURES, IdentityOptions()), "rows"),
    "convolution": (lambda: Convolution(FEATURES, ConvolutionOptions(size=4, width=2)), "encoded"),
}


def network(encoder="embedding", stack="lstm", dtype=torch.float32):
    with seeded(0):
        first = ENCODERS[encoder][0]()
        loss = CrossEntropy(SYMBOLS, CrossEntropyOptions())
        return Network(first, layers(first.output_size, stack), loss).to(dtype).eval()


def inputs(encoder, rows, count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    if ENCODERS[encoder][1] == "ids":
        return list(torch.randint(SYMBOLS, (count, rows), generator=generator))
    return list(torch.randn(count, rows, FEATURES, generator=generator, dtype=dtype))


def by_network(made, xs):
    """Return the outputs and the last states of the network itself, step by step."""
    states, found = made.initial_states(len(xs[0])), []
    with torch.no_grad():
        for x in xs:
            output, states = made(x.unsqueeze(1), states)
            found.append(output[:, 0])
    return torch.stack(found), states


def by_stepper(made, xs, states=None):
    """Return the same of its stepper."""
    make = stepper(made)
    states, found = states or made.initial_states(len(xs[0])), []
    for x in xs:
        output, states = make(made, x, states)
        found.append(output)
    return torch.stack(found), states


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Make a kernel after two steps."""
    monkeypatch.setattr(steppers, "AFTER", 2)


def networks():
    """Return each encoder with each stack in each type; all are slow but one type of each two, in
    turns.
    """
    found = []
    for row, encoder in enumerate(ENCODERS):
        for column, stack in enumerate(["lstm", "mixed", "blocks"]):
            for turn, dtype in enumerate([torch.float32, torch.float64]):
                marks = [] if (row + column + turn) % 2 == 0 else [pytest.mark.slow]
                found.append(pytest.param(encoder, stack, dtype, marks=marks))
    return found


@pytest.mark.parametrize("rows", [1, pytest.param(2, marks=pytest.mark.slow), 5])
@pytest.mark.parametrize(("encoder", "stack", "dtype"), networks())
def test_steps_are_those_of_the_network(encoder, stack, dtype, rows):
    """Wherever a kernel begins, outputs and states are the network's, and it begins as early as it
    can.
    """
    made, xs = network(encoder, stack, dtype), inputs(encoder, rows, 6, dtype)
    expected, last = by_network(made, xs)
    found, states = by_stepper(made, xs)
    assert stepper(made).objection is None and stepper(made).kernel.begin == ENCODERS[encoder][1]
    near = {"rtol": 0, "atol": 2e-6 if dtype == torch.float32 else 1e-12}
    torch.testing.assert_close(found, expected, **near)
    assert isinstance(states, Packed)
    for state, other in zip(stepper(made).states(states), last, strict=True):
        assert type(state) is type(other)
        for field, right in zip(state, other, strict=True):
            torch.testing.assert_close(field, right, **near)


TABLES = {
    "no vectors": ("one_hot", SYMBOLS * SYMBOLS * 8 - 1, "encoded", None),
    "vectors": ("one_hot", SYMBOLS * SYMBOLS * 8, "ids", [SYMBOLS]),
    "vectors that are kept": ("embedding", 1, "ids", [4]),
}
"""Encoders, how large a table may be in float64, in which a kernel is proved, where the kernel then
begins, and how wide what it reads is.
"""


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_would_be_too_large_is_not_made(case, rows, monkeypatch):
    """With more symbols than a table of products may have, it is one of vectors, and that of the
    encoder itself where it has one; else the kernel begins behind the encoder. It is right.
    """
    encoder, largest, begin, widths = TABLES[case]
    made, xs = network(encoder), inputs(encoder, rows, 5)
    monkeypatch.setattr(steppers, "LARGEST", largest)
    monkeypatch.setattr("recurra.engine.fused.step.LARGEST", largest)
    torch.testing.assert_close(by_stepper(made, xs)[0], by_network(made, xs)[0])
    kernel = stepper(made).kernel
    assert kernel.begin == begin
    if widths is None:
        return
    torch.testing.assert_close(by_stepper(made, xs)[0], by_network(made, xs)[0])
    assert [table.shape[1] for table in kernel.step.tables] == widths
    if encoder == "embedding":
        assert kernel.step.tables[0].data_ptr() == made.encoder.table.weight.data_ptr()
        with torch.no_grad():
            made.encoder.table.weight.mul_(-3)
        torch.testing.assert_close(by_stepper(made, xs)[0], by_network(made, xs)[0])


@pytest.mark.parametrize("which", ["encoder.weight", "layers.0", "head.bias"])
def test_weights_that_change_are_read_again(which):
    """A weight changed in place is seen by the next step, one changed behind torch's back by the
    next session.
    """
    made, xs = network(), inputs("embedding", 1, 4)
    by_stepper(made, xs)
    weight = next(
        w for name, w in made.named_parameters() if name.startswith(which.removesuffix(".weight"))
    )
    with torch.no_grad():
        weight.mul_(3)
    torch.testing.assert_close(by_stepper(made, xs)[0], by_network(made, xs)[0])
    weight.data *= -2
    torch.testing.assert_close(by_stepper(made, xs)[0], by_network(made, xs)[0])


def test_a_network_in_training_steps_by_itself():
    """Dropout and the like are the network's; it goes on from where the kernel was."""
    made, xs = network(), inputs("embedding", 2, 6)
    _, states = by_stepper(made, xs[:4])
    made.train()
    found, after = by_stepper(made, xs[4:], states)
    torch.testing.assert_close(found, by_network(made, xs)[0][4:])
    assert not isinstance(after, Packed)


def test_rows_may_come_and_go():
    """A step for other rows than the last has buffers of its own size."""
    made = network()
    by_stepper(made, inputs("embedding", 3, 4))
    for rows in (1, 4, 1, 2):
        xs = inputs("embedding", rows, 3)
        torch.testing.assert_close(by_stepper(made, xs)[0], by_network(made, xs)[0])


def test_threads_share_a_step():
    """Sessions in several threads, each with rows of its own number, do not disturb each other."""
    made = network()
    by_stepper(made, inputs("embedding", 1, 4))
    wrong = []

    def work(rows):
        xs = inputs("embedding", rows, 150)
        if not torch.allclose(by_stepper(made, xs)[0], by_network(made, xs)[0], atol=1e-5):
            wrong.append(rows)

    workers = [threading.Thread(target=work, args=(rows,)) for rows in (1, 2, 3, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_what_does_not_fit_is_refused():
    """A kernel reads where it is told: an input or a state of another size never reaches it."""
    made = network()
    _, states = by_stepper(made, inputs("embedding", 1, 4))
    step = stepper(made).kernel.step
    for symbol in (-1, SYMBOLS):
        with pytest.raises(IndexError):
            step(torch.tensor([symbol]), states.layers)
        with pytest.raises(IndexError):
            step(torch.tensor([0, symbol]), states.layers.repeat(2))
    with pytest.raises(ValueError, match="for 2 rows"):
        step(torch.tensor([0, 1]), states.layers)
    with pytest.raises(ValueError, match="a state field"):
        step.packed([torch.zeros(1, WIDTH + 1)] + [torch.zeros(1, WIDTH)] * 3)
    other = network("linear")
    _, states = by_stepper(other, inputs("linear", 1, 4))
    for wrong in (torch.zeros(1, FEATURES + 1), torch.zeros(1, FEATURES, dtype=torch.float64)):
        with pytest.raises(ValueError, match="an input"):
            stepper(other).kernel.step(wrong, states.layers)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_kernel_that_is_not_the_network_s_is_not_taken(rows, monkeypatch):
    """One number off by a millionth, in a step of one row or of several, and the network steps by
    itself.
    """
    honest = Step.__call__

    def lying(self, x, state):
        y, after = honest(self, x, state)
        return (y + 1e-6 if len(x) == rows else y), after

    monkeypatch.setattr(Step, "__call__", lying)
    made, xs = network(), inputs("embedding", 1, 4)
    torch.testing.assert_close(by_stepper(made, xs)[0], by_network(made, xs)[0], rtol=0, atol=0)
    assert stepper(made).kernel is None
    assert "differs by 1.0e-06" in stepper(made).objection
