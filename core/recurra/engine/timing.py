"""How long a step of each path takes: on a copy of the cell, on inputs of its own, in a thread of its own.

What a window costs once, such as packing matrices, is told from what each step costs: the windows that are timed grow
until their steps weigh more, and what is left of the real window is reckoned from the two longest of them.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn

from recurra.engine import paths
from recurra.engine.apart import apart, release
from recurra.engine.figures import LOADED, Figures
from recurra.engine.load import Load
from recurra.engine.proof import twin
from recurra.engine.recurrence import Recurrence

ROWS = 2
"""Rows of the first run of each path, of one step, which is not counted: it may build what later runs use."""
HEAVY = 0.14
"""Seconds of even that run above which nothing is measured: the real window would take minutes."""
WIDE = 0.16
"""Seconds of one step above which a window is timed on a part of its rows."""
GROWTH = 4
"""How many times more rows, or at most how many times more steps, the next window has."""
SLOT = 0.04
"""Seconds of a run above which the window grows no more, unless too many of them are spent once a window."""
ONCE = 2.0
"""How many times longer than one step it then takes at least: so its steps weigh as much as what is spent once."""
LONGEST = 0.3
"""Seconds of a run above which it grows no more in any case."""
SHORT, AGAIN = 0.005, 3
"""Seconds below which a run is taken so many times, for it is soon disturbed; the best counts."""
ENOUGH, MOST = 0.25, 1.0
"""Seconds after which three rounds are enough, and after which no round begins but the first."""
ROUNDS, MANY = 10, 100
"""Rounds at most: of paths that are well apart, and of such as are close to each other."""
NEAR = 1.5
"""How many times slower than the best a path is to be given up."""
CLOSE = 1.35
"""The same below which two paths are close, and told apart by more rounds: for `ENOUGH` if short, `MOST` if long."""
HOPELESS = 3.0
"""The same for a part of a window beside another path's whole, and in the first round."""
APART = 8
"""How many times more steps a window has than the one beside which it is set to reckon what a step costs."""
LEAST = 0.1
"""Share of its mean time that a step takes at least, whatever two disturbed runs seem to say."""
SHARED = 0.15
"""Share of the time in which the calling thread did not run above which it is the processor's time that counts."""
IDLE = 0.3
"""The same above which others must have had its core, where the system does not tell what they use."""
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


class Lap(NamedTuple):
    """The seconds of a run, by the clock and of the processor for the calling thread.

    Threads that share a run have equal parts of it, so the second is about what the first would be if nobody else were
    there.
    """

    wall: float
    processor: float

    def best(self, other: Lap) -> Lap:
        """Return the lesser of each."""
        return Lap(min(self.wall, other.wall), min(self.processor, other.processor))


Runs: TypeAlias = Callable[[str, int, int], Lap]
"""Runs a path on a window of some rows and steps."""

Laps: TypeAlias = dict[str, dict[int, Lap]]
"""The best run of each path, by the steps of the window."""


def measure(cell: Recurrence, names: list[str], window: Window) -> Figures:
    """Return the seconds a step of each path; one that fails on such a window has none.

    Nothing of the caller's is touched: not the weights and their gradients, nor the random numbers, nor hooks.
    """
    release()
    return apart(partial(_measure, cell, names, window, torch.is_inference_mode_enabled()))


def _measure(cell: Recurrence, names: list[str], window: Window, inference: bool) -> Figures:
    with _conditions(window, inference):
        copied = twin(cast(nn.Module, cell))
        runs = partial(_timed, copied, window, _inputs(copied, window))
        found = compared(runs, names, window.batch, window.steps)
        if not _wins_by_eager(found.seconds):
            return found

        # whatever is slow only now and then must not leave a cell on the slowest of its paths
        rival = min(found.seconds.keys() - {"eager"}, key=found.seconds.__getitem__)
        again = compared(runs, [rival, "eager"], window.batch, window.steps)
        return _doubted(found, again)


def _wins_by_eager(seconds: dict[str, float]) -> bool:
    return len(seconds) > 1 and min(seconds, key=seconds.__getitem__) == "eager"


