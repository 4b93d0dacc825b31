"""Figures of a split: every element scored once, whatever the batch size or the window."""

from __future__ import annotations

from typing import Any

import torch

from recurra.contracts.vocabulary import Vocabulary
from recurra.data.batches import Reader
from recurra.data.segments import Spans, grouped, openings, segments
from recurra.data.splits import Split
from recurra.model.network import Network
from recurra.train.metrics import Metrics, Scale, Tally

BLOCK = 1 << 21
"""Numbers that the network gives at a time in evaluation."""


def evaluate(
    network: Network,
    reader: Reader,
    split: Split,
    vocabulary: Vocabulary[Any],
    scale: Scale | None = None,
    *,
    rows: int = 64,
    window: int = 0,
) -> Tally:
    """Return what is measured of a split, teacher-forced; `rows` and `window` change speed and memory, and no figure.

    A `window` of 0 is as long as a bounded block of outputs allows.
    """
    return _tally(network, reader, segments(split.scored()), Tally(vocabulary, scale), rows, window)


def cold_and_warm(
    network: Network,
    reader: Reader,
    split: Split,
    vocabulary: Vocabulary[Any],
    *,
    rows: int = 64,
    window: int = 0,
) -> tuple[Metrics, int]:
    """Return what the first steps cost in the midst of a sequence, and at how many places of the split.

    `cold` is the mean from a fresh state, `warm` that of the same steps with the state carried up to them: nats of
    symbols, the loss of numbers. Neither is there where a split holds no such place.
    """
    key = "nats" if vocabulary.yields == "symbols" else "loss"
    cold, warm = openings(split)
    found: Metrics = {}
    for name, spans in (("cold", cold), ("warm", warm)):
        if metrics := _tally(network, reader, spans, Tally(vocabulary), rows, window).values():
            found[name] = metrics[key]
    return found, len(cold[0])


def _tally(
    network: Network,
    reader: Reader,
    spans: Spans,
    tally: Tally,
    rows: int,
    window: int,
) -> Tally:
    """Add up the scored steps of segments, each read from a fresh state at its own position."""
    window = window or max(16, min(512, BLOCK // (rows * network.loss.output_size)))
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            for group in grouped(reader, spans, rows, window):
                states = None
                for batch in group:
                    batch = batch.to(network.device)
                    output, states = network(batch.x, states, position=batch.position)  # B T V
                    if bool(batch.mask.any()):
                        tally.add(output[batch.mask], batch.y[batch.mask], network.loss)
    finally:
        network.train(training)
    return tally
