"""What listing and loading plugins share: names, containment, and errors in a line."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import operator
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pluggy

HERE = str(Path(__file__).parent)
PATIENCE = 5
"""Seconds of loading after which the name of the plugin is told."""
LINGERING = "the threads: one keeps the command from ending"
"""What is said of a thread that a plugin has left."""


def canonical(name: str) -> str:
    """Return a distribution's name as installers compare it.

    Case, `-`, `_` and `.` make no difference.
    """
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def brief(error: BaseException) -> str:
    """Return an error in a line, with the place in the plugin's own code where it arose."""
    line = type(error).__name__
    if isinstance(error, SyntaxError) and os.path.isfile(error.filename or ""):
        # Its own text has the last part of the file's name alone.
        return f"{line}: {error.msg} ({error.filename}:{error.lineno})"
    if message := " ".join(str(error).split()):
        line += f": {message[:300]}"

    # What lies between the plugin and us is of no interest: imports, and the hook.
    ours = (HERE, "<", importlib.__path__[0], pluggy.__path__[0], importlib.metadata.__path__[0])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(ours):
            return f"{line} ({frame.filename}:{frame.lineno})"
    return line


class Sink(io.StringIO):
    """Takes what is printed, and stays open whoever closes it."""

    def close(self) -> None:
        """Do nothing."""


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        # It was deleted.
        return None


def _to_folder(folder: str | None) -> None:
    if folder is not None:
        with contextlib.suppress(OSError):
            os.chdir(folder)


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def _set_handlers(handlers: list[Any]) -> None:
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
        with contextlib.suppress(ValueError, TypeError):
            # Outside the main thread; one that is none of Python's.
            signal.signal(number, handler)


def _arithmetic() -> tuple[Any, ...] | None:
    """Return how torch computes by default: nothing while nobody has imported it."""
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "get_default_dtype"):
        return None
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )


def _set_arithmetic(before: tuple[Any, ...] | None) -> None:
    # Something has changed it, so it is imported already.
    import torch

    dtype, device, grad, threads = before or (torch.float32, torch.device("cpu"), True, None)
    torch.set_default_dtype(dtype)
    torch.set_default_device(None if device == torch.device("cpu") else device)
    torch.set_grad_enabled(grad)
    if threads is not None:
        torch.set_num_threads(threads)


def _unusual(before: tuple[Any, ...] | None, after: tuple[Any, ...] | None) -> bool:
    """Tell whether torch computes otherwise than before, or than it does when it is imported."""
    if before is None and after is not None:
        import torch

        return after[:3] != (torch.float32, torch.device("cpu"), True)
    return before != after


class Shared(NamedTuple):
    """Something that all share: how it is read, compared and put back."""

    read: Callable[[], Any]
    differs: Callable[[Any, Any], bool]
    put_back: Callable[[Any], None]


_SHARED = {
    "the working folder": Shared(_folder, operator.ne, _to_folder),
    "what happens on Ctrl-C": Shared(_handlers, operator.ne, _set_handlers),
    "torch's defaults": Shared(_arithmetic, _unusual, _set_arithmetic),
}
"""What all share, and a plugin must not change when it is loaded."""


@contextlib.contextmanager
def contained(sink: io.StringIO | None = None) -> Iterator[list[str]]:
    """Keep what a plugin prints out of the command's output, and what it changes from others.

    The output may be JSON. Gives a list that holds, after that, the names of what was changed, and
    is as it was.
    """
    sink = sink or Sink()
    before = {name: shared.read() for name, shared in _SHARED.items()}
    running = set(threading.enumerate())
    changed: list[str] = []
    try:
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            yield changed
    finally:
        for name, shared in _SHARED.items():
            if shared.differs(before[name], shared.read()):
                shared.put_back(before[name])
                changed.append(name)

        # A daemon thread ends with the command; any other keeps it waiting.
        started = set(threading.enumerate()) - running
        if not all(thread.daemon for thread in started):
            changed.append(LINGERING)


@contextlib.contextmanager
def watched(name: str) -> Iterator[None]:
    """Say which plugin it is that takes long to load: a hang without a word is nobody's."""
    # The command's own: while the plugin loads, another may stand in its place.
    out = sys.stderr
    note = f"note: {name} has been loading for {PATIENCE} s; RECURRA_PLUGINS_BLOCK leaves it out"

    def tell() -> None:
        with contextlib.suppress(Exception):
            print(note, file=out)

    timer = threading.Timer(PATIENCE, tell)
    timer.daemon = True
    # Where no thread can be started, nothing is told.
    with contextlib.suppress(RuntimeError):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
