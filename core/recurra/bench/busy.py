"""Row 16: what one foreign process, which burns a core, makes of tasks and windows; a fair share of
two cores is 2.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from recurra import verbs
from recurra.bench.clock import WARM, Turn, undisturbed
from recurra.bench.layers import built, taken, training
from recurra.bench.records import Finding, Setting, Shape
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
    with subprocess.Popen([sys.executable, "-S", "-c", BURN], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.read(1)
            time.sleep(SETTLE)
            yield
        finally:
            child.kill()


def window_beside_burner(name: str, shape: Shape, setting: Setting) -> Finding:
    """Measure training steps of one layer, beside a foreign process and without one."""
    cell = built(name, shape)
    x = torch.randn(shape.batch, shape.steps, shape.width).requires_grad_()
    turn = training(cell, x, torch.ones(shape.batch, shape.steps, shape.width))
    busy, quiet = in_turn(turn, setting.pairs)
    return Finding(busy, quiet, path=taken([cell]), loaded=True)


def task_beside_burner(name: str, shape: Shape, setting: Setting) -> Finding:
    """Measure a whole run of a shipped task, beside a foreign process and without one."""

    def turn() -> object:
        with tempfile.TemporaryDirectory(prefix="recurra-bench-") as runs:
            return verbs.run(shipped.folder() / f"{name}.toml", runs=Path(runs)).path

    busy, quiet = in_turn(turn, setting.few)
    return Finding(busy, quiet, loaded=True)


def in_turn(
    turn: Turn,
    count: int,
    disturbed: Callable[[], Any] = burning,
    clock: Callable[[], float] = time.perf_counter,
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
            time.sleep(SETTLE)
    return busy, quiet


def _mean(turn: Turn, clock: Callable[[], float]) -> float:
    """Return the mean seconds of turns, one at least."""
    start, turns = clock(), 0
    while not turns or clock() - start < TURN:
        turn()
        turns += 1
    return (clock() - start) / turns
