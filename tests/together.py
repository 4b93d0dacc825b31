"""Processes that begin the same thing at the same moment, forked, so that they cost little."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORLD = multiprocessing.get_context("fork")
PATIENCE = 120
"""Seconds for which a process is waited for, however busy the machine is."""


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Return what `work` returns in each of so many processes that begin it together.

    What it raises is returned as well.
    """
    barrier = WORLD.Barrier(count)
    pipes, children = [], []
    for number in range(count):
        ours, theirs = WORLD.Pipe(duplex=False)
        child = WORLD.Process(target=_answer, args=(barrier, theirs, work, number))
        child.start()
        theirs.close()
        pipes.append(ours)
        children.append(child)

    answers = []
    for pipe, child in zip(pipes, children, strict=True):
        assert pipe.poll(PATIENCE), "a process does not come to an end"
        answers.append(pipe.recv())
        child.join(PATIENCE)
        pipe.close()
    return answers


def _answer(barrier: Any, pipe: Any, work: Callable[[int], Any], number: int) -> None:
    barrier.wait(PATIENCE)
    try:
        with warnings.catch_warnings(action="error"):
            answer = work(number)
    except BaseException as error:
        answer = error
        answer.add_note(traceback.format_exc())
    pipe.send(answer)


@contextmanager
def beside(work: Callable[[], Any]) -> Iterator[int]:
    """Let a process work meanwhile, and kill it in the end, whatever it does; gives its number."""
    child = WORLD.Process(target=work)
    child.start()
    assert child.pid is not None
    try:
        yield child.pid
    finally:
        # One that was stopped dies as well.
        child.kill()
        child.join(PATIENCE)


def kill(pid: int) -> None:
    """Kill a process, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def until(there: Callable[[], Any]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end
        time.sleep(0.005)


def note(path: Path, word: str) -> None:
    """Append a line in one stroke, as several processes may at once."""
    with path.open("a") as file:
        file.write(f"{word}\n")


def noted(path: Path) -> list[str]:
    """Return the lines so far."""
    return path.read_text().splitlines() if path.exists() else []
