"""How a sequence was tagged: runs of steps that were answered alike, beside what came."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import torch

from recurra.data.segments import CONTEXT
from recurra.data.splits import SplitName
from recurra.job.data import Data
from recurra.job.figures import Tagged, TaggedRun
from recurra.model.network import Network

STEPS = 160
"""Steps of a sequence that are shown, from the first of the split on."""


def tagged(data: Data, network: Network, name: SplitName) -> Tagged:
    """Return how the beginning of the first sequence of a split was tagged."""
    part, reader = data.splits[name], data.reader
    row = int(np.flatnonzero(part.high > part.first_targets)[0])
    begin, high = int(part.begin[row]), int(part.high[row])
    low = int(part.first_targets[row]) - part.reach
    start = begin if part.at_once else max(begin, low - CONTEXT)
    stop = high - part.reach if part.at_once else min(high - part.reach, low + STEPS)

    first, steps = np.array([start]), np.array([stop - start])
    batch = reader.cut(first, steps, np.array([low + part.reach])).to(network.device)
    network.eval()
    with torch.no_grad():
        output, _ = network(batch.x, position=batch.position, lengths=batch.lengths)
    point = network.loss.point(output[0])

    shown = slice(low - start, low - start + STEPS)
    said = data.answer_elements.said(data.answers, point[shown])
    came = _names(data, low + part.reach, len(said))
    return Tagged(
        sequence=int(data.store.sequence(np.array([low]))[0]) + 1,
        first=low - begin + 1,
        runs=_runs(data, low, said, came),
    )


def _names(data: Data, low: int, count: int) -> list[str]:
    """Return the tags that the data gives some elements."""
    tags = data.store.tags
    assert tags is not None, "each element has a tag"
    codes = tags.codes.spans(np.array([low]), count)[0]
    return [tags.names[code] for code in codes.tolist()]


def _runs(data: Data, low: int, said: list[str], came: list[str]) -> list[TaggedRun]:
    """Return runs of steps that are answered alike, and should have been."""
    runs = []
    at = low
    for (predicted, tag), steps in groupby(zip(said, came, strict=True)):
        count = len(list(steps))
        values = data.store.spans(np.array([at]), count)[0]
        text = data.elements.readable(data.vocabulary, values)
        runs.append(TaggedRun(read=text, steps=count, predicted=predicted, came=tag))
        at += count
    return runs
