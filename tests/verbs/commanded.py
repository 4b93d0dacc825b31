"""Commands that one process, or each of several, is given, and what it comes to."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any

from recurra.cli.main import main
from recurra.job import predict, scored

BROKEN = ("full at the end", "full at once", "left")
"""Outputs that cannot be written: full once all is written or at each line, and read no more."""

Said = tuple[int, str, str]
"""The exit code of a command, and what it has printed to stdout and to stderr."""


def commands(place: Path, lines: Sequence[tuple[Sequence[str], str]]) -> list[Said]:
    """Give commands in a folder, each with the output that it has; return what they come to."""
    predict.ROWS, scored.SERIES = 4, 2
    with chdir(place):
        return [_said(line, output) for line, output in lines]


def _said(line: Sequence[str], output: str) -> Said:
    """Return what a command comes to."""
    code: Any = 0
    with ExitStack() as stack:
        out, err = _output(output), io.StringIO()
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        before, sys.argv = sys.argv, ["recurra", *line]
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = before
    if isinstance(out, io.StringIO):
        return code, out.getvalue(), err.getvalue()
    with suppress(OSError):
        out.close()
    return code, "", err.getvalue()


def _output(kind: str) -> IO[str]:
    """Return what takes the output of a command."""
    if not kind:
        return io.StringIO()
    buffering = -1 if kind == "full at the end" else 1
    if kind != "left":
        return open("/dev/full", "w", buffering=buffering)
    reading, writing = os.pipe()
    os.close(reading)
    return open(writing, "w", buffering=buffering)
