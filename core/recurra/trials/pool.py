"""Trials beside each other: as many processes as there are cores, with one thread each."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from recurra.errors import error_of
from recurra.trials.journal import Outcome
from recurra.trials.trial import Trial

PATIENCE = 20.0
"""Seconds in which a process that is asked to end may save what it trains."""
LAST_WORDS = 400
"""Characters of what a process that crashed has said last."""
LOOK = 0.2
"""Seconds between two looks at whether an end was asked for."""


class Made(NamedTuple):
    """A trial and what came of it: its outcome, or the error that ends them all."""

    trial: Trial
    outcome: Outcome | None
    error: BaseException | None = None


class Worker:
    """A process that makes trials, begun when the first is asked for, and anew where it crashed."""

    module = "recurra.trials.worker"

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.closed = False
        self._lock = threading.Lock()

    def make(self, trial: Trial) -> Outcome:
        """Return the outcome of a trial; one in which the process crashes twice has failed.

        Raises `RecurraError` where the fault is not the trial's.
        """
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
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(trial.as_data()).encode() + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        process.wait()
        return None

    def _begun(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
                start_new_session=True,
            )

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
        """Close what leads to and from a process that is gone."""
        if self.process is None:
            return
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.close()


class Pool:
    """Processes that make trials. Left as a context, for whatever reason, it leaves none behind."""

    def __init__(self, jobs: int, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.workers = [Worker(logs / f"worker-{number + 1}.log") for number in range(jobs)]
        self.made: queue.Queue[Made] = queue.Queue()
        self.waiting: queue.SimpleQueue[Trial] = queue.SimpleQueue()
        self.over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.end(PATIENCE)

    def each(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, Outcome]]:
        """Give each trial with its outcome, as they are finished.

        They begin in their order. Raises `RecurraError` where a fault is not a trial's own.
        """
        for trial in trials:
            self.waiting.put(trial)
        threads = [
            threading.Thread(target=self._work, args=(worker,), daemon=True)
            for worker in self.workers[: len(trials)]
        ]
        for thread in threads:
            thread.start()

        left = len(trials)
        while left:
            try:
                # A wait without an end would keep the main thread from hearing of signals.
                done = self.made.get(timeout=LOOK)
            except queue.Empty:
                continue
            if done.error is not None:
                raise done.error
            assert done.outcome is not None
            left -= 1
            yield done.trial, done.outcome

    def _work(self, worker: Worker) -> None:
        while not self.over:
            try:
                trial = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                made = Made(trial, worker.make(trial))
            except BaseException as error:
                made = Made(trial, None, error)
            if not self.over:
                self.made.put(made)
