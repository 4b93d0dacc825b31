"""Work in a thread of its own, where nothing that the caller has set for its own thread is felt or disturbed.

Gradient modes, autocast, hooks on saved tensors (those of activation checkpointing count what is saved) and modes that
watch every operation belong to a thread.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_here = threading.local()


def is_apart() -> bool:
    """Tell whether this is such a thread: a cell inside a cell is then neither proved nor measured."""
    return getattr(_here, "apart", False)


def apart(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises, from a thread of its own.

    Where the system starts no thread any more, it is done here, under the caller's settings.
    """
    with ThreadPoolExecutor(1, initializer=_mark) as pool:
        try:
            done = pool.submit(work)
        except RuntimeError:
            return _here_instead(work)
        return done.result()


def _here_instead(work: Callable[[], T]) -> T:
    before = is_apart()
    _mark()
    try:
        return work()
    finally:
        _here.apart = before


def _mark() -> None:
    _here.apart = True


def release() -> None:
    """Let go of the threads that OpenMP holds for the caller; they come back when they are needed.

    Those of another thread would otherwise be more than there are cores, and then GNU's library lets each go to sleep
    at once where it waits: what has many short parts to share would seem far slower there than it is here.
    """
    with suppress(OSError, AttributeError):  # another library has no such habit
        ctypes.CDLL("libgomp.so.1").omp_pause_resource_all(_SOFT)


_SOFT = 1  # omp_pause_soft
