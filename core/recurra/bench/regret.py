"""Row 17: what is lost by the path that the measurement takes, beside the best of those that can be
forced.
"""

from __future__ import annotations

import copy
import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from recurra.bench.busy import burning
from recurra.bench.clock import undisturbed
from recurra.bench.layers import layer, training
from recurra.bench.records import Finding, Setting, Shape
from recurra.engine import measure, proof
from recurra.engine.choice import fastest
from recurra.engine.paths import PATHS
from recurra.engine.window import Window

SIZES = [
    Shape(1, 64, 32), Shape(1, 1024, 128), Shape(1, 256, 1024), Shape(4, 256, 256),
    Shape(8, 64, 64),
    Shape(8, 64, 1024), Shape(32, 128, 256), Shape(64, 64, 128), Shape(64, 64, 512),
    Shape(64, 64, 1024),
    Shape(256, 64, 64), Shape(256, 64, 256),
]  # fmt: skip
"""Windows for which a path is taken: rows, steps and width."""
NEAR = 2.5
"""How many times slower than the best a path may be at first and be timed again."""
SLOT = 0.01
"""Seconds that are timed of a path in each round at least."""
GOOD = 1.1
"""What nearly every choice must reach."""


def regret(name: str, busy: bool, shape: Shape, setting: Setting) -> Finding:
    """Measure a cell at all sizes: seconds on the path taken, and on the best; each the least of
    several rounds.

    With `busy` the choice is made while a foreign process burns a core. Nothing is read from the
    cache or kept there.
    """
    found = [_at(name, size, setting.pairs, burning if busy else nullcontext) for size in SIZES]
    chosen, best, took = (list(part) for part in zip(*found, strict=True))
    good = sum(ours <= GOOD * other for ours, other in zip(chosen, best, strict=True))
    said = f"{good} of {len(found)} within {GOOD:g}, chosen in {max(took):.1f} s at most"
    return Finding(chosen, best, path=said, loaded=busy)


def _at(name: str, size: Shape, rounds: int, condition: Any) -> tuple[float, float, float]:
    """Return the seconds on the path taken, on the best, and those that the choice took."""
    cell = layer(name, size)
    refused = proof.PROOFS.refused(cell)
    names = [path for path in PATHS if path not in refused]
    surroundings: AbstractContextManager[None] = condition()
    with surroundings:
        start = time.perf_counter()
        window = Window(size.batch, size.steps, torch.float32, torch.device("cpu"), grad=True)
        seconds = measure.measure(cell, names, window).seconds
        took = time.perf_counter() - start
    best = least(cell, names, size, rounds)
    return best[fastest(names, seconds)], min(best.values()), took


def least(cell: Any, names: list[str], size: Shape, rounds: int) -> dict[str, float]:
    """Return the least seconds of a training step on each path, taken in turn."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size.batch, size.steps, size.width, generator=generator).requires_grad_()
    back = torch.ones(size.batch, size.steps, size.width)
    turns = {}
    for name in names:
        forced = copy.deepcopy(cell)
        forced.path = name
        turns[name] = training(forced, x, back)

    def timed(name: str) -> float:
        start = time.perf_counter()
        turns[name]()
        return time.perf_counter() - start

    with undisturbed():
        first = {name: min(timed(name), timed(name)) for name in names}
        found = dict(first)
        repeats = max(1, math.ceil(SLOT / min(first.values())))
        for _ in range(rounds):
            for name in names:
                if first[name] <= NEAR * min(first.values()):
                    found[name] = min(found[name], *(timed(name) for _ in range(repeats)))
    return found
