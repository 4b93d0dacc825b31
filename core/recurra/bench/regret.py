"""Row 17: what the choice among the paths loses, beside the best of those that can be forced."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch

from recurra.bench.busy import burning
from recurra.bench.clock import undisturbed
from recurra.bench.layers import layer, training
from recurra.bench.records import Finding, Setting, Shape
from recurra.contracts.cell import Cell
from recurra.engine import measure, proof
from recurra.engine.choice import fastest
from recurra.engine.memory import kept
from recurra.engine.window import Window

SIZES = [
    Shape(1, 64, 32), Shape(1, 1024, 128), Shape(1, 256, 1024), Shape(4, 256, 256),
    Shape(8, 64, 64), Shape(8, 4096, 64),
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
    """Measure a cell at all sizes: seconds on the path taken, and on the best.

    Each is the least of several rounds. With `busy` the choice is made while a foreign process
    burns a core. Nothing is read from the cache or kept there.
    """
    surroundings = burning if busy else nullcontext
    outcomes = [_at(name, size, setting.pairs, surroundings) for size in SIZES]

    chosen = [outcome.chosen for outcome in outcomes]
    best = [outcome.best for outcome in outcomes]
    longest = max(outcome.choosing for outcome in outcomes)

    good = sum(outcome.chosen <= GOOD * outcome.best for outcome in outcomes)
    worst = max(range(len(outcomes)), key=lambda at: chosen[at] / best[at])
    summary = f"{good} of {len(outcomes)} within {GOOD:g}, the worst at {SIZES[worst]}"
    summary += f", chosen in {longest:.1f} s at most"
    return Finding(chosen, best, path=summary, loaded=busy)


class Outcome(NamedTuple):
    """Seconds at one size: on the path chosen, on the best path, and those that choosing took."""

    chosen: float
    best: float
    choosing: float


def _at(
    name: str,
    size: Shape,
    rounds: int,
    surroundings: Callable[[], AbstractContextManager[None]],
) -> Outcome:
    """Choose a path for a cell at one size, and compare it with every other."""
    cell = layer(name, size)
    cpu = torch.device("cpu")
    paths = proof.PROOFS.proved(cell)

    with surroundings():
        start = time.perf_counter()
        window = Window(size.batch, size.steps, torch.float32, cpu, grad=True)
        seconds = measure.measure(cell, paths, window).seconds
        choosing = time.perf_counter() - start

    forced = least(cell, paths, size, rounds)
    chosen = fastest(paths, seconds)
    return Outcome(forced[chosen], min(forced.values()), choosing)


def least(cell: Cell[Any], names: list[str], size: Shape, rounds: int) -> dict[str, float]:
    """Return the least seconds of a training step on each path, taken in turn, as training runs it.

    One thread is told by the processor's time, which others that keep the machine busy do not slow.
    A path that is far from the best at first is not timed again: it would take most of the time
    and could not win.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size.window, generator=generator).requires_grad_()
    back = torch.ones(size.window)

    turns = {}
    for name in names:
        forced = copy.deepcopy(cell)
        forced.path = name
        turns[name] = training(forced, x, back)

    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter

    def timed(name: str) -> float:
        start = clock()
        turns[name]()
        return clock() - start

    with undisturbed(), kept(cell.parameters()):
        seconds = {name: min(timed(name), timed(name)) for name in names}
        best = min(seconds.values())
        near = [name for name in names if seconds[name] <= NEAR * best]
        repeats = max(1, math.ceil(SLOT / best))

        for _ in range(rounds):
            for name in near:
                times = [timed(name) for _ in range(repeats)]
                seconds[name] = min(seconds[name], *times)
    return seconds
