"""What a simple rule reaches on the same elements: a figure without one beside it says little.

Symbols: uniform, unigram, and n-grams with Witten-Bell smoothing (Bell, Cleary & Witten 1990): the
estimate of a context gives way to that of the next shorter one by the share of new symbols that the
context has shown,
    p(s | c) = (n(c, s) + d(c) p(s | c')) / (n(c) + d(c)),
with d(c) the number of different symbols seen after c.
Those of series stand in series.py.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import Metrics
from recurra.contracts.target import Examples
from recurra.data.store import Array, Ints

ORDERS = 6
"""The longest n-gram: five symbols of context."""

Chances: TypeAlias = NDArray[np.float64]
"""The chance that was given to each symbol which came."""


def positions(part: Examples, targets: bool) -> tuple[Ints, Ints]:
    """Return positions of a split, and where the sequence of each begins.

    They are all of them, or the `targets` alone: those that can be predicted.
    """
    low = np.maximum(part.low, part.begin + 1) if targets else part.low
    sizes = np.maximum(part.high - low, 0)

    # Sequences of 2 and 3 positions: `owner` is 0 0 1 1 1, and `inside` 0 1 0 1 2.
    owner = np.repeat(np.arange(len(low)), sizes)
    before = np.cumsum(sizes) - sizes
    inside = np.arange(len(owner)) - np.repeat(before, sizes)
    return low[owner] + inside, part.begin[owner]


def ngram_rules(train: Examples, held: Examples) -> dict[str, Metrics]:
    """Return the nats per symbol of each rule on the symbols of `held`, learned from `train`."""
    values, size = held.values, held.size
    seen, seen_begin = positions(train, targets=False)
    targets, targets_begin = positions(held, targets=True)
    if not len(targets):
        return {}

    # One line of positions: first those that are counted, then those that are predicted.
    where = np.concatenate([seen, targets])
    begin = np.concatenate([seen_begin, targets_begin])
    symbols = values[where].astype(np.int64)
    cut = len(seen)

    chance: Chances = np.full(len(targets), 1 / size)
    rules = {"uniform": _nats(chance)}
    context = np.zeros(len(where), np.int64)
    ladder: dict[int, Metrics] = {}
    for order in range(ORDERS):
        if order:
            context = _longer(context, values, where, begin, order, size)
        chance = _witten_bell(context, symbols, cut, chance, size)
        ladder[order] = _nats(chance)

    # Of the n-grams with a context the best is shown alone.
    rules["unigram"] = ladder.pop(0)
    best = min(ladder, key=lambda order: ladder[order]["nats"])
    rules[f"{best + 1}-gram"] = ladder[best]
    return rules


def _longer(context: Ints, values: Array, where: Ints, begin: Ints, order: int, size: int) -> Ints:
    """Return the identity of each position's context with one more symbol before it.

    What stands before the beginning of a sequence counts as one symbol more, `size`.
    """
    behind = where - order
    symbol = values[np.maximum(behind, 0)].astype(np.int64)
    symbol = np.where(behind >= begin, symbol, size)

    # Numbered anew, from 0: products of larger identities would soon leave int64.
    pairs = context * (size + 1) + symbol
    _, identity = np.unique(pairs, return_inverse=True)
    longer: Ints = identity.astype(np.int64)
    return longer


def _witten_bell(context: Ints, symbols: Ints, cut: int, shorter: Chances, size: int) -> Chances:
    """Return p(symbol | context) for the positions after `cut`, counted on those before it.

    `shorter` holds the same for the next shorter context.
    """
    # A pair of a context and the symbol after it is one number.
    pairs = context * size + symbols
    counted, counts = np.unique(pairs[:cut], return_counts=True)
    contexts = int(context.max()) + 1
    total = np.bincount(context[:cut], minlength=contexts)
    different = np.bincount(counted // size, minlength=contexts)

    # n(c, s): how often the pair of each position came before the cut.
    targets = pairs[cut:]
    times = np.zeros(len(targets))
    if len(counted):
        at = np.searchsorted(counted, targets)
        at = np.minimum(at, len(counted) - 1)
        times = np.where(counted[at] == targets, counts[at], 0)

    new = different[context[cut:]]
    seen = total[context[cut:]]
    mixed = (times + new * shorter) / np.maximum(seen + new, 1)
    return np.asarray(np.where(seen > 0, mixed, shorter))


def _nats(chance: Chances) -> Metrics:
    nats = float(-np.log(chance).mean())
    return {"nats": nats, "perplexity": math.exp(min(nats, 700))}
