"""How long a step of each path takes: on a copy of the cell, on inputs of its own, in a thread of its own."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from recurra.engine import paths
from recurra.engine.apart import apart
from recurra.engine.proof import twin
from recurra.engine.recurrence import Recurrence

ROWS = 2
"""Rows of the first run of each path, of one step, which is not counted: it may build what later runs use."""
HEAVY = 0.14
"""Seconds of even that run above which nothing is measured: the real window would take minutes."""
BRIEF = 32
"""Steps up to which a window grows before it grows in rows."""
GROWTH = 4
SLOT = 0.02
"""Seconds of a run above which the window grows no more, unless most of them are spent once a window."""
ONCE = 1.5
"""How many times longer a grown window may take for that to be so."""
SHORT, AGAIN = 0.005, 3
"""Seconds below which a run is taken so many times, for it is soon disturbed; the best counts."""
ENOUGH, MOST = 0.12, 0.5
"""Seconds after which three rounds are enough, and after which no run begins but the first."""
ROUNDS = 10
SLOWER = 2.0
"""How many times slower than the best a path is to be given up."""
MUCH_SLOWER = 3.0
"""The same on a part of the steps, where what a window costs once weighs more."""
PART = 8
"""How many times shorter that part is."""
FEW = 5
"""Steps after which a path may be found hopeless."""
CUTS = 16
"""One step in so many begins a sequence in some row, where the window has resets."""

now = time.perf_counter


@dataclass(frozen=True)
class Window:
    """What the time of a step depends on beside the cell: its size `[batch, steps]`, rounded, and how it is run."""

    batch: int
    steps: int
    dtype: torch.dtype
    device: torch.device
    grad: bool = False
    reset: bool = False
    lengths: bool = False
    narrow: torch.dtype | None = None
    """The type that autocast is set to, or none."""


Runs: TypeAlias = Callable[[str, int, int], float]
"""Runs a path on a window of some rows and steps; returns the seconds."""


def measure(cell: Recurrence, names: list[str], window: Window) -> dict[str, float]:
    """Return the seconds a step of each path; one that fails on such a window has none.

    Nothing of the caller's is touched: not the weights and their gradients, nor the random numbers, nor hooks.
    """
    return apart(partial(_measure, cell, names, window, torch.is_inference_mode_enabled()))


def _measure(cell: Recurrence, names: list[str], window: Window, inference: bool) -> dict[str, float]:
    with _conditions(window, inference):
        copied = twin(cast(nn.Module, cell))
        runs = partial(_timed, copied, window, _inputs(copied, window))
        return race(runs, names, window.batch, window.steps)


@contextmanager
def _conditions(window: Window, inference: bool) -> Iterator[None]:
    """Compute as the caller does, and leave random numbers and warnings alone."""
    kind = window.device.type
    drawn = [window.device] if kind == "cuda" else []
    with (
        warnings.catch_warnings(action="ignore"),
        torch.random.fork_rng(devices=drawn),
        torch.inference_mode(inference),
        torch.set_grad_enabled(window.grad),
        torch.autocast(kind, window.narrow, enabled=window.narrow is not None),
    ):
        yield


def _inputs(cell: Any, window: Window) -> Callable[[int, int], Tensor]:
    """Return what draws inputs `[batch, steps, D]`, the same for each path."""

    def draw(batch: int, steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(batch, steps, cell.input_size, generator=generator)
        return x.to(window.device, window.dtype).requires_grad_(window.grad)

    return draw


def _timed(cell: Any, window: Window, draw: Callable[[int, int], Tensor], name: str, batch: int, steps: int) -> float:
    """Return the seconds of one run, forward, and backward where gradients are wanted."""
    x = draw(batch, steps)
    reset = lengths = None
    if window.reset:
        reset = torch.zeros(batch, steps, dtype=torch.bool)
        for t in range(steps // 2 % CUTS, steps, CUTS):
            reset[t // CUTS % batch, t] = True
        reset = reset.to(window.device)
    if window.lengths:
        lengths = torch.linspace(steps, max(1, steps // 2), batch).long().to(window.device)
    state = cell.initial_state(batch, device=x.device, dtype=x.dtype)
    weights = [weight for weight in cell.parameters() if weight.requires_grad]
    _wait(window.device)
    start = now()
    y, _ = paths.run(cell, name, x, state, reset=reset, lengths=lengths)
    if y.requires_grad:
        torch.autograd.grad(y, [x, *weights], torch.ones_like(y), allow_unused=True)
    _wait(window.device)
    return now() - start


def _wait(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def race(runs: Runs, names: list[str], batch: int, steps: int) -> dict[str, float]:
    """Return the seconds a step of each path on a window of this size; none if even a part of it takes too long.

    The paths take turns, and the best of each counts; one that is clearly slower than another is given up. Where there
    is time for a part of the window alone, what a window costs once is told from what a step costs by two lengths.
    """
    tiny = min(batch, ROWS), 1
    ready = [name for name in names if _lap(runs, [name], *tiny)]
    if not ready or runs(ready[0], *tiny) > HEAVY:
        return {}
    start = now()
    rows, long = _fitting(runs, ready[0], batch, steps)
    part = max(1, long // PART)
    rough = _roughly(runs, ready, rows, part)
    best: dict[str, float] = {}
    for name in _near(rough, MUCH_SLOWER):
        if not best or now() - start <= MOST:
            whole = _lap(runs, [name], rows, long)
            best |= whole
            if not whole:
                del rough[name]
    for count in range(1, ROUNDS if best else 1):
        near, spent = _near(best, SLOWER), now() - start
        if len(near) < 2 or spent > MOST or (count > 2 and spent > ENOUGH):
            break
        best |= {name: min(seconds, best[name]) for name, seconds in _lap(runs, near, rows, long).items()}
    slow = {name: seconds / part for name, seconds in rough.items() if name not in best}
    return slow | {name: _a_step((part, rough[name]), (long, seconds), steps) for name, seconds in best.items()}


def _lap(runs: Runs, names: list[str], batch: int, steps: int) -> dict[str, float]:
    """Return the seconds of one run of each path that can run."""
    found = {}
    for name in names:
        with suppress(Exception):  # it is not taken then; what the cell itself raises, its user will see from eager
            seconds = runs(name, batch, steps)
            if seconds < SHORT:
                seconds = min(seconds, *(runs(name, batch, steps) for _ in range(AGAIN - 1)))
            found[name] = seconds
    return found


def _roughly(runs: Runs, names: list[str], batch: int, steps: int) -> dict[str, float]:
    """Return the seconds of a window; those of a path that takes longer for far fewer steps are not waited for."""
    found: dict[str, float] = {}
    few = max(1, min(steps // 2, FEW))
    for name in names:
        brief = _lap(runs, [name], batch, few).get(name, 0.0)
        if found and brief > MUCH_SLOWER * min(found.values()):
            found[name] = brief * steps / few
        else:
            found |= _lap(runs, [name], batch, steps)
    return found


def _near(seconds: dict[str, float], factor: float) -> list[str]:
    """Return the paths that take at most `factor` times as long as the best."""
    return [name for name, value in seconds.items() if value <= factor * min(seconds.values())]


def _fitting(runs: Runs, name: str, batch: int, steps: int) -> tuple[int, int]:
    """Return the size of a window that a path runs quickly: first some steps, then all rows, then all steps."""
    size, seconds = (min(batch, ROWS), 1), HEAVY / 2
    while size != (batch, steps):
        before, seconds = seconds, runs(name, *size)
        if seconds > SLOT and seconds > min(ONCE * before, HEAVY / 2):
            break
        rows, long = size
        if long < min(steps, BRIEF):
            size = rows, min(GROWTH * long, steps, BRIEF)
        elif rows < batch:
            size = min(GROWTH * rows, batch), long
        else:
            size = rows, min(GROWTH * long, steps)
    return size


def _a_step(one: tuple[int, float], other: tuple[int, float], steps: int) -> float:
    """Return the seconds a step of a window of `steps`, from the steps and seconds of two shorter ones, or of it."""
    (few, brief), (many, long) = one, other
    if many == steps:
        return long / steps
    each = min(max((long - brief) / (many - few), long / many / GROWTH), long / many) if many > few else long / many
    return each + (long - each * many) / steps
