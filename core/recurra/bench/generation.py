"""Rows 8 and 9: generation through a session, beside a loop by hand round torch's own modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from recurra.bench.clock import Turn, pairs
from recurra.bench.layers import chosen_paths
from recurra.bench.records import Finding, Setting, Shape
from recurra.bench.tasks import built
from recurra.contracts.vocabulary import Vocabulary
from recurra.generate.sampling import Sampling
from recurra.generate.session import Session
from recurra.model.network import Network
from recurra.model.stepper import AFTER, stepper

LAYERS = 2
SINGLES = 8
"""Single streams that are run in turn: each takes as long as the next."""


class Naive:
    """Generation as one writes it by hand: torch's modules, a symbol a step, the likeliest."""

    def __init__(self, network: Network) -> None:
        size, width = network.head.weight.shape
        self.embedding = nn.Embedding(size, width)
        self.layers = nn.LSTM(width, width, num_layers=LAYERS, batch_first=True)
        self.head = nn.Linear(width, size)

        embedding = next(network.encoder.parameters()).detach()
        self.embedding.load_state_dict({"weight": embedding})
        self.head.load_state_dict(network.head.state_dict())

        # One nn.LSTM holds all layers: weight_hh of the second is its weight_hh_l1.
        weights = {}
        for depth, cell in enumerate(network.cells):
            for name, weight in cell.named_parameters():
                weights[f"{name}_l{depth}"] = weight.detach()
        self.layers.load_state_dict(weights)

    def draw(self, first: int, length: int) -> list[int]:
        """Return the symbols after a first one."""
        symbols: list[int] = []
        x, state = torch.tensor([[first]]), None
        with torch.no_grad():
            for _ in range(length):
                hidden, state = self.layers(self.embedding(x), state)
                x = self.head(hidden[:, -1]).argmax(dim=-1, keepdim=True)
                symbols.append(int(x))
        return symbols


def session_against_naive(shape: Shape, setting: Setting) -> Finding:
    """Measure one stream of a session beside the loop by hand.

    The weights alone are what each symbol must read.
    """
    network, vocabulary = warmed(shape.width)
    naive = Naive(network)

    def session() -> None:
        drawn(network, vocabulary, shape.steps)

    def by_hand() -> None:
        naive.draw(0, shape.steps)

    ours, other = pairs(session, by_hand, setting.pairs)
    return _finding(network, ours, other, shape.steps, shape.steps)


def streams_against_singles(shape: Shape, setting: Setting) -> Finding:
    """Measure many streams at once beside single ones in turn, by the time of a symbol."""
    network, vocabulary = warmed(shape.width)

    def single() -> None:
        drawn(network, vocabulary, shape.steps)

    return _streams_beside(single, network, vocabulary, shape, setting)


def streams_against_naive(shape: Shape, setting: Setting) -> Finding:
    """Measure many streams at once beside the loop by hand, by the time of a symbol.

    The loop runs one stream after the other.
    """
    network, vocabulary = warmed(shape.width)
    naive = Naive(network)

    def single() -> None:
        naive.draw(0, shape.steps)

    return _streams_beside(single, network, vocabulary, shape, setting)


def _streams_beside(
    single: Turn, network: Network, vocabulary: Vocabulary[Any], shape: Shape, setting: Setting
) -> Finding:
    """Measure many streams of a session at once beside turns that draw a single one."""

    def together() -> None:
        drawn(network, vocabulary, shape.steps, shape.batch)

    def in_turn() -> None:
        for _ in range(SINGLES):
            single()

    ours, other = pairs(together, in_turn, setting.pairs)
    our_symbols = shape.batch * shape.steps
    other_symbols = SINGLES * shape.steps
    return _finding(network, ours, other, our_symbols, other_symbols)


def drawn(
    network: Network,
    vocabulary: Vocabulary[Any],
    length: int,
    streams: int = 1,
    sampling: Sampling | None = None,
) -> list[list[int]]:
    """Return the symbols that a new session draws, a list a step; greedily unless told otherwise.

    It goes on from the first symbol of the vocabulary.
    """
    session = begun(network, vocabulary, streams)
    return [ids.tolist() for ids in session.draw_many(length, sampling or Sampling())]


def warmed(width: int) -> tuple[Network, Vocabulary[Any]]:
    """Return a network of this width whose steps are compiled already, and its vocabulary."""
    changes = {
        "encoder.size": width,
        "cell.hidden_size": width,
        "cell.num_layers": LAYERS,
        "device.kind": "cpu",
    }
    data, network = built(1 << 14, changes)
    session = begun(network, data.vocabulary)
    for _ in range(AFTER):  # from then on its steps are compiled
        session.draw(Sampling())
    return network, data.vocabulary


def begun(network: Network, vocabulary: Vocabulary[Any], streams: int = 1) -> Session:
    """Return a new session that has read the first symbol of the vocabulary."""
    first = torch.zeros(1, dtype=torch.long)
    return Session(network, vocabulary, streams=streams).feed_ids(first.numpy())


def _finding(
    network: Network,
    ours: list[float],
    other: list[float],
    our_symbols: int,
    other_symbols: int,
) -> Finding:
    """Return the seconds of a symbol on both sides, and what a symbol of ours costs at the least.

    `ours` and `other` are the seconds of turns, and a turn draws so many symbols.
    """
    weights = 0
    for module in (*network.cells, network.head):
        weights += sum(weight.numel() for weight in module.parameters())

    ours = [seconds / our_symbols for seconds in ours]
    other = [seconds / other_symbols for seconds in other]

    if stepper(network).kernel is not None:
        path = "one kernel"
    else:
        path = chosen_paths(network.cells, stepwise=True)

    # A stream alone reads every weight for each symbol, and the other draws as much. Many streams
    # share the reading, and their products are what costs.
    alone = our_symbols == other_symbols
    if alone:
        return Finding(ours, other, bytes=4.0 * weights, path=path)
    return Finding(ours, other, flops=2.0 * weights, path=path)
