"""What a run is about, told while it goes to whoever may end it: a line in a file for each phase.

`RECURRA_PHASES` names the file, and the commands `run` and `resume` then write it. The times are of
the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recurra.contracts.metric import Metrics
from recurra.train.events import Progress

VARIABLE = "RECURRA_PHASES"
"""The variable that names the file."""

ORDER = (
    "updated",
    "validation",
    "sample",
    "checkpoint",
    "training",
    "calibration",
    "figures",
    "result",
)
"""The phases of an update in the order in which they come."""


class Moment(NamedTuple):
    """A place in a run that is the same in each of its processes.

    `act` counts the trainings of a process: a calibration has one of its own. `rank` is the place
    of the phase in `ORDER`.
    """

    act: int
    step: int
    rank: int

    @property
    def phase(self) -> str:
        """The name of the phase that begins."""
        return ORDER[self.rank]


class Mark(NamedTuple):
    """A moment, and when it came, in seconds of the monotonic clock."""

    moment: Moment
    at: float


class Phases:
    """An observer of training that writes each phase into a file, a line at once.

    Where the process that asked for it has ended, it ends as by Ctrl-C: nobody is there to kill it.
    """

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.parent = os.getppid()
        self.act = 0

    def entered(self, phase: str, step: int) -> None:
        """Write that a phase begins."""
        if os.getppid() != self.parent:
            raise KeyboardInterrupt
        line = f"{self.act} {step} {ORDER.index(phase)} {time.monotonic()!r}\n"
        os.write(self.file, line.encode())

    def started(self, total: int, done: int) -> None:
        """Write that training begins."""
        self.act += 1
        self.entered("training", done)

    def stepped(self, progress: Progress) -> None:
        """Write that an update was made."""
        self.entered("updated", progress.step)

    def validated(self, progress: Progress, metrics: Metrics, better: bool, sample: str) -> None:
        """What follows a validation tells itself."""

    def finished(self, progress: Progress, why: str) -> None:
        """What follows training tells itself."""


class Following:
    """Reads the marks of a process as it writes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.marks: list[Mark] = []
        self._read = 0
        self._rest = b""

    def new(self) -> Iterator[Mark]:
        """Give the marks that were written since; a line that is cut off waits for its end."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return
        self._read += len(text)
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            act, step, rank, at = line.split()
            mark = Mark(Moment(int(act), int(step), int(rank)), float(at))
            self.marks.append(mark)
            yield mark
