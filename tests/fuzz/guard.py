"""Watches one call.

Nothing may come out of it but a result or a `RecurraError`, in time, and within its own folder.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from conftest import REPOSITORY

from recurra.errors import CODES, PluginError, RecurraError

SECONDS = {signal.ITIMER_PROF: 30.0, signal.ITIMER_REAL: 200.0}
"""How long one call may take, of the processor and by the clock.

The clock is that of a machine that is busy with others.
"""
MEMORY = 3 << 30
"""Bytes that one call may add to the process.

What asks for more is told that there is no memory.
"""
tempfile.gettempdir()  # which tries, once a process, where a file can be written
STATM = Path("/proc/self/statm")
TESTS = str(REPOSITORY / "tests")


class Hang(BaseException):
    """A call has taken too long; no `except Exception` on the way stops it."""


@dataclass(frozen=True)
class Fault:
    """What should not have come out of a call.

    Many cases are of one kind; the detail is what was seen of this one.
    """

    kind: str
    detail: str


@dataclass
class Outcome:
    """What came out of a call: a value, one of recurra's errors, or faults."""

    value: Any = None
    error: RecurraError | None = None
    faults: Sequence[Fault] = ()
    warned: bool = False

    @property
    def done(self) -> bool:
        """Whether it gave a result."""
        return self.error is None and not self.faults


def attempt(call: Callable[[], Any], *homes: Path) -> Outcome:
    """Make a call; `homes` are the folders that it may write to."""
    outcome, faults = Outcome(), list[Fault]()
    with _in_time(), _in_memory(), _at_home(homes, faults), _warned(outcome, faults):
        try:
            outcome.value = call()
        except RecurraError as error:
            outcome.error = error
            faults += _misspoken(error)
        except (Exception, Hang, KeyboardInterrupt, SystemExit) as error:
            faults.append(
                Fault(f"{type(error).__name__} {place(error.__traceback__)}", _told(error))
            )
    outcome.faults = faults
    return outcome


def place(trace: TracebackType | None) -> str:
    """Return the innermost place in recurra's own code: file and function."""
    return _innermost(traceback.extract_tb(trace))


def _innermost(frames: Sequence[traceback.FrameSummary]) -> str:
    for frame in reversed(frames):
        parts = Path(frame.filename).parts
        ours = [
            at for at, part in enumerate(parts) if part == "recurra" or part.startswith("recurra_")
        ]
        if ours and not frame.filename.startswith(TESTS):
            return f"{'/'.join(parts[ours[-1] :])}:{frame.name}"
    return "outside of recurra"


def _told(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{str(error)[:200]!r} ({last.filename}:{last.lineno})"


def _misspoken(error: RecurraError) -> Iterator[Fault]:
    """Give what is wrong with one of our own errors.

    It may be one that cannot be shown, or that hides that our own plugin failed.
    """
    try:
        str(error).encode("utf-8", "backslashreplace")
        json.dumps([problem.record() for problem in error.problems])
    except Exception as fault:
        yield Fault(f"an error that cannot be shown {place(error.__traceback__)}", _told(fault))

    if not error.problems or any(p.code not in CODES or not p.fact for p in error.problems):
        yield Fault(
            f"an error that says nothing {place(error.__traceback__)}", repr(error.problems)
        )

    cause = error.__cause__
    if (
        isinstance(error, PluginError)
        and " recurra/" in f" {error}"
        and cause
        and not isinstance(cause, RecurraError)
    ):
        yield Fault(
            f"our own plugin is blamed: {type(cause).__name__} {place(cause.__traceback__)}",
            _told(cause),
        )


@contextmanager
def _in_time() -> Iterator[None]:
    """Raise `Hang` inside after some seconds; end the process if that does not help."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"stopped by {signal.Signals(number).name}")

    # A call that heeds no signal, in C say, is ended with its process.
    before = {number: signal.signal(number, ring) for number in (signal.SIGPROF, signal.SIGALRM)}
    for timer, seconds in SECONDS.items():
        signal.setitimer(timer, seconds)
    faulthandler.dump_traceback_later(2 * max(SECONDS.values()), exit=True, file=sys.__stderr__)

    try:
        yield
    finally:
        for timer in SECONDS:
            signal.setitimer(timer, 0)
        faulthandler.cancel_dump_traceback_later()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _in_memory() -> Iterator[None]:
    """Let the process grow so far and no further."""
    if not STATM.exists():
        yield
        return

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(STATM.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _warned(outcome: Outcome, faults: list[Fault]) -> Iterator[None]:
    """Note every warning, and as a fault each one that is not recurra's own."""

    def note(message: Any, category: type[Warning], filename: str, lineno: int, *rest: Any) -> None:
        outcome.warned = True
        if not category.__module__.startswith("recurra"):
            where = _innermost(traceback.extract_stack())
            faults.append(
                Fault(
                    f"{category.__name__} {where}", f"{str(message)[:200]!r} ({filename}:{lineno})"
                )
            )

    with warnings.catch_warnings(action="always"):
        warnings.showwarning = note
        yield


_homes: tuple[str, ...] = ()
_strays: list[Fault] = []
_listening: list[bool] = []
_CHANGES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
}
_PASSING = ("__pycache__", "torchinductor_", f"{tempfile.gettempdir()}/recurra-")
"""What is written while modules are imported and kernels compiled."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Take note of a file that is written where it should not be.

    Python calls this for much that it does.
    """
    if not _homes or not (event in _CHANGES or (event == "open" and (arguments[2] or 0) & _WRITES)):
        return
    relative = event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] not in (-1, None)
    if relative or not isinstance(arguments[0], str | bytes | os.PathLike):
        return

    path = os.path.abspath(os.fsdecode(arguments[0]))
    if event == "open" and path.startswith("/dev/"):  # a device may be written to, never replaced
        return
    if event == "os.mkdir" and os.path.isdir(path):  # which fails, and changes nothing
        return

    if not path.startswith(_homes) and not any(name in path for name in _PASSING):
        _strays.append(Fault(f"{event} outside {_innermost(traceback.extract_stack())}", path))


@contextmanager
def _at_home(homes: Sequence[Path], faults: list[Fault]) -> Iterator[None]:
    """Note what is written outside of the folders."""
    global _homes
    if not _listening:
        sys.addaudithook(_audit)  # for ever: it does nothing where no call is watched
        _listening.append(True)
    _strays.clear()
    _homes = tuple(str(home) for home in homes)
    try:
        yield
    finally:
        _homes = ()
        faults += _strays
