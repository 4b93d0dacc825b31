"""Rows 8 and 9: generation through a session, beside a loop by hand round torch's own modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from recurra.bench.clock import pairs
from recurra.bench.layers import taken
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
    """Generation as one writes it by hand: torch's modules, a symbol at a time, always the
    likeliest.
    """

    def __init__(self, network: Network) -> None:
        encoder, width = network.encoder, network.head.in_features
        size = network.head.out_features
        self.embedding, self.head = nn.Embedding(size, width), nn.Linear(width, size)
        self.layers = nn.LSTM(width, width, num_layers=LAYERS, batch_first=True)
        self.embedding.load_state_dict({"weight": next(encoder.parameters()).detach()})
        self.head.load_state_dict(network.head.state_dict())
        own = {
            f"{name}_l{depth}": weight.detach()
            for depth, cell in enumerate(network.cells)
            for name, weight in cell.named_parameters()
        }
        self.layers.load_state_dict(own)

    def draw(self, first: int, length: int) -> list[int]:
        """Return the symbols after a first one."""
        found: list[int] = []
        x, state = torch.tensor([[first]]), None
        with torch.no_grad():
            for _ in range(length):
                hidden, state = self.layers(self.embedding(x), state)
                x = self.head(hidden[:, -1]).argmax(dim=-1, keepdim=True)
                found.append(int(x))
        return found


def session_against_naive(shape: Shape, setting: Setting) -> Finding:
    """Measure one stream of a session beside the loop by hand; the weights alone are what each
    symbol must read.
    """
    network, vocabulary = warmed(shape.width)
    naive = Naive(network)
    ours, other = pairs(
        lambda: drawn(network, vocabulary, shape.steps),
        lambda: naive.draw(0, shape.steps),
        setting.pairs,
    )
    return _finding(network, ours, other, shape.steps, shape.steps)


def streams_against_singles(shape: Shape, setting: Setting) -> Finding:
    """Measure many streams at once beside single streams one after the other, by the time of a
    symbol.
    """
    network, vocabulary = warmed(shape.width)

    def singles() -> None:
        for _ in range(SINGLES):
            drawn(network, vocabulary, shape.steps)

    ours, other = pairs(
        lambda: drawn(network, vocabulary, shape.steps, shape.batch), singles, setting.pairs
    )
    return _finding(network, ours, other, shape.batch * shape.steps, SINGLES * shape.steps)


def streams_against_naive(shape: Shape, setting: Setting) -> Finding:
    """Measure many streams at once beside the loop by hand, one stream after the other, by the time
    of a symbol.
    """
    network, vocabulary = warmed(shape.width)
    naive = Naive(network)

    def singles() -> None:
        for _ in range(SINGLES):
            naive.draw(0, shape.steps)

    ours, other = pairs(
        lambda: drawn(network, vocabulary, shape.steps, shape.batch), singles, setting.pairs
    )
    return _finding(network, ours, other, shape.batch * shape.steps, SINGLES * shape.steps)


def drawn(
    network: Network, vocabulary: Vocabulary[Any], length: int, streams: int = 1
) -> list[list[int]]:
    """Return the symbols that a new session draws greedily after the first of the vocabulary, a
    list a step.
    """
    session = Session(network, vocabulary, streams=streams).feed_ids(
        torch.zeros(1, dtype=torch.long).numpy()
    )
    rule = Sampling()
    return [session.draw(rule).tolist() for _ in range(length)]


def warmed(width: int) -> tuple[Network, Vocabulary[Any]]:
    """Return a network of this width whose steps are compiled already, and its vocabulary."""
    changes = {
        "encoder.size": width,
        "cell.hidden_size": width,
        "cell.num_layers": LAYERS,
        "device.kind": "cpu",
    }
    data, network = built(1 << 14, changes)
    session = Session(network, data.vocabulary).feed_ids(torch.zeros(1, dtype=torch.long).numpy())
    for _ in range(AFTER):  # from then on its steps are compiled
        session.draw(Sampling())
    return network, data.vocabulary


def _finding(
    network: Network, ours: list[float], other: list[float], drawn: int, singles: int
) -> Finding:
    """Return times by the symbol, and what a symbol of ours costs: products of many streams, else
    reading weights.
    """
    weights = sum(
        weight.numel()
        for module in (*network.cells, network.head)
        for weight in module.parameters()
    )
    alone = drawn == singles
    return Finding(
        [seconds / drawn for seconds in ours],
        [seconds / singles for seconds in other],
        flops=0.0 if alone else 2.0 * weights,
        bytes=4.0 * weights if alone else 0.0,
        path=(
            "one kernel"
            if stepper(network).kernel is not None
            else taken(network.cells, stepwise=True)
        ),
    )
