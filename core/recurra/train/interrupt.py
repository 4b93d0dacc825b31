"""Ctrl-C, and a polite request to end: the loop finishes its step and saves; a second one ends at
once.
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
    """Give a function that tells whether an end was asked for; outside the main thread it never
    is.
    """
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):
                # Outside the main thread, and of a host that has signals to itself.
                before[number] = signal.signal(number, note)
        yield asked.is_set
    finally:
        for number, handler in before.items():
            # None: one that is not Python's.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
