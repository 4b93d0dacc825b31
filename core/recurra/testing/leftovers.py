"""What a process has going, and nobody should leave behind: threads, files, processes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

try:
    import resource
except ImportError:  # a system that limits nothing
    resource = None  # type: ignore[assignment]


def threads() -> set[threading.Thread]:
    """Return the threads of Python's that are alive."""
    return {*threading.enumerate()}


def open_files() -> set[str]:
    """Return the files that the process holds open, where the system tells."""
    folder = Path("/proc/self/fd")
    return (
        {path for entry in folder.iterdir() if (path := _target(entry))}
        if folder.is_dir()
        else set()
    )


def _target(entry: Path) -> str:
    """Return the path of an open file; "" for a pipe, a device, and the folder that is read."""
    try:
        path = os.readlink(entry)
    except OSError:
        return ""
    return path if path.startswith("/") and not path.startswith(("/dev/", "/proc/")) else ""


def processes() -> set[int]:
    """Return the ids of the processes started here that are not over, where the system tells."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(number) for path in lists for number in _text(path).split()}


def _text(path: Path) -> str:
    """Return what a file of the system holds; "" for one that is gone."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
