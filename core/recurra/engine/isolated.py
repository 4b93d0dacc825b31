"""Work in a thread of its own, where nothing that the caller has set is felt or disturbed.

Proofs (proof.py) and measurements (measure.py) are made there, in the midst of a call of the user:
gradient modes, autocast, hooks on saved tensors (those of activation checkpointing count what is
saved) and modes that watch every operation belong to a thread.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

OMP_PAUSE_SOFT = 1

_thread = threading.local()


def is_isolated() -> bool:
    """Tell whether this is such a thread: a cell in a cell is then neither proved nor measured."""
    return getattr(_thread, "isolated", False)


def isolated(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises, from a thread of its own.

    Where the system starts no thread any more, it is done here, under the caller's settings.
    """
    with ThreadPoolExecutor(1, initializer=_mark) as pool:
        try:
            future = pool.submit(work)
        except RuntimeError:
            return _in_this_thread(work)
        return future.result()


def _in_this_thread(work: Callable[[], T]) -> T:
    before = is_isolated()
    _mark()
    try:
        return work()
    finally:
        _thread.isolated = before


def _mark() -> None:
    _thread.isolated = True


def release() -> None:
    """Let go of the threads that OpenMP holds for the caller; they come back when they are needed.

    Those of another thread would otherwise be more than there are cores, and then GNU's library
    lets each go to sleep at once where it waits: what has many short parts to share would seem far
    slower there than it is here.
    """
    # Another library has no such habit.
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libgomp.so.1").omp_pause_resource_all(OMP_PAUSE_SOFT)
