"""The race of the paths: which windows are timed how often, and what a step takes by that.

What a window costs once, such as packing matrices, is told from what each step costs: the windows
that are timed grow until their steps weigh more, and what is left of the real window is reckoned
from the two longest of them. The paths that may be the fastest then take turns, until enough time
is spent to tell them apart. Nothing is known here of cells: measure.py gives what runs a path.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import NamedTuple, TypeAlias

from recurra.engine.load import Load
from recurra.engine.timings import LOADED, Timings

ROWS = 2
"""Rows of the first run of each path, of one step.

It is not counted, for it may build what later runs use.
"""
HEAVY = 0.14
"""Seconds of even that run above which nothing is measured: the real window would take minutes.

This, and how far windows grow, goes by the processor: others who have it slow the clock.
"""
WIDE = 0.16
"""Seconds of one step above which a window is timed on a part of its rows."""
GROWTH = 4
"""How many times more rows, or at most how many times more steps, the next window has."""
SLOT = 0.02
"""Seconds of a run above which the window grows no more, once its steps weigh.

Twice as much needs more memory than one of glibc's heaps has for a thread, and pages are asked for
in each run.
"""
ONCE = 2.0
"""How many times longer than one step a run takes whose steps weigh as much as its beginning."""
LONGEST = 0.3
"""Seconds of a run above which it grows no more in any case.

So long grow the windows of a path that computes many steps together, whose price a part of them
does not tell.
"""
SHORT, AGAIN = 0.005, 3
"""Seconds below which a run is taken so many times, for it is soon disturbed; the best counts."""
ENOUGH, MOST, UTMOST = 0.25, 1.0, 3.0
"""Seconds of rounds after which a few are enough, and none begins any more; the last of any.

They go by the processor too, or a busy machine would have the fewest runs when it needs the most.
"""
PATIENT = 8.0
"""Seconds of the clock after which no round begins in any case."""
FEW, ROUNDS, MANY = 4, 10, 100
"""Rounds that are run at least, those that may be enough for close paths, and the most."""
HOPELESS = 3.0
"""How many times longer than another path's whole window a part may take and grow further."""
NEAR = (10.0, 3.0, 2.0, 1.5)
"""How many times slower than the best a path is to be given up, after no round, one and so on.

A path is not out for the only run of it, which may have met a bad moment.
"""
CLOSE = 1.35
"""The same after more rounds, and below which two paths are close.

They are told apart by more rounds: for `ENOUGH` if short, for `MOST` if long.
"""
APART = 8
"""How many times fewer steps a window has, to reckon from it and the longest what a step costs."""
LEAST = 0.1
"""Share of its mean time that a step takes at least, whatever two disturbed runs seem to say."""
SHARED = 0.15
"""Share of the time that the calling thread waited above which the processor's time counts."""
IDLE = 0.3
"""The same above which others must have had its core, where the system does not tell."""

now = time.perf_counter


class Lap(NamedTuple):
    """The seconds of a run, by the clock and of the processor for the calling thread.

    Threads that share a run have equal parts of it, so the second is about what the first would be
    if nobody else were there.
    """

    wall: float
    processor: float

    def best(self, other: Lap) -> Lap:
        """Return the lesser of each."""
        wall = min(self.wall, other.wall)
        processor = min(self.processor, other.processor)
        return Lap(wall, processor)


WALL, PROCESSOR = 0, 1
"""Which of the two clocks of a lap is read."""

Timed: TypeAlias = Callable[[str, int, int], Lap]
"""Runs a path, by its name, on a window of some rows and steps."""

Laps: TypeAlias = dict[int, Lap]
"""The best run of one path for each number of steps on which it was timed."""


def compared(
    timed: Timed, names: list[str], batch: int, steps: int, uneven: Collection[str] = ()
) -> Timings:
    """Return the seconds a step of each path; an `uneven` one computes many steps together.

    The processor's where others were busy meanwhile, else the clock's.
    """
    others = Load()
    laps, rows = race(timed, names, batch, steps, uneven)
    foreign = others.foreign()
    idle = _idle(laps, steps)
    if foreign is None:
        foreign = idle if idle > IDLE else 0.0

    # Under a load the clock would tell which path waits for a core, not which is the faster.
    disturbed = foreign >= LOADED and idle > SHARED
    clock = PROCESSOR if disturbed else WALL

    seconds = {}
    for name, of_path in laps.items():
        whole = _whole(of_path, steps, clock)
        each = whole / steps * batch / rows
        seconds[name] = max(each, 1e-12)
    return Timings(seconds=seconds, load=foreign)


def _idle(laps: dict[str, Laps], steps: int) -> float:
    """Return the share of a path's longest run that the calling thread waited, where it is most.

    One that shares its work waits for a core that others use, and one that does not waits for none:
    clocks would tell which of them has a neighbour, not which of them is the faster. Of paths that
    are far slower nothing is asked.
    """
    shares = []
    for name in _near(laps, steps, NEAR[-1]):
        of_path = laps[name]
        longest = of_path[max(of_path)]
        if longest.wall:
            shares.append(1 - longest.processor / longest.wall)
    return max(shares, default=0.0)


