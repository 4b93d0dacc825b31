"""Stretches of the data of a run, read as its network reads them, whatever is asked of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.data.splits import Split
from recurra.model.network import Network, States
from recurra.model.tracing import Inside, decoded, inside, left_at, states_at
from recurra.reporting.view import View

CONTEXT = 512
"""Steps that are read before a stretch that begins in the midst of a sequence, at most."""


class Stretch(NamedTuple):
    """What is read of a sequence, `[1, N, ...]`, whose first step stands at a `position` of it.

    Of its steps those from `start` on are looked at of which there are `elements`: the names of
    symbols, or numbers `[T, F]` in the data's units. It is called by its `name`. What is known of
    the steps ahead of each stands in `coming`, `[N, H, Q]`, where such is read.
    """

    x: Tensor
    position: int
    start: int
    elements: list[str] | NDArray[Any]
    name: str
    coming: Tensor | None = None

    @property
    def begin(self) -> int:
        """Where in its sequence the first step stands that is looked at."""
        return self.position + self.start

    def states(self, network: Network, step: int) -> States:
        """Return the states before a step of what is read."""
        position = torch.tensor([self.position], device=network.device)
        return states_at(network, self.x, step, network.initial_states(1, position))

    def decoded(self, network: Network) -> tuple[int, Inside | None]:
        """Return what goes on in a decoder's cell, if there is one, and ahead of which step.

        That is the last step of which all that is ahead is looked at too, where there is such.
        """
        last = self.start + len(self.elements) - 1
        if network.decoder is None:
            return self.position + last, None
        at = last - network.ahead if len(self.elements) > network.ahead else last
        coming = None if self.coming is None else self.coming[at]
        states = network.initial_states(1, torch.tensor([self.position], device=network.device))
        left = left_at(network, self.x, at, states)
        return self.position + at, decoded(network, left, coming)

    def inside(self, network: Network) -> list[Inside]:
        """Return what goes on in each layer at the steps that are looked at."""
        start, stop = self.start, self.start + len(self.elements)
        if network.reads_both_ways:
            whole = inside(network, self.x, self.states(network, 0))
            return [layer.between(start, stop) for layer in whole]
        return inside(network, self.x[:, start:stop], self.states(network, start))


def part_of(view: View) -> tuple[str, Split]:
    """Return the split that figures are about, with its name, else another that holds anything.

    Raises `Left` where the data of the run is gone.
    """
    data = view.data()
    names = (view.held_out, "test", "validation", "train")
    name = next(name for name in names if name in data.splits and len(data.splits[name]))
    return name, data.splits[name].scored()


def stretches(view: View, most: int, steps: int) -> list[Stretch]:
    """Return up to so many stretches of up to so many steps, that lie evenly over a split.

    Each is of another span, the longest of a few; of spans that are fewer, each gives several.
    Raises `Left` where the data of the run is gone.
    """
    _, split = part_of(view)
    low = split.begin if split.whole or split.uncut or split.at_once else split.low
    places: list[tuple[int, int, int]] = []
    lengths = split.high - low
    if len(low) >= most:
        # Of each group of neighbours the longest.
        for group in np.array_split(np.arange(len(low)), most):
            span = int(group[np.argmax(lengths[group])])
            first = int(low[span])
            end = min(first + steps, int(split.high[span]))
            places.append((span, max(int(split.begin[span]), min(first, end - steps)), end))
    else:
        each = -(-most // max(1, len(low)))
        for span in range(len(low)):
            count = max(1, min(each, int(lengths[span]) // steps))
            for at in np.linspace(0, max(0, int(lengths[span]) - steps), count).astype(int):
                first = int(low[span]) + int(at)
                end = min(first + steps, int(split.high[span]))
                # A short one is longer by what was before it.
                places.append((span, max(int(split.begin[span]), min(first, end - steps)), end))
    whole = split.whole or split.uncut or split.at_once
    return [
        _stretch(view, split, span, first, end, whole)
        for span, first, end in places[:most]
        if end > first
    ]


def _stretch(view: View, split: Split, span: int, first: int, end: int, whole: bool) -> Stretch:
    """Return the stretch of a span between two places of the data."""
    data, network, begin = view.data(), view.run.network, int(split.begin[span])
    # What is read both ways is read to its end, and what is answered whole from its beginning.
    read_to = int(split.high[span]) if split.whole or split.at_once else end
    read_from = begin if whole else max(begin, first - CONTEXT)
    coming = None
    if split.whole:
        row = data.store.sequence(np.array([begin]))
        x = data.reader.whole(row).x[:, : read_to - read_from]
    else:
        at, count = np.array([read_from]), np.array([read_to - read_from])
        batch = data.reader.cut(at, count, at, np.array([read_to]))
        x, coming = batch.x, batch.ahead()
    values = np.asarray(data.store.values[first:end])
    elements = values if values.ndim > 1 else [data.read.symbol(n) for n in values.tolist()]
    row = int(data.store.sequence(np.array([begin]))[0])
    return Stretch(
        x=x.to(network.device),
        position=read_from - begin,
        start=first - read_from,
        elements=elements,
        name=f"sequence {row + 1:,}",
        coming=None if coming is None else coming[0].to(network.device),
    )
