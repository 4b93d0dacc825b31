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
    our_repeats = _repeats(ours, clock, least)
    other_repeats = _repeats(other, clock, least)

    our_times, other_times = [], []
    with undisturbed():
        for _ in range(count):
            our_times.append(_seconds(ours, our_repeats, clock))
            other_times.append(_seconds(other, other_repeats, clock))
    return our_times, other_times


def _repeats(turn: Turn, clock: Clock, least: float) -> int:
    """Warm a turn up, and return how often it must be repeated to take `least` seconds."""
    for _ in range(WARM):
        turn()

    once = _seconds(turn, 1, clock)
    if once >= least:
        return 1
    return math.ceil(least / max(once, 1e-7))


def _seconds(turn: Turn, repeats: int, clock: Clock) -> float:
    start = clock()
    for _ in range(repeats):
        turn()
    seconds = clock() - start
    return seconds / repeats


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