def race(
    timed: Timed, names: list[str], batch: int, steps: int, uneven: Collection[str] = ()
) -> tuple[dict[str, Laps], int]:
    """Return the best runs of each path on windows of this size or shorter ones, and their rows.

    There are none if even a few steps take too long.
    """
    # A path that cannot run even on a tiny window is out; where that takes long, all are.
    tiny = min(batch, ROWS)
    ready = [name for name in names if _lap(timed, name, tiny, 1)]
    if not ready:
        return {}, batch
    if timed(ready[0], tiny, 1).processor > HEAVY:
        return {}, batch

    # Each path alone, on windows that grow.
    rows = _rows(timed, ready[0], batch)
    laps: dict[str, Laps] = {}
    for name in ready:
        whole = [_whole(of_path, steps, PROCESSOR) for of_path in laps.values()]
        rival = min(whole, default=math.inf)
        slot = LONGEST if name in uneven else SLOT
        if of_path := _grown(timed, name, rows, steps, rival, slot):
            laps[name] = of_path

    # In turns, those that may be the fastest.
    start = now()
    spent = 0.0
    for rounds in range(MANY):
        near = _near(laps, steps, NEAR[rounds] if rounds < len(NEAR) else CLOSE)
        close = _near(laps, steps, CLOSE)
        late = now() - start > PATIENT
        if len(near) < 2 or late or _is_over(rounds, spent, len(close) > 1):
            break
        for name in near:
            spent += _again(timed, name, rows, steps, laps[name])
    return laps, rows


def _is_over(rounds: int, spent: float, close: bool) -> bool:
    """Tell whether enough rounds were run, in `spent` seconds, of paths that are `close` or not."""
    if rounds < FEW:
        return spent > UTMOST
    if spent > MOST or not close:
        return True
    return rounds >= ROUNDS and spent > ENOUGH


def _lap(timed: Timed, name: str, batch: int, steps: int) -> Lap | None:
    """Return the best run of a path, or nothing where it cannot run."""
    try:
        best = timed(name, batch, steps)
        if best.processor < SHORT:
            for _ in range(AGAIN - 1):
                best = best.best(timed(name, batch, steps))
    except Exception:
        # Its user will see from eager what the cell itself raises.
        return None
    return best


def _rows(timed: Timed, name: str, batch: int) -> int:
    """Return the rows of which a step takes little: all of them, but for the largest windows."""
    rows = min(batch, ROWS)
    while rows < batch:
        more = min(GROWTH * rows, batch)
        if timed(name, more, 1).processor > WIDE:
            break
        rows = more
    return rows


def _grown(timed: Timed, name: str, rows: int, steps: int, rival: float, slot: float) -> Laps:
    """Return the runs of a path on longer and longer windows, until their steps weigh.

    That is for runs of `slot` seconds at least. One whose part takes far longer than the `rival`
    seconds of a whole window grows no further. Nothing where it cannot run on one of them.
    """
    laps: Laps = {}
    long = 1
    weighs = False
    while lap := _lap(timed, name, rows, long):
        # Either would be said of any path by one bad moment.
        hopeless = lap.processor > HOPELESS * rival
        if hopeless or (not weighs and _weighs(laps, long, lap)):
            lap = lap.best(_lap(timed, name, rows, long) or lap)
        laps[long] = lap
        hopeless = lap.processor > HOPELESS * rival
        weighs = _weighs(laps, long, lap)

        enough = weighs and lap.processor > slot
        if long == steps or enough or hopeless:
            return laps

        # Where the steps weigh, a run of `ONCE * slot` seconds is aimed at.
        longer = GROWTH * long
        if weighs and lap.processor > 0:
            fitting = int(long * ONCE * slot / lap.processor)
            longer = min(longer, fitting)
        long = min(steps, max(2 * long, longer))
    return {}


def _weighs(laps: Laps, long: int, lap: Lap) -> bool:
    """Tell whether a run of so many steps says what they cost, or is too long to be made longer."""
    if long == 1:
        return False
    return lap.processor > LONGEST or lap.processor > ONCE * laps[1].processor


def _again(timed: Timed, name: str, rows: int, steps: int, laps: Laps) -> float:
    """Run a path once more on the windows by which it is judged; return the seconds it took."""
    few, many = _ends(laps)
    judged = {few, many} if many < steps else {many}
    spent = 0.0
    for long in judged:
        if lap := _lap(timed, name, rows, long):
            laps[long] = laps[long].best(lap)
            runs = AGAIN if lap.processor < SHORT else 1
            spent += runs * lap.processor
    return spent


def _ends(laps: Laps) -> tuple[int, int]:
    """Return the steps of the longest window, after those of one that is far shorter."""
    many = max(laps)
    shorter = [long for long in laps if long * APART <= many]
    few = max(shorter, default=min(laps))
    return few, many


def _whole(laps: Laps, steps: int, clock: int) -> float:
    """Return the seconds of the whole window: of its longest part, and of the steps that are left.

    Runs of 8 and 64 steps in 3 and 10 ms say that a step takes 1/8 ms, and 100 steps 14.5 ms.
    """
    few, many = _ends(laps)
    longest = laps[many][clock]
    if many == steps:
        return longest

    # Of two disturbed runs the difference may be far off, or below nothing.
    mean = longest / many
    each = mean
    if few < many:
        each = (longest - laps[few][clock]) / (many - few)
    each = min(max(each, LEAST * mean), mean)
    return longest + each * (steps - many)


def _near(laps: dict[str, Laps], steps: int, factor: float) -> list[str]:
    """Return the paths that take at most `factor` times as long as the best, by either clock."""
    near: set[str] = set()
    for clock in (WALL, PROCESSOR):
        whole = {name: _whole(of_path, steps, clock) for name, of_path in laps.items()}
        best = min(whole.values(), default=math.inf)
        near.update(name for name in whole if whole[name] <= factor * best)
    return [name for name in laps if name in near]
