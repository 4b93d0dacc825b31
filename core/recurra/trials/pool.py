"""Trials beside each other: as many processes as there are cores, with one thread each."""

from __future__ import annotations

import json
import os
import platform
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from recurra.errors import error_of
from recurra.trials.journal import Outcome
from recurra.trials.trial import Judge, Report, Trial

PATIENCE = 20.0
"""Seconds in which a process that is asked to end may save what it trains."""
LAST_WORDS = 400
"""Characters of what a process that crashed has said last."""
LOOK = 0.2
"""Seconds between two looks at whether an end was asked for."""


class Slot(Protocol):
    """A place where one trial is made at a time, on this machine or another."""

    def make(self, trial: Trial, judge: Judge) -> Outcome:
        """Return the outcome of a trial, whose reports a `judge` takes meanwhile.

        Raises `RecurraError` where the fault is not the trial's, and `InterruptedError` where an
        end was asked for.
        """

    def terminate(self) -> None:
        """Ask for the end of what is made there; nothing is begun any more."""

    def end(self, patience: float) -> None:
        """Wait until it has ended; after so many seconds it is ended by force."""


class Made(NamedTuple):
    """A trial and what came of it: its outcome, or the error that ends them all."""

    trial: Trial
    outcome: Outcome | None
    error: BaseException | None = None


Judging = Callable[[Trial, Report], bool]
"""Takes a report of a trial, and tells whether it is to be pruned there."""


def never(trial: Trial, report: Report) -> bool:
    """Prune nothing."""
    return False


MODULE = "recurra.trials.worker"


def begun(log: Path | None) -> subprocess.Popen[bytes]:
    """Begin a process that makes trials; what it says is lost where it has no log yet."""
    with Path(os.devnull if log is None else log).open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
        )


class Ahead:
    """Processes that begin before it is known what they make, for that takes them a while.

    Left as a context, for whatever reason, those that nobody has taken are ended.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            # They have made nothing that could be lost.
            process.kill()
            process.wait()
            closed(process)

    def begin(self, most: int) -> None:
        """Begin as many as there are to be, `most` at most."""
        self.processes += [begun(None) for _ in range(min(self.count, most))]

    def wait(self) -> None:
        """Wait until all are idle, so that nothing is timed beside them."""
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.readline()

    def take(self, log: Path) -> subprocess.Popen[bytes] | None:
        """Take one, which from now on says in a log what it says; nothing where none is left."""
        if not self.processes:
            return None
        process = self.processes.pop()
        say(process, {"log": str(log.absolute())})
        return process


def say(process: subprocess.Popen[bytes], what: dict[str, Any]) -> None:
    """Tell a process something; one that is gone hears nothing."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(what).encode() + b"\n")
        process.stdin.flush()


def closed(process: subprocess.Popen[bytes]) -> None:
    """Close what leads to and from a process that is gone."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.close()


class Worker:
    """A process that makes trials, begun when the first is asked for, and anew where it crashed.

    It may have been begun ahead.
    """

    def __init__(self, log: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.log = log
        self.process = process
        self.closed = False
        self.judge: Judge | None = None
        self._lock = threading.Lock()

    def make(self, trial: Trial, judge: Judge) -> Outcome:
        """Return the outcome of a trial; one in which the process crashes twice has failed."""
        self.judge = judge
        for _ in range(2):
            answer = self._asked(trial)
            if self.closed:
                raise InterruptedError
            if answer is not None:
                if "error" in answer:
                    raise error_of(answer)
                outcome: Outcome = answer["outcome"]
                return outcome
        said = self.log.read_bytes()[-LAST_WORDS:].decode("utf-8", "replace").strip()
        words = " | ".join(said.splitlines()[-2:]) or "without a word"
        return {"state": "failed", "why": f"its process crashed twice: {words}"}

    def _asked(self, trial: Trial) -> dict[str, Any] | None:
        """Return what the process answers; nothing where it dies."""
        with self._lock:
            if self.closed:
                return None
            if self.process is None or self.process.poll() is not None:
                self._close()
                self.process = self._begun()
            process = self.process
        assert process.stdin is not None and process.stdout is not None
        say(process, trial.as_data())
        while (line := process.stdout.readline()).endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            if "ready" in answer:
                continue
            if "report" not in answer:
                return answer
            report: Report = answer["report"]
            say(process, {"prune": self.judge is not None and self.judge(report)})
        process.wait()
        return None

    def _begun(self) -> subprocess.Popen[bytes]:
        return begun(self.log)

    def terminate(self) -> None:
        """Ask it to save what it trains, and to end; none is begun any more."""
        with self._lock:
            self.closed = True
            if self.process is not None and self.process.poll() is None:
                self.process.terminate()

    def end(self, patience: float) -> None:
        """Wait until it is gone; after so many seconds it is killed."""
        if self.process is None:
            return
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close()

    def _close(self) -> None:
        if self.process is not None:
            closed(self.process)


class Pool:
    """Places that make trials. Left as a context, for whatever reason, it leaves none behind."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = list(slots)
        self.made: queue.Queue[tuple[Slot, Made]] = queue.Queue()
        self.over = False

    @classmethod
    def here(cls, jobs: int, logs: Path, ahead: Ahead | None = None) -> Self:
        """Return one of processes on this machine, each of which keeps a log of what it says.

        Those that were begun `ahead` come first.
        """
        logs.mkdir(parents=True, exist_ok=True)
        own = f"{platform.node() or 'here'}-{os.getpid()}"
        each = [logs / f"worker-{own}-{number + 1}.log" for number in range(jobs)]
        return cls([Worker(log, None if ahead is None else ahead.take(log)) for log in each])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        for slot in self.slots:
            slot.terminate()
        for slot in self.slots:
            slot.end(PATIENCE)

    def each(
        self, trials: Iterable[Trial], judge: Judging = never
    ) -> Iterator[tuple[Trial, Outcome]]:
        """Give each trial with its outcome, as they are finished.

        They begin in their order, and the next one is asked for when there is a place for it, here
        in the thread of the caller; a `judge` is called in another. Raises `RecurraError` where a
        fault is not a trial's own.
        """
        source, free = iter(trials), list(self.slots)
        more = True
        while True:
            while free and more:
                trial = next(source, None)
                more = trial is not None
                if trial is not None:
                    parts = free.pop(0), trial, judge
                    threading.Thread(target=self._make, args=parts, daemon=True).start()
            if len(free) == len(self.slots):
                return

            slot, done = self._next()
            if done.error is not None:
                raise done.error
            assert done.outcome is not None
            free.append(slot)
            yield done.trial, done.outcome

    def _next(self) -> tuple[Slot, Made]:
        while True:
            # A wait without an end would keep the main thread from hearing of signals.
            with suppress(queue.Empty):
                return self.made.get(timeout=LOOK)

    def _make(self, slot: Slot, trial: Trial, judge: Judging) -> None:
        try:
            made = Made(trial, slot.make(trial, lambda report: judge(trial, report)))
        except BaseException as error:
            made = Made(trial, None, error)
        if not self.over:
            self.made.put((slot, made))
