"""Who makes which trial: one process each, also where several share a folder and some die."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from recurra import system
from recurra.errors import RecurraError
from recurra.runs.checkpoints import Checkpoints
from recurra.sweeping.folder import SweepFolder
from recurra.sweeping.study import Study

MOST = 3
"""How often a trial is begun whose processes are gone before it has come any further."""
BEGUN, REACHED = "begun", "reached"
ALONE = "two processes may make the same trial"


def reached(path: Path, number: int) -> int:
    """Return the steps that the checkpoints of a trial have come to, of all its seeds."""
    steps = 0
    for folder in path.glob(f"trials/{number}/seed-*/*/checkpoints"):
        # What is damaged is told when the run goes on.
        with suppress(RecurraError):
            steps += Checkpoints(folder).index().get("last", 0)
    return steps


class Claim(NamedTuple):
    """A trial that this process makes, and how often one has gone on with it in vain."""

    number: int
    begun: int


class Claims:
    """The trials that this process makes, each of which it keeps from others by a lock.

    The system gives up the lock of a process that is gone: its trials are then taken over.
    """

    def __init__(self, folder: SweepFolder, study: Study) -> None:
        self.study, self.most = study, folder.plan.trials
        self.path = folder.path
        self.locks = folder.path / "locks"
        self.held: dict[int, ExitStack] = {}
        self.locks.mkdir(exist_ok=True)

    def next(self) -> Claim | None:
        """Return a trial to make: one that nobody makes any more, else a new one, else nothing."""
        for number in self.study.running():
            if number < self.most and self._taken(number):
                known, step = self.study.get(number).user_attrs, reached(self.path, number)
                further = step > int(known.get(REACHED, 0))
                begun = 1 if further else int(known.get(BEGUN, 0)) + 1
                self.study.note(number, REACHED, step)
                self.study.note(number, BEGUN, begun)
                return Claim(number, begun)
        while len(self.study.trials()) < self.most:
            number = self.study.ask()
            # Of several processes that ask for the last one, one gets a number beyond it.
            if number >= self.most:
                self.study.finish(number, {"state": "failed", "why": "one too many"})
                return None
            if self._taken(number):
                return Claim(number, 0)
        return None

    def release(self, number: int) -> None:
        """Leave a trial, which is finished."""
        stack = self.held.pop(number, None)
        if stack is not None:
            stack.close()

    def close(self) -> None:
        """Leave all trials to others."""
        for number in list(self.held):
            self.release(number)

    def _taken(self, number: int) -> bool:
        """Take a trial, if nobody else makes it; one that is finished meanwhile is left."""
        if number in self.held:
            return False
        with ExitStack() as stack:
            try:
                stack.enter_context(system.locked(self.locks / str(number), ALONE))
            except system.Held:
                return False
            if self.study.get(number).state.is_finished():
                return False
            self.held[number] = stack.pop_all()
        return True
