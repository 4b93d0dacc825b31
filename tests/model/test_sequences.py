"""Whole sequences are answered as a plain loop would: one sequence at a time, one step after the
other.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recurra.contracts.options import BlockOptions
from recurra.model import sequences
from recurra.model.layers import layer
from recurra.model.network import Network, detached
from recurra.model.pooling import POOLINGS
from recurra.randomness import seeded
from recurra_cells.gru import GRU
from recurra_cells.lstm import LSTM
from recurra_cells.mingru import MinGRU
from recurra_cells.options import GRUOptions, LSTMOptions
from recurra_cells.scan_options import MinGRUOptions
from recurra_encoders.convolution import Convolution
from recurra_encoders.embedding import Embedding
from recurra_encoders.options import ConvolutionOptions, EmbeddingOptions
from recurra_losses.cross_entropy import CrossEntropy
from recurra_losses.options import CrossEntropyOptions

SYMBOLS, CLASSES, WIDTH = 5, 3, 4
BLOCK = BlockOptions(convolution=3, feed_forward=1.5)

NETS = {
    "lstm": ("embedding", LSTM, LSTMOptions(hidden_size=3), 1),
    "gru after a convolution": ("convolution", GRU, GRUOptions(hidden_size=3), 2),
    "blocks": ("embedding", GRU, GRUOptions(hidden_size=3, block=BLOCK), 2),
    "scan": ("embedding", MinGRU, MinGRUOptions(hidden_size=3), 2),
    "both ways": ("convolution", GRU, GRUOptions(hidden_size=3, bidirectional=True), 1),
}
CAUSAL = [name for name in NETS if name != "both ways"]


def network(name: str, pooled: str) -> Network:
    """Return a small network in float64, whose pooling has learned something already."""
    kind, cell, options, count = NETS[name]
    with seeded(1):
        if kind == "embedding":
            encoder = Embedding(SYMBOLS, EmbeddingOptions(size=WIDTH))
        else:
            encoder = Convolution(SYMBOLS, ConvolutionOptions(size=WIDTH, width=3))
        layers, width = [], WIDTH
        for _ in range(count):
            layers.append(layer(lambda size: cell(size, options), width, options))
            width = layers[-1].output_size
        made = Network(encoder, layers, CrossEntropy(CLASSES, CrossEntropyOptions()), pooled)
        for weight in made.pool.parameters():
            torch.nn.init.normal_(weight)
    return made.double()


def drawn(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids, also where rows have ended, and how many steps each row has."""
    stream = torch.Generator().manual_seed(sum(lengths))
    return torch.randint(SYMBOLS, (len(lengths), max(lengths)), generator=stream), torch.tensor(
        lengths
    )


def plain(made: Network, x: torch.Tensor, steps: torch.Tensor, window: int) -> torch.Tensor:
    """Return the outputs of a loop; what lies before the last `window` steps of a row is a
    constant, if not 0.
    """
    rows = []
    for row, length in zip(x, steps.tolist(), strict=True):
        before = max(length - window, 0) if window and not made.reads_both_ways else 0
        hidden = outputs(made, row[:length], before)
        rows.append(made.head(pooled(made, hidden, before)))
    return torch.stack(rows)


def outputs(made: Network, row: torch.Tensor, before: int) -> torch.Tensor:
    """Return what the head reads of each step of a row, `[T, H]`."""
    if made.reads_both_ways:
        return both_ways(made, row)
    states, found = made.initial_states(1), []
    for at, symbol in enumerate(row):
        if at == before and before:
            states = detached(states)
        hidden, states = made.hidden(symbol[None, None], states)
        found.append(hidden[0, 0].detach() if at < before else hidden[0, 0])
    return torch.stack(found)


def both_ways(made: Network, row: torch.Tensor) -> torch.Tensor:
    """Return what two cells give, each stepped by itself from its own end of the row."""
    states, encoded = made.initial_states(1), []
    state = states[0]
    for symbol in row:
        vector, state = made.encode(symbol[None, None], state)
        encoded.append(vector)
    sides = []
    for cell, vectors in ((made.layers[0].ahead, encoded), (made.layers[0].back, encoded[::-1])):
        state, found = None, []
        for vector in vectors:
            y, state = cell(vector, state)
            found.append(y[0, 0])
        sides.append(torch.stack(found))
    return torch.cat([sides[0], sides[1].flip(0)], dim=-1)


