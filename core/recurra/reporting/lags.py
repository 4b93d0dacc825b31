"""How far back a network remembers: the norm of its gradients by lag, and what of it comes when."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra.drawing import Axis, Line, Mark, Panel, Picture, Plot, Rule, Table
from recurra.model.lags import by_lag, gradients, memory, origins_of
from recurra.model.network import Network
from recurra.reporting.stretches import Stretch, part_of, stretches
from recurra.reporting.view import Left, View

LAGS = 128
"""Steps back that are looked at."""
STRETCHES = 4
ORIGINS = 3
"""Steps of each stretch whose gradient is taken."""
WORK = 3_000_000
"""Weights times directions above which fewer directions are taken, each a row that is computed."""
SHARES = (0.5, 0.9, 0.99)

Norms: TypeAlias = tuple[NDArray[np.int64], list[NDArray[np.float64]]]


def picture(view: View) -> Picture:
    """Return norms of gradients by lag, and the memory that they show. Raises `Left`."""
    run = view.run
    network = run.network
    found = stretches(view, 3 * STRETCHES, LAGS + LAGS // 4)
    # Of sequences of many lengths the longest say most.
    found = sorted(found, key=lambda each: -each.x.shape[1])[:STRETCHES]
    weights = sum(weight.numel() for weight in network.layers.parameters())
    most = int(np.clip(WORK // max(1, weights), 4, 32))
    with run.predictor().within():
        norms = [_norms(network, stretch, most) for stretch in found]
    lags, layers = _common(norms)
    if len(lags) < 2:
        raise Left("its sequences have a single step, so nothing is remembered")
    back = lags >= 0
    marks: list[Mark] = []
    sums: list[Mark] = []
    rows = []
    for index, values in enumerate(layers):
        name = "the layer" if len(layers) == 1 else f"layer {index + 1}"
        marks.append(Line(name, lags, np.where(values > 0, values, np.nan), index % 8))
        total = np.cumsum(values[back])
        if total[-1] > 0:
            sums.append(Line(name, lags[back] + 1, total / total[-1], index % 8))
        rows.append([name, *(memory(values, lags, share) for share in SHARES)])
    reach = memory(layers[0], lags)
    window = _window(view)
    if 1 < window < len(lags[back]):
        marks.append(Rule(f"{window:,} steps, a window of training", x=window - 1))
    sums.append(Rule(f"nine tenths, {reach:,} steps", x=reach))
    panels: list[Panel] = [
        Plot(
            "Gradient by lag",
            Axis("steps before", whole=True),
            Axis("norm of the gradient", scale="log"),
            marks,
            height=220,
        ),
        Plot(
            "What the last steps make up",
            Axis("last steps", low=0, whole=True),
            Axis("share of the sum of norms", low=0, high=1),
            sums,
            height=220,
        ),
        Table(
            "Effective memory, in steps",
            ["by what is read by", *(f"{share:.0%}" for share in SHARES)],
            rows,
            notes=f"From how many of the last {len(lags[back]):,} steps so much of the sum comes.",
        ),
    ]
    origins = sum(part[0].shape[0] for _, part in norms)
    caption = (
        f"How much what the head reads at a step would change with what a layer has read so many"
        f" steps before: the norm of the derivative, the mean of {origins:,} steps in"
        f" {len(norms)} stretches of the {part_of(view)[0]} split."
    )
    if reach > 0.85 * len(lags[back]):
        caption += " The memory may well be longer than what was looked at."
    if (lags < 0).any():
        caption += " It is read both ways: lags below 0 are steps that come later."
    return Picture("lags", "How far back it remembers", panels, caption)


def _norms(network: Network, stretch: Stretch, most: int) -> Norms:
    """Return the lags, and of each layer the norms of a stretch `[A, L]`."""
    steps = stretch.start + len(stretch.elements)
    if network.reads_both_ways:
        steps = min(stretch.x.shape[1], 2 * LAGS)
    origins = origins_of(steps, LAGS, network.reads_both_ways, ORIGINS)
    first = 0 if network.reads_both_ways else steps - origins.size
    window = stretch.x[:, first : first + origins.size]
    states = stretch.states(network, first)
    return origins.lags, gradients(network, window, states, origins, most)


def _common(norms: list[Norms]) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """Return the lags that most stretches have, and the mean norm of each layer at them."""
    low = max(int(lags.min()) for lags, _ in norms)
    high = int(np.median([lags.max() for lags, _ in norms]))
    kept = [(lags, parts) for lags, parts in norms if lags.max() >= high]
    lags = np.arange(low, high + 1)
    layers = []
    for index in range(len(kept[0][1])):
        own = [parts[index][:, np.isin(known, lags)] for known, parts in kept]
        layers.append(by_lag(np.concatenate(own)))
    return lags, layers


def _window(view: View) -> int:
    """Return how many steps a gradient of training goes back, 0 where that is not said."""
    length = view.task.get("sequence", {}).get("length", 0)
    return length if isinstance(length, int) else 0
