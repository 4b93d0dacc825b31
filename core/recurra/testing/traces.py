"""What Python code does outside of itself while it is watched: files that it writes, and output."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.utime": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
}
"""What changes a file or a folder, as Python reports it, and which of its arguments are paths."""


class _Watch:
    """The one hook of the process, which can never be taken away.

    Python reports to it whatever is opened.
    """

    def __init__(self) -> None:
        self.installed = False
        self.paths: dict[str, bool] | None = None

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Write down the path of what is about to be changed, and whether it is there.

        Nothing is written down while nobody asks.
        """
        if self.paths is None:
            return
        if event == "open":
            places: tuple[int, ...] = (0,) if int(arguments[2] or 0) & WRITES else ()
        else:
            places = CHANGES.get(event, ())
        for place in places:
            if isinstance(arguments[place], str | bytes | os.PathLike):
                path = os.path.abspath(os.fsdecode(arguments[place]))
                self.paths.setdefault(path, os.path.lexists(path))


WATCH = _Watch()


@contextmanager
def written() -> Iterator[dict[str, bool]]:
    """Give a table that grows by each path that is written, made, moved, touched or removed.

    It says whether there was something before.
    """
    if not WATCH.installed:
        sys.addaudithook(WATCH.hear)
        WATCH.installed = True
    outer, WATCH.paths = WATCH.paths, {}
    try:
        yield WATCH.paths
    finally:
        WATCH.paths = outer


def left(paths: dict[str, bool], allowed: list[Path]) -> list[str]:
    """Return the changed paths outside of `allowed`, without what was made and removed again."""
    roots = [os.path.realpath(folder) for folder in allowed]
    foreign = []
    for path, existed in paths.items():
        real = os.path.realpath(path)
        inside = any(real == root or real.startswith(root + os.sep) for root in roots)
        ignored = "__pycache__" in real or real.startswith(("/dev/", "/proc/"))
        if not inside and not ignored and (existed or os.path.lexists(path)):
            foreign.append(path)
    return foreign


@contextmanager
def descriptors() -> Iterator[IO[bytes]]:
    """Let what goes to the descriptors of standard output and error go to a file; give it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with tempfile.TemporaryFile() as file:
        usual = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in usual:
                os.dup2(file.fileno(), number)
            yield file
        finally:
            for number, copy in usual.items():
                os.dup2(copy, number)
                os.close(copy)