def pooled(made: Network, hidden: torch.Tensor, before: int) -> torch.Tensor:
    """Return one vector of the steps `[T, H]` by the formula; the weights of the first `before` are
    constants.
    """
    kind = next(name for name, pool in POOLINGS.items() if type(made.pool) is pool)
    if kind == "attention":
        weight = (hidden @ made.pool.query).exp()
        weight = torch.cat([weight[:before].detach(), weight[before:]])
        return (weight[:, None] * hidden).sum(dim=0) / weight.sum()
    return {"last": hidden[-1], "mean": hidden.mean(dim=0), "max": hidden.amax(dim=0)}[kind]


def gradients(made: Network, output: torch.Tensor) -> list[torch.Tensor]:
    """Return the gradient of every weight, zeros where it has none."""
    weights = [weight for weight in made.parameters() if weight.requires_grad]
    share = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
    found = torch.autograd.grad((output * share).sum(), weights, allow_unused=True)
    return [
        torch.zeros_like(w) if grad is None else grad
        for w, grad in zip(weights, found, strict=True)
    ]


def close(one: torch.Tensor, other: torch.Tensor, bound: float = 1e-12) -> bool:
    return bool(torch.allclose(one, other, rtol=bound, atol=bound))


ragged = st.lists(st.integers(1, 60), min_size=1, max_size=3)


@pytest.mark.parametrize("pool", POOLINGS)
@pytest.mark.parametrize("name", NETS)
@settings(max_examples=1, deadline=None)
@example(lengths=[1, 29, 9], window=7)
@given(lengths=ragged, window=st.sampled_from([0, 1, 7, 64]))
def test_answers_are_those_of_a_plain_loop(name, pool, lengths, window):
    """So are the gradients, with what lies before the last window held fast; and reading in pieces
    gives the same.
    """
    made, (x, steps) = network(name, pool), drawn(lengths)
    output = sequences.answers(made, x, steps, window)
    wanted = plain(made, x, steps, window)
    assert output.shape == (len(lengths), CLASSES) and close(output, wanted)
    for own, right in zip(gradients(made, output), gradients(made, wanted), strict=True):
        assert close(own, right, 1e-10)
    with torch.no_grad():
        assert close(sequences.read(made, x, steps, window or 512), wanted)


@pytest.mark.parametrize("pool", POOLINGS)
@pytest.mark.parametrize("name", NETS)
def test_other_rows_change_nothing(name, pool, monkeypatch):
    """Each sequence alone is answered as in a batch, wherever its row stands and whatever follows
    its end.
    """
    # What lies before a window is read in several runs.
    monkeypatch.setattr(sequences, "LONGEST", 4)
    made, (x, steps) = network(name, pool), drawn([12, 1, 31, 5])
    alone = torch.cat(
        [
            sequences.answers(made, x[i : i + 1, :n], steps[i : i + 1], 3)
            for i, n in enumerate(steps)
        ]
    )
    order = torch.tensor([2, 0, 3, 1])
    ended = torch.arange(x.shape[1]) >= steps[:, None]
    for other in (x, torch.where(ended, (x + 1) % SYMBOLS, x)):
        assert close(sequences.answers(made, other, steps, 3), alone)
        assert close(sequences.answers(made, other[order], steps[order], 3), alone[order])
        assert close(sequences.read(made, other, steps, 3), alone)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_longer_window_sees_more(name):
    """A window that holds all is no window; a shorter one gives the same answers and other
    gradients.
    """
    made, (x, steps) = network(name, "last"), drawn([20, 11])
    outputs = [sequences.answers(made, x, steps, window) for window in (20, 0, 5)]
    assert torch.equal(outputs[0], outputs[1]) and close(outputs[0], outputs[2])
    whole, same, short = (gradients(made, output)[0] for output in outputs)
    assert torch.equal(whole, same) and not close(whole, short, 1e-6)


@settings(max_examples=20, deadline=None)
@given(
    pool=st.sampled_from(sorted(POOLINGS)),
    cuts=st.sets(st.integers(1, 11), max_size=4),
    data=st.data(),
)
def test_pooling_is_the_same_in_any_pieces(pool, cuts, data):
    """Steps may come in pieces cut anywhere; what stands after the end of a row may be anything."""
    stream = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    made = network("lstm", pool).pool
    hidden = torch.randn(2, 12, made.width, generator=stream, dtype=torch.float64) * 30
    valid = torch.arange(12) < torch.tensor([[data.draw(st.integers(1, 12))], [12]])
    hidden[~valid] = float("nan")
    edges = [0, *sorted(cuts), 12]
    sums = made.begin(hidden, 2)
    for low, high in pairwise(edges):
        sums = made.add(sums, hidden[:, low:high], valid[:, low:high])
    whole = made.give(made.add(made.begin(hidden, 2), hidden, valid))
    assert torch.isfinite(whole).all() and close(made.give(sums), whole)