def _doubted(one: Figures, other: Figures) -> Figures:
    """Return figures of two races in which eager has the worse of its times, and each other path the better."""
    seconds = dict(one.seconds)
    for name, value in other.seconds.items():
        seconds[name] = max(value, seconds[name]) if name == "eager" else min(value, seconds[name])
    return Figures(seconds=seconds, load=max(one.load, other.load))


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

    @cache
    def draw(batch: int, steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(batch, steps, cell.input_size, generator=generator)
        return x.to(window.device, window.dtype).requires_grad_(window.grad)

    return draw


def _timed(cell: Any, window: Window, draw: Callable[[int, int], Tensor], name: str, batch: int, steps: int) -> Lap:
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
    wait(window.device)
    start, processor = now(), time.thread_time()
    y, _ = paths.run(cell, name, x, state, reset=reset, lengths=lengths)
    if y.requires_grad:
        torch.autograd.grad(y, [x, *weights], torch.ones_like(y), allow_unused=True)
    wait(window.device)
    wall = now() - start
    return Lap(wall, time.thread_time() - processor if window.device.type == "cpu" else wall)


def wait(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        getattr(torch, device.type).synchronize()


def compared(runs: Runs, names: list[str], batch: int, steps: int) -> Figures:
    """Return the seconds a step of each path: of the processor where others were busy meanwhile, else by the clock."""
    others = Load()
    laps, rows = race(runs, names, batch, steps)
    foreign, idle = others.foreign(), _idle(laps, steps)
    if foreign is None:
        foreign = idle if idle > IDLE else 0.0
    clock = 1 if foreign >= LOADED and idle > SHARED else 0
    seconds = {name: _whole(of, steps, clock) / steps * batch / rows for name, of in laps.items()}
    return Figures(seconds={name: max(value, 1e-12) for name, value in seconds.items()}, load=foreign)


def _idle(laps: Laps, steps: int) -> float:
    """Return the share of its longest run in which the calling thread waited, of the path that did most of those near.

    One that shares its work waits for a core that others use, and one that does not waits for none: clocks would tell
    which of them has a neighbour, not which of them is the faster.
    """
    longest = [laps[name][max(laps[name])] for name in _near(laps, steps, NEAR)]
    return max((1 - lap.processor / lap.wall for lap in longest if lap.wall), default=0.0)


def race(runs: Runs, names: list[str], batch: int, steps: int) -> tuple[Laps, int]:
    """Return the best runs of each path on windows of this size or shorter ones, and their rows.

    There are none if even a few steps take too long.

    The windows of each path grow first. Those of the paths that may be the fastest then take turns.
    """
    tiny = min(batch, ROWS), 1
    ready = [name for name in names if _lap(runs, name, *tiny)]
    if not ready or runs(ready[0], *tiny).wall > HEAVY:
        return {}, batch

    start = now()
    rows = _rows(runs, ready[0], batch)
    laps: Laps = {}
    for name in ready:
        best = min((_whole(of, steps, 1) for of in laps.values()), default=math.inf)
        if grown := _grown(runs, name, rows, steps, best):
            laps[name] = grown

    for count in range(MANY):
        near, spent = _near(laps, steps, NEAR if count else HOPELESS), now() - start
        close = len(_near(laps, steps, CLOSE)) > 1
        enough = count > 2 and spent > (MOST if close else ENOUGH)
        tired = count >= ROUNDS and (spent > ENOUGH or not close)
        if len(near) < 2 or (count and spent > MOST) or enough or tired:
            break
        for name in near:
            _again(runs, name, rows, steps, laps[name])
    return laps, rows


def _lap(runs: Runs, name: str, batch: int, steps: int) -> Lap | None:
    """Return the best run of a path, or nothing where it cannot run."""
    try:
        best = runs(name, batch, steps)
        for _ in range(AGAIN - 1 if best.wall < SHORT else 0):
            best = best.best(runs(name, batch, steps))
    except Exception:  # it is not taken then; what the cell itself raises, its user will see from eager
        return None
    return best


def _rows(runs: Runs, name: str, batch: int) -> int:
    """Return the rows of which a step takes little: all of them, but for the largest windows."""
    rows = min(batch, ROWS)
    while rows < batch:
        more = min(GROWTH * rows, batch)
        if runs(name, more, 1).wall > WIDE:
            break
        rows = more
    return rows


def _grown(runs: Runs, name: str, rows: int, steps: int, rival: float) -> dict[int, Lap]:
    """Return the runs of a path on longer and longer windows, as long as they are short or cost too much once.

    None where it cannot run on one of them. One whose part takes far longer than the `rival` seconds of a whole window
    grows no further.
    """
    laps: dict[int, Lap] = {}
    long = 1
    while lap := _lap(runs, name, rows, long):
        laps[long] = lap
        weighs = lap.wall > ONCE * laps[1].wall or (long > 1 and lap.wall > LONGEST)
        if long == steps or (lap.wall > SLOT and weighs) or lap.processor > HOPELESS * rival:
            return laps
        fitting = int(long * ONCE * SLOT / lap.wall) if weighs and lap.wall > 0 else GROWTH * long
        long = min(steps, max(2 * long, min(GROWTH * long, fitting)))
    return {}


def _again(runs: Runs, name: str, rows: int, steps: int, laps: dict[int, Lap]) -> None:
    """Run a path once more on the windows by which it is judged."""
    few, many = _ends(laps)
    for long in {few, many} if many < steps else {many}:
        if lap := _lap(runs, name, rows, long):
            laps[long] = laps[long].best(lap)


def _ends(laps: dict[int, Lap]) -> tuple[int, int]:
    """Return the steps of the longest window, after those of one that is far shorter."""
    many = max(laps)
    return max((long for long in laps if long * APART <= many), default=min(laps)), many


def _whole(laps: dict[int, Lap], steps: int, clock: int) -> float:
    """Return the seconds of the whole window: of its longest part, and of the steps that are left."""
    few, many = _ends(laps)
    longest = laps[many][clock]
    if many == steps:
        return longest
    mean = longest / many
    each = (longest - laps[few][clock]) / (many - few) if few < many else mean
    return longest + min(max(each, LEAST * mean), mean) * (steps - many)


def _near(laps: Laps, steps: int, factor: float) -> list[str]:
    """Return the paths that take at most `factor` times as long as the best, by either clock."""
    near = []
    for clock in (0, 1):
        whole = {name: _whole(of, steps, clock) for name, of in laps.items()}
        near += [name for name, seconds in whole.items() if seconds <= factor * min(whole.values())]
    return [name for name in laps if name in near]
