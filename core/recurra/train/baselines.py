"""What a simple rule reaches on the same elements: a figure without one beside it says little.

Symbols: uniform, unigram, and n-grams with Witten-Bell smoothing (Bell, Cleary & Witten 1990): the
estimate of a context gives way to that of the next shorter one by the share of new symbols that the
context has shown,
    p(s | c) = (n(c, s) + d(c) p(s | c')) / (n(c) + d(c)),
with d(c) the number of different symbols seen after c.
Series: naive (the last value again), drift (the line from the first value to the last), seasonal
naive (the value one season ago).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import Metrics, Scale
from recurra.contracts.target import Examples
from recurra.train.metrics import Errors

ORDERS = 6
"""The longest n-gram: five symbols of context."""

Ints = NDArray[np.int64]


def positions(part: Examples, targets: bool) -> tuple[Ints, Ints]:
    """Return positions of a split and where their sequences begin: all of them, or those that can
    be predicted.
    """
    low = np.maximum(part.low, part.begin + 1) if targets else part.low
    sizes = np.maximum(part.high - low, 0)
    owner = np.repeat(np.arange(len(low)), sizes)
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return low[owner] + inside, part.begin[owner]


def ngram_rules(train: Examples, held: Examples) -> dict[str, Metrics]:
    """Return the nats per symbol of each rule on the next symbols of `held`, learned from
    `train`.
    """
    values, size = held.values, held.size
    seen, seen_begin = positions(train, targets=False)
    asked, asked_begin = positions(held, targets=True)
    if not len(asked):
        return {}
    where, begin = np.concatenate([seen, asked]), np.concatenate([seen_begin, asked_begin])
    symbols = values[where].astype(np.int64)
    cut = len(seen)
    found = {"uniform": _nats(np.full(len(asked), 1 / size))}
    context = np.zeros(len(where), np.int64)
    chance = np.full(len(asked), 1 / size)
    ladder = {}
    for order in range(ORDERS):
        if order:
            context = _longer(context, values, where, begin, order, size)
        chance = _witten_bell(context, symbols, cut, chance, size)
        ladder[order] = _nats(chance)
    found["unigram"] = ladder.pop(0)
    best = min(ladder, key=lambda order: ladder[order]["nats"])
    found[f"{best + 1}-gram"] = ladder[best]
    return found


def _longer(
    context: Ints, values: NDArray[Any], where: Ints, begin: Ints, order: int, size: int
) -> Ints:
    """Return the identity of each position's context with one more symbol before it."""
    behind = where - order
    symbol = np.where(behind >= begin, values[np.maximum(behind, 0)].astype(np.int64), size)
    return np.unique(context * (size + 1) + symbol, return_inverse=True)[1].astype(np.int64)


def _witten_bell(
    context: Ints, symbols: Ints, cut: int, shorter: NDArray[Any], size: int
) -> NDArray[Any]:
    """Return p(symbol | context) for the positions after `cut`, counted on those before it."""
    pairs = context * size + symbols
    known, counts = np.unique(pairs[:cut], return_counts=True)
    contexts = int(context.max()) + 1
    total = np.bincount(context[:cut], minlength=contexts)
    different = np.bincount(known // size, minlength=contexts)
    asked = pairs[cut:]
    at = np.minimum(np.searchsorted(known, asked), max(len(known) - 1, 0))
    times = np.where(known[at] == asked, counts[at], 0) if len(known) else np.zeros(len(asked))
    new, seen = different[context[cut:]], total[context[cut:]]
    mixed = (times + new * shorter) / np.maximum(seen + new, 1)
    return np.asarray(np.where(seen > 0, mixed, shorter))


def _nats(chance: NDArray[Any]) -> Metrics:
    nats = float(-np.log(chance).mean())
    return {"nats": nats, "perplexity": math.exp(min(nats, 700))}


def series_scale(train: Examples) -> Scale | None:
    """Return the mean error, in training and by column, of saying again the value of a season ago,
    else the last.

    Nothing where no element of training has one so far before it.
    """
    where, begin = positions(train, targets=True)
    ago = where - (train.season or 1)
    known = ago >= begin
    if not known.any():
        return None
    found: Scale = np.abs(train.values[where[known]] - train.values[ago[known]]).mean(axis=0)
    return found


def series_rules(train: Examples, held: Examples) -> dict[str, Errors]:
    """Return the errors of each rule one step ahead, on the elements of `held` that can be
    predicted.
    """
    held = replace(held, low=np.maximum(held.low, held.begin + held.lag))
    where, begin = positions(held, targets=True)
    if not len(where):
        return {}
    values, season = held.values, held.season
    actual, before = values[where], values[where - 1]
    found = {"naive": _errors(before, actual, held.scale)}
    steps, first = positions(train, targets=True)
    if len(steps):
        slope = (values[steps] - values[steps - 1]).mean(axis=0)
        found["drift"] = _errors(before + slope, actual, held.scale)
    ago = where - season
    if season and (ago >= begin).all():
        found["seasonal naive"] = _errors(values[ago], actual, held.scale)
    return found


def forecasts(history: NDArray[Any], steps: int, season: int) -> dict[str, NDArray[Any]]:
    """Return what each baseline says of the `steps` after a history `[n, F]`."""
    ahead = np.arange(1, steps + 1)[:, None]
    last = history[-1]
    found = {"naive": np.broadcast_to(last, (steps, len(last)))}
    if len(history) > 1:
        slope = (last - history[0]) / (len(history) - 1)
        found["drift"] = last + ahead * slope
    if season and len(history) >= season:
        found["seasonal naive"] = history[len(history) - season + (ahead[:, 0] - 1) % season]
    return found


def _errors(predicted: NDArray[Any], actual: NDArray[Any], scale: Scale | None) -> Errors:
    errors = Errors(scale)
    errors.add(predicted, actual)
    return errors
