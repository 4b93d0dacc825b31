"""Two things timed in turn, A B A B, so that whatever else the machine does falls on both."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Gives seconds from some point in time."""
Turn: TypeAlias = Callable[[], object]
"""What is timed."""

LEAST = 0.05
"""Seconds that one timing takes at least: a shorter turn is repeated within it."""
WARM = 3
"""Turns before the first timing: a path is chosen and compiled in them, and memory is fetched."""


def pairs(
    ours: Turn, other: Turn, count: int, clock: Clock = time.perf_counter, least: float = LEAST
) -> tuple[list[float], list[float]]:
    """Return the seconds a turn of each, `count` times, one after the other in every pair."""
    both = [(turn, _repeats(turn, clock, least)) for turn in (ours, other)]
    found: tuple[list[float], list[float]] = ([], [])
    with undisturbed():
        for _ in range(count):
            for (turn, repeats), times in zip(both, found, strict=True):
                times.append(_timed(turn, repeats, clock))
    return found


def _repeats(turn: Turn, clock: Clock, least: float) -> int:
    """Warm a turn up, and return how often it must be repeated to take `least` seconds."""
    for _ in range(WARM):
        turn()
    once = _timed(turn, 1, clock)
    return 1 if once >= least else math.ceil(least / max(once, 1e-7))


def _timed(turn: Turn, repeats: int, clock: Clock) -> float:
    start = clock()
    for _ in range(repeats):
        turn()
    return (clock() - start) / repeats


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep Python from looking for garbage while something is timed."""
    on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
