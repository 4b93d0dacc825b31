"""How a path is timed: on a copy of the cell, on inputs of its own, in a thread of its own.

This is what step 5 of paths.py measures with; race.py says which windows are timed, and how often.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from recurra.engine import paths, race
from recurra.engine.isolated import isolated, release
from recurra.engine.memory import kept
from recurra.engine.proof import twin
from recurra.engine.race import Lap
from recurra.engine.recurrence import Recurrence
from recurra.engine.timings import Timings
from recurra.engine.window import Window

CUTS = 16
"""One step in so many begins a sequence in some row, where the window has resets."""

Draw: TypeAlias = Callable[[int, int], Tensor]
"""Gives inputs `[batch, steps, D]`."""


def measure(cell: Recurrence, names: list[str], window: Window) -> Timings:
    """Return the seconds a step of each path; one that fails on such a window has none.

    Nothing of the caller's is touched: not the weights and their gradients, nor the random numbers,
    nor hooks.
    """
    release()
    inference = torch.is_inference_mode_enabled()
    # Which path asks for more pages would otherwise count for more than which is the faster.
    with kept(cell.parameters()):
        return isolated(partial(_measure, cell, names, window, inference))


def _measure(cell: Recurrence, names: list[str], window: Window, inference: bool) -> Timings:
    with _conditions(window, inference):
        copied = twin(cell)
        draw = _inputs(copied, window)
        timed = partial(_timed, copied, window, draw)
        uneven = [name for name in names if not paths.PATHS[name].even]
        first = race.compared(timed, names, window.batch, window.steps, uneven)
        if not _wins_by_eager(first.seconds):
            return first

        # Whatever is slow only now and then must not leave a cell on the slowest of its paths.
        others = first.seconds.keys() - {"eager"}
        rival = min(others, key=first.seconds.__getitem__)
        second = race.compared(timed, [rival, "eager"], window.batch, window.steps, uneven)
        return _doubted(first, second)


def _wins_by_eager(seconds: dict[str, float]) -> bool:
    best = min(seconds, key=seconds.__getitem__, default="")
    return len(seconds) > 1 and best == "eager"


def _doubted(first: Timings, second: Timings) -> Timings:
    """Return the timings of two races: for eager the worse, for each other path the better."""
    seconds = dict(first.seconds)
    for name, value in second.seconds.items():
        worse_or_better = max if name == "eager" else min
        seconds[name] = worse_or_better(value, seconds[name])
    load = max(first.load, second.load)
    return Timings(seconds=seconds, load=load)


@contextmanager
def _conditions(window: Window, inference: bool) -> Iterator[None]:
    """Compute as the caller does, and leave random numbers and warnings alone."""
    kind = window.device.type
    devices = [window.device] if kind == "cuda" else []
    autocast = window.autocast
    with (
        warnings.catch_warnings(action="ignore"),
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(inference),
        torch.set_grad_enabled(window.grad),
        torch.autocast(kind, autocast, enabled=autocast is not None),
    ):
        yield


def _inputs(cell: Any, window: Window) -> Draw:
    """Return what draws inputs, the same for each path."""

    @cache
    def draw(batch: int, steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(batch, steps, cell.input_size, generator=generator)
        x = x.to(window.device, window.dtype)
        return x.requires_grad_(window.grad)

    return draw


def _timed(cell: Any, window: Window, draw: Draw, name: str, batch: int, steps: int) -> Lap:
    """Return the seconds of one run, forward, and backward where gradients are wanted."""
    x = draw(batch, steps)
    reset = lengths = None
    if window.reset:
        reset = _resets(batch, steps).to(window.device)
    if window.lengths:
        lengths = _lengths(batch, steps).to(window.device)
    state = cell.initial_state(batch, device=x.device, dtype=x.dtype)
    weights = [weight for weight in cell.parameters() if weight.requires_grad]

    # A device computes on after a call of it has returned.
    wait(window.device)
    wall = time.perf_counter()
    processor = time.thread_time()

    y, _ = paths.run(cell, name, x, state, reset=reset, lengths=lengths)
    if y.requires_grad:
        torch.autograd.grad(y, [x, *weights], torch.ones_like(y), allow_unused=True)
    wait(window.device)

    wall = time.perf_counter() - wall
    processor = time.thread_time() - processor
    if window.device.type != "cpu":
        processor = wall
    return Lap(wall, processor)


def _resets(batch: int, steps: int) -> Tensor:
    """Return flags `[batch, steps]`: now one row begins anew, now the next."""
    reset = torch.zeros(batch, steps, dtype=torch.bool)
    first = steps // 2 % CUTS
    for t in range(first, steps, CUTS):
        row = t // CUTS % batch
        reset[row, t] = True
    return reset


def _lengths(batch: int, steps: int) -> Tensor:
    """Return lengths `[batch]` from the whole window down to half of it."""
    half = max(1, steps // 2)
    return torch.linspace(steps, half, batch).long()


def wait(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        getattr(torch, device.type).synchronize()
