"""Row 16: what one foreign process, which burns a core, makes of tasks and windows.

A fair share of two cores is 2.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

from recurra import verbs
from recurra.bench.clock import WARM, Clock, Turn, undisturbed
from recurra.bench.layers import built, chosen_paths, training
from recurra.bench.records import Finding, Setting, Shape
from recurra.bench.tasks import scratch
from recurra.spec import shipped

BURN = "import sys; sys.stdout.write('.'); sys.stdout.flush()\nwhile True: pass"
"""A program that says when it has begun, and then burns a core."""
SETTLE = 0.1
"""Seconds until the system has shared the cores out anew."""
TURN = 0.2
"""Seconds that are timed at least, quiet and busy, in each pair."""


@contextmanager
def burning() -> Iterator[None]:
    """Let a foreign process burn a core meanwhile."""
    line = [sys.executable, "-S", "-c", BURN]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.read(1)  # the dot that says that it has begun
            time.sleep(SETTLE)
            yield
        finally:
            child.kill()


def window_beside_burner(name: str, shape: Shape, setting: Setting) -> Finding:
    """Measure training steps of one layer, beside a foreign process and without one."""
    cell = built(name, shape)
    x = torch.randn(shape.window).requires_grad_()
    turn = training(cell, x, torch.ones(shape.window))
    busy, quiet = in_turn(turn, setting.pairs)
    return Finding(busy, quiet, path=chosen_paths([cell]), loaded=True)


def task_beside_burner(name: str, shape: Shape, setting: Setting) -> Finding:
    """Measure a whole run of a shipped task, beside a foreign process and without one."""

    def turn() -> object:
        with scratch() as runs:
            task = shipped.folder() / f"{name}.toml"
            return verbs.run(task, runs=Path(runs)).path

    busy, quiet = in_turn(turn, setting.few)
    return Finding(busy, quiet, loaded=True)


def in_turn(
    turn: Turn,
    count: int,
    disturbed: Callable[[], AbstractContextManager[None]] = burning,
    clock: Clock = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Return the seconds of a turn while it is disturbed, and while it is not, in turn."""
    for _ in range(WARM):
        turn()

    busy, quiet = [], []
    with undisturbed():
        for _ in range(count):
            quiet.append(_mean(turn, clock))
            with disturbed():
                busy.append(_mean(turn, clock))
            time.sleep(SETTLE)  # until the other process is gone
    return busy, quiet


def _mean(turn: Turn, clock: Clock) -> float:
    """Return the mean seconds of turns, one at least."""
    start = clock()
    turns = 0
    while not turns or clock() - start < TURN:
        turn()
        turns += 1
    return (clock() - start) / turns
