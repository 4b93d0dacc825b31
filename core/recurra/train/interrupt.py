"""Ctrl-C, and a polite request to end: the loop finishes its step and saves.

A second one ends at once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from recurra.errors import Terminated
from recurra.world import world

REQUESTS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""The signals that ask for an end; nohup, and a shell without job control, ignore some."""


class Request:
    """Tells whether an end was asked for, and by which signal."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        """Tell whether an end was asked for."""
        return self.number is not None

    def heed(self) -> None:
        """End, if that was asked for."""
        if self.number is not None:
            end(self.number, None)


def end(number: int, frame: FrameType | None) -> None:
    """End at once: raise `KeyboardInterrupt`, or `Terminated`, which is one."""
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


@contextmanager
def handled(handler: Any) -> Iterator[None]:
    """Handle requests to end meanwhile.

    Nothing is done outside the main thread, by a host that has signals to itself, and of SIGHUP
    where it is ignored.
    """
    before: dict[signal.Signals, Any] = {}
    try:
        for number in REQUESTS:
            if number != signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN:
                continue
            with suppress(ValueError):
                before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, own in before.items():
            # None stands for a handler that is not Python's.
            signal.signal(number, signal.SIG_DFL if own is None else own)


@contextmanager
def listening() -> Iterator[Request]:
    """Give what tells whether an end was asked for; outside the main thread it never is.

    Of several processes each may hear of it twice, from the terminal, or whoever manages the
    machine, and from their launcher. Where no terminal reaches them, as their launcher keeps it,
    that asks twice if it was told twice with Ctrl-C.
    """
    request, alone, apart = Request(), world().size == 1, _leads_session()

    def note(number: int, frame: FrameType | None) -> None:
        if request() and alone:
            end(number, frame)
        if request.number == signal.SIGINT and apart:
            end(request.number, frame)
        request.number = number

    with handled(note):
        yield request


def _leads_session() -> bool:
    """Tell whether this process is the first of a session, which no terminal can be asked in."""
    return hasattr(os, "getsid") and os.getsid(0) == os.getpid()
