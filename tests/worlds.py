"""Worlds of several processes that are threads, of which one runs at a time: cheap, and the same
in every run.
"""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import pytest

import recurra.model.device
import recurra.world
from recurra.spec.tables import Device
from recurra.world import Processes, World

T = TypeVar("T")


PATIENCE = 60.0
"""Seconds that a thread waits for the others."""


class Broken(Exception):
    """Another thread has failed, or come elsewhere."""


class Table:
    """Where threads meet: each in its turn, and none before all have come."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.turn = threading.Condition()
        self.running = 0
        self.values: dict[int, Any] = {}
        self.rounds = 0
        self.left: dict[int, str] = {}

    def begin(self, rank: int) -> None:
        """Wait for the turn."""
        with self.turn:
            self.turn.wait_for(lambda: self.running == rank)

    def end(self, rank: int, why: str) -> None:
        """Leave for good; whoever still waits for this one breaks."""
        with self.turn:
            self.left[rank] = why
            self._next(rank)

    def meet(self, rank: int, value: Any) -> list[Any]:
        """Give a value, wait until all have given theirs, and return them."""
        with self.turn:
            self.values[rank] = value
            mine = self.rounds
            if len(self.values) == self.size:
                self.all = [self.values[each] for each in range(self.size)]
                self.values = {}
                self.rounds += 1
            self._next(rank)
            self.turn.wait_for(lambda: self.running == rank, PATIENCE)
            if self.rounds == mine:
                raise Broken(f"{rank} waits in vain: {self.left}")
            return self.all

    def _next(self, rank: int) -> None:
        """Let the next one run that can: one that does not wait, else one that waits in vain."""
        others = [(rank + step) % self.size for step in range(1, self.size + 1)]
        there = [each for each in others if each not in self.left]
        ready = [each for each in there if each not in self.values]
        if ready or there:
            self.running = (ready or there)[0]
        self.turn.notify_all()


class Side(Processes):
    """A world of several, seen from a thread; what is said goes by pickle, as between processes."""

    def __init__(self, rank: int, size: int, table: Table) -> None:
        self.rank, self.size, self.place, self.neighbours = rank, size, rank, size
        self.table = table
        self.said: list[tuple[str, int]] = []

    def gathered(self, value: T) -> list[T]:
        """Return the values of all."""
        content = pickle.dumps(value)
        self.said.append(("gathered", len(content)))
        return [pickle.loads(each) for each in self.table.meet(self.rank, content)]

    def told(self, value: T) -> T:
        """Return that of the first."""
        return self.gathered(value if self.first else None)[0]  # type: ignore[return-value]

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Return sums."""
        return tuple(map(sum, zip(*self.gathered(numbers), strict=True)))

    def wait(self) -> None:
        """Wait for all."""
        self.gathered(None)


class _Own(threading.local):
    world: World | None = None


class _Present:
    """The world of the thread that asks."""

    def __init__(self, own: _Own) -> None:
        self.__dict__["own"] = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own.world or World(), name)


class _Apart:
    def __init__(self, own: _Own) -> None:
        self.own = own

    def __call__(self) -> _Apart:
        return self

    def __enter__(self) -> None:
        self.before, self.own.world = self.own.world, None

    def __exit__(self, *error: object) -> None:
        self.own.world = self.before


def side_by_side(size: int, work: Callable[[World], T]) -> list[T]:
    """Return what each of several processes makes of some work, in the order of their ranks.

    For each `recurra.world.world()` is the world that it is given. Raises the error of the first
    that failed by itself.
    """
    table, own = Table(size), _Own()
    made: dict[int, T] = {}
    failed: dict[int, BaseException] = {}

    def run(rank: int) -> None:
        own.world = Side(rank, size, table)
        table.begin(rank)
        try:
            made[rank] = work(own.world)
            table.end(rank, "done")
        except BaseException as error:
            failed[rank] = error
            table.end(rank, f"failed with {error!r}")

    # The settings are the process's, and what one thread found another may have set: whoever
    # leaves last would put back no more than that.
    with pytest.MonkeyPatch.context() as patch, recurra.model.device.arithmetic(Device()):
        # One runs at a time, also inside of what a thread would wait its turn for.
        patch.setattr(recurra.model.device, "_TURN", nullcontext())
        patch.setattr(recurra.world, "_present", _Present(own))
        patch.setattr(recurra.world, "apart", lambda: copy.copy(_Apart(own)))
        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for error in sorted(failed.values(), key=lambda error: isinstance(error, Broken)):
        raise error
    return [made[rank] for rank in range(size)]
