"""How busy others keep this machine while something is timed (step 5 of paths.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

STAT = Path("/proc/stat")
BUSY = (0, 1, 2, 5, 6, 7)
"""Columns of a processor in `STAT` that are work.

User, nice, system, interrupts of both kinds, and what another system on the same processors has
taken; the others are idle, waiting for a disk, and guests, who are counted as users.
"""


class Look(NamedTuple):
    """Seconds since some time: of the clock, of work on this process's cores, of its own work."""

    clock: float
    busy: float
    own: float


def busy_of(cores: Collection[int]) -> float | None:
    """Return the seconds of work on some cores so far; nothing where the system does not tell."""
    labels = {f"cpu{number}" for number in cores}
    try:
        ticks = 0
        for line in STAT.read_text(encoding="ascii").splitlines():
            label, *columns = line.split() or [""]
            if label in labels:
                ticks += sum(int(columns[index]) for index in BUSY)
        return ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        return None


def look() -> Look | None:
    """Return how much work was done so far; nothing where the system does not tell."""
    try:
        cores = os.sched_getaffinity(0)
    except (OSError, AttributeError):
        return None
    busy = busy_of(cores)
    if busy is None:
        return None

    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return Look(time.perf_counter(), busy, own)


class Load:
    """The cores that others have used since it was made."""

    def __init__(self, look: Callable[[], Look | None] = look) -> None:
        self.look = look
        self.start = look()

    def foreign(self) -> float | None:
        """Return how many cores others have used on average, or nothing where it is not known."""
        end = self.look()
        start = self.start
        if start is None or end is None:
            return None
        if end.clock <= start.clock:
            return None

        busy = end.busy - start.busy
        own = end.own - start.own
        return max(0.0, (busy - own) / (end.clock - start.clock))


def now(seconds: float = 0.05) -> float | None:
    """Return how many cores others use at this moment, which takes a little while to see."""
    load = Load()
    time.sleep(seconds)
    return load.foreign()
