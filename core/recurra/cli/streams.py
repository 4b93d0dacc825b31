"""The streams of a command: where they fail, it ends with one line and no traceback.

They may be full, closed, or read by nobody any more.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from recurra.errors import Problem, RunError

GONE = 141
"""The exit code of a command whose reader has left.

It is what a shell gives for a process ended by SIGPIPE.
"""


class OutputLost(RunError):
    """What a command prints cannot be written (exit code 1)."""

    @classmethod
    def because(cls, error: Exception) -> OutputLost:
        """Return the error of a write that failed."""
        why = getattr(error, "strerror", None) or str(error)
        return cls(Problem("RC053", f"the output cannot be written: {why}"))


class ReaderGone(OutputLost):
    """Whoever read the output has left, as `head` does: nothing is wrong."""


class Guarded:
    """A stream that tells what is wrong with it as an error of ours."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lost: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text. Raises `OutputLost` if that fails."""
        try:
            return int(self._stream.write(text))
        except (OSError, ValueError) as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        """Write what is held back. Raises `OutputLost` if that fails."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def check(self) -> None:
        """Raise `OutputLost` if anything could not be written, though whoever wrote it went on."""
        if self._lost is not None:
            _raise(self._lost)

    def _fail(self, error: Exception) -> None:
        self._lost = error
        _to_nowhere(self._stream)
        _raise(error)


class _Silenced(Guarded):
    """A stream for messages: where it cannot be written, nobody can be told so."""

    def _fail(self, error: Exception) -> None:
        _to_nowhere(self._stream)


class _Closed(io.StringIO):
    """Stands for a stream that was closed before the command began."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Refuse."""
        raise OSError(errno.EBADF, "it is closed")


def _raise(error: Exception) -> NoReturn:
    if isinstance(error, BrokenPipeError):
        raise ReaderGone(OutputLost.because(error).problems) from error
    raise OutputLost.because(error) from error


def _to_nowhere(stream: Any) -> None:
    """Send what a stream still holds to nowhere, so that the interpreter can end in peace."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Stand between a command and its streams."""
    _fill_gaps()
    out, err = sys.stdout, sys.stderr
    for stream in (out, err):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal lacks must not end a run.
            stream.reconfigure(errors="backslashreplace")

    sys.stdout = Guarded(_Closed() if out is None else out)
    sys.stderr = _Silenced(io.StringIO() if err is None else err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def _fill_gaps() -> None:
    """Open the standard streams that are closed to nowhere.

    Otherwise the next file that is opened would take their number, and what is printed would go
    there. The system gives the least number that is free, so all are taken once it is above 2.
    """
    with contextlib.suppress(OSError):
        number = os.open(os.devnull, os.O_RDWR)
        while number <= 2:
            number = os.open(os.devnull, os.O_RDWR)
        os.close(number)
