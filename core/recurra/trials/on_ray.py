"""Trials as tasks of a Ray cluster, whose machines share the folder in which runs are made."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import recurra
from recurra.errors import Problem, RunError, error_of
from recurra.trials.journal import Outcome
from recurra.trials.pool import Pool
from recurra.trials.trial import Judge, Report, Trial
from recurra.trials.worker import answered

LOOK = 0.5
"""Seconds between two looks at whether an end was asked for."""
SHARED = 30.0
"""Seconds in which a folder that another machine has written is to be seen."""
LET_GO = 120.0
"""Seconds in which a machine that is lost lets go of the run that it trained."""
REACH = 10.0
"""Seconds in which the address of a cluster is to answer."""
GONE = 60.0
"""Seconds for which a cluster may have no core at all."""
MOST = 4
"""How often a trial is begun whose process, or machine, is lost; then it has failed."""
LOST = (WorkerCrashedError, NodeDiedError, OutOfMemoryError)

_attempts = count()


class Desk:
    """Where trials report, wherever they are made, and wait for an answer."""

    def __init__(self) -> None:
        self.asked: defaultdict[int, asyncio.Queue[Report]] = defaultdict(asyncio.Queue)
        self.answers: defaultdict[int, asyncio.Queue[bool]] = defaultdict(asyncio.Queue)

    async def report(self, attempt: int, report: Report) -> bool:
        """Take a report, and return whether its trial is pruned there."""
        await self.asked[attempt].put(report)
        return await self.answers[attempt].get()

    async def next(self, attempt: int) -> Report:
        """Return the next report of a trial, when there is one."""
        return await self.asked[attempt].get()

    async def answer(self, attempt: int, pruned: bool) -> None:
        """Answer the last report of a trial."""
        await self.answers[attempt].put(pruned)


def made_there(data: dict[str, Any], desk: Any, attempt: int, version: str) -> dict[str, Any]:
    """Return what came of a trial, on whichever machine this is, or the error that ends all."""
    trial = Trial(**data)
    node = ray.util.get_node_ip_address()
    if recurra.__version__ != version:
        fact = f"machine {node} has recurra {recurra.__version__}, and {version} asks it"
        return _error("RC064", fact, "install the same recurra on all machines")
    until = time.monotonic() + SHARED
    while not Path(trial.task).exists():
        if time.monotonic() > until:
            fact = f"machine {node} does not see {trial.task}"
            cure = "let all machines share the folder, and name it as they all see it"
            return _error("RC064", fact, cure)
        time.sleep(LOOK)

    def judge(report: Report) -> bool:
        return bool(ray.get(desk.report.remote(attempt, report)))

    until = time.monotonic() + LET_GO
    while True:
        answer = answered(trial, judge)
        held = [problem["code"] for problem in answer.get("error", ())] == ["RC055"]
        if not held or time.monotonic() > until:
            return answer
        # The machine that was lost has not noticed it yet, and trains on.
        time.sleep(LOOK)


def _error(code: str, fact: str, cure: str) -> dict[str, Any]:
    return {"error": [Problem(code, fact, cure=cure).record()], "exit_code": 1}


class RaySlot:
    """A place for one trial at a time, wherever the cluster has a core for it."""

    def __init__(self, desk: Any) -> None:
        self.desk, self.closed = desk, False
        self.task = ray.remote(num_cpus=1, max_retries=0)(made_there)
        self.now: Any = None
        self._lock = threading.Lock()

    def make(self, trial: Trial, judge: Judge) -> Outcome:
        """Return the outcome of a trial, which goes on elsewhere where its machine is lost."""
        why = ""
        for _ in range(MOST):
            try:
                answer = self._asked(trial, judge)
            except LOST as error:
                if self.closed:
                    raise InterruptedError from error
                why = str(error).partition("\n")[0] or type(error).__name__
                continue
            except RayError as error:
                if self.closed:
                    raise InterruptedError from error
                raise _unreachable(str(error)) from error
            if self.closed or "interrupted" in answer:
                raise InterruptedError
            if "error" in answer:
                raise error_of(answer)
            outcome: Outcome = answer["outcome"]
            return outcome
        return {"state": "failed", "why": f"its process was lost {MOST} times: {why}"}

    def _asked(self, trial: Trial, judge: Judge) -> dict[str, Any]:
        """Return what a machine answers. Raises `RayError` where it is lost."""
        attempt = next(_attempts)
        with self._lock:
            if self.closed:
                raise InterruptedError
            self.now = self.task.remote(trial.as_data(), self.desk, attempt, recurra.__version__)
        asked = self.desk.next.remote(attempt)
        empty: float | None = None
        while True:
            ready, _ = ray.wait([self.now, asked], num_returns=1, timeout=LOOK)
            if self.now in ready:
                with self._lock:
                    # Ray ends the whole process that cancels a task which is just finished.
                    done, self.now = self.now, None
                answer: dict[str, Any] = ray.get(done)
                return answer
            if asked in ready:
                pruned = judge(ray.get(asked))
                self.desk.answer.remote(attempt, pruned)
                asked = self.desk.next.remote(attempt)
            if ready or cores_of_cluster():
                empty = None
            elif empty is None:
                empty = time.monotonic()
            elif time.monotonic() - empty > GONE:
                raise _unreachable(f"it has had no core for {GONE:.0f} s")

    def terminate(self) -> None:
        """Ask what is made to save itself, and to end."""
        with self._lock:
            self.closed = True
            if self.now is not None:
                with suppress(Exception):
                    ray.cancel(self.now)

    def end(self, patience: float) -> None:
        """Wait until it has ended; after so many seconds it is ended by force."""
        if self.now is None:
            return
        with suppress(Exception):
            ready, _ = ray.wait([self.now], timeout=patience)
            if not ready:
                ray.cancel(self.now, force=True)


class RayPool(Pool):
    """Places in a Ray cluster: that of `RAY_ADDRESS`, of this machine, or a new one here.

    Raises `RunError` (RC064) where it cannot be reached.
    """

    def __init__(self, jobs: int | None, most: int) -> None:
        self.begun = not ray.is_initialized()
        if self.begun:
            _join()
        cores = cores_of_cluster()
        if not cores:
            self._leave()
            raise _unreachable("it has no core")
        # A soft affinity would put it on any machine, and it would be lost with that one.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        desk = ray.remote(num_cpus=0, max_concurrency=1000)(Desk)
        self.desk = desk.options(scheduling_strategy=here).remote()
        super().__init__([RaySlot(self.desk) for _ in range(min(jobs or cores, most))])

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__()
        finally:
            with suppress(Exception):
                ray.kill(self.desk)
            self._leave()

    def _leave(self) -> None:
        if self.begun:
            ray.shutdown()


def _join() -> None:
    """Join the cluster. Raises `RunError` (RC064)."""
    _check_address(os.environ.get("RAY_ADDRESS", ""))
    try:
        with _own_signals():
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RayError, RuntimeError, ValueError, OSError) as error:
        raise _unreachable(str(error).partition("\n")[0]) from error


def _check_address(address: str) -> None:
    """Refuse an address where nothing answers, for which Ray waits minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise _unreachable(f"nothing answers at RAY_ADDRESS, {address}: {why}") from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Give back what hears of requests to end, which Ray takes to itself."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    with suppress(ValueError, TypeError):
        signal.signal(signal.SIGTERM, before)


def cores_of_cluster() -> int:
    """Return how many cores the machines of the cluster have."""
    return int(ray.cluster_resources().get("CPU", 0))


def _unreachable(why: str) -> RunError:
    fact = f"the Ray cluster cannot be used: {why}"
    cure = "start its machines with `ray start`, and say with RAY_ADDRESS where it is"
    return RunError.of("RC064", fact, cure=f"{cure}; what is finished stays")
