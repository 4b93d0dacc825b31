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
from typing import Any

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
    text = " ".join(str(error).split())
    brief = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    ours = (HERE, "<", importlib.__path__[0], pluggy.__path__[0], importlib.metadata.__path__[0])
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)
    ]
    return f"{brief} ({frames[-1].filename}:{frames[-1].lineno})" if frames else brief


class Sink(io.StringIO):
    """Takes what is printed, and stays open whoever closes it."""

    def close(self) -> None:
        """Do nothing."""


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
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
    import torch  # here, for something has changed it: it is there

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


_SHARED: dict[str, tuple[Callable[[], Any], Callable[[Any, Any], bool], Callable[[Any], None]]] = {
    "the working folder": (_folder, operator.ne, _to_folder),
    "what happens on Ctrl-C": (_handlers, operator.ne, _set_handlers),
    "torch's defaults": (_arithmetic, _unusual, _set_arithmetic),
}
"""What all share, and a plugin must not change when it is loaded."""


@contextlib.contextmanager
def contained(sink: io.StringIO | None = None) -> Iterator[list[str]]:
    """Keep what a plugin prints out of the command's output, and what it changes from others.

    The output may be JSON. Gives a list that holds, after that, the names of what was changed, and
    is as it was.
    """
    sink = sink or Sink()
    before = {name: read() for name, (read, _, _) in _SHARED.items()}
    running = set(threading.enumerate())
    changed: list[str] = []
    try:
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            yield changed
    finally:
        for name, (read, differs, put_back) in _SHARED.items():
            if differs(before[name], read()):
                put_back(before[name])
                changed.append(name)
        if any(not thread.daemon for thread in set(threading.enumerate()) - running):
            changed.append(LINGERING)


@contextlib.contextmanager
def watched(name: str) -> Iterator[None]:
    """Say which plugin it is that takes long to load: a hang without a word is nobody's."""
    out = sys.stderr  # the command's own

    def tell() -> None:
        with contextlib.suppress(Exception):
            print(
                f"note: {name} has been loading for {PATIENCE} s; RECURRA_PLUGINS_BLOCK leaves"
                " it out",
                file=out,
            )

    timer = threading.Timer(PATIENCE, tell)
    timer.daemon = True
    with contextlib.suppress(RuntimeError):  # where no thread can be started, nothing is told
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
