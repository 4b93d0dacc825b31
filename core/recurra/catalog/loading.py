"""What listing and loading share: names as installers compare them, silence, and errors in a line."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import pluggy

HERE = str(Path(__file__).parent)


def canonical(name: str) -> str:
    """Return a distribution's name as installers compare it: case, `-`, `_` and `.` make no difference."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def brief(error: BaseException) -> str:
    """Return an error in a line, with the place in the plugin's own code where it arose."""
    text = " ".join(str(error).split())
    brief = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    ours = (HERE, "<", importlib.__path__[0], pluggy.__path__[0], importlib.metadata.__path__[0])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    return f"{brief} ({frames[-1].filename}:{frames[-1].lineno})" if frames else brief


@contextlib.contextmanager
def quiet(sink: io.StringIO | None = None) -> Iterator[None]:
    """Keep what a plugin prints out of the command's own output, which may be JSON."""
    sink = sink or io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield
