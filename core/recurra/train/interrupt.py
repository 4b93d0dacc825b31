"""Ctrl-C, and a polite request to end: the loop finishes its step and saves.

A second one ends at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any


@contextmanager
def listening() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether an end was asked for.

    Outside the main thread it never is.
    """
    request = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if request.is_set():
            raise KeyboardInterrupt
        request.set()

    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Refused outside the main thread, and by a host that has signals to itself.
            with suppress(ValueError):
                before[number] = signal.signal(number, note)
        yield request.is_set
    finally:
        for number, handler in before.items():
            # None stands for a handler that is not Python's.
            own = signal.SIG_DFL if handler is None else handler
            signal.signal(number, own)
