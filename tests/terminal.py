"""The command line as the tests call it.

It runs in a process of its own, or in this one, which has torch imported already.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from recurra.cli.main import main
from recurra.engine import build


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> dict[str, Any]:
        """The one JSON object of the last line."""
        value = json.loads(self.out.splitlines()[-1])
        assert isinstance(value, dict)
        return value

    def tidy(self, code: int) -> Ended:
        """Check the exit code, and that nobody is shown a traceback."""
        assert self.code == code, f"exit code {self.code}\n{self.out}\n{self.err}"
        assert "Traceback" not in self.out + self.err
        return self

    def fails(self, code: int, *words: str) -> Ended:
        """Check that this ended with one message, on stderr, that holds every word."""
        self.tidy(code)
        assert self.err.count("error: ") == 1, self.err
        for word in words:
            assert word in self.err, self.err
        return self


def alone(ended: Ended) -> dict[str, object]:
    """Return the JSON object that is all that a command has printed."""
    assert len(ended.out.splitlines()) == 1, ended.out
    return ended.last


def world(**more: str) -> dict[str, str]:
    """Return the environment of a process: one core, and the cache of this test.

    The kernels in it are those of all tests.
    """
    cache = Path(os.environ["RECURRA_CACHE"])
    cache.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (cache / "kernels").symlink_to(build.kernel_folder(), target_is_directory=True)
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def process(
    *arguments: str | Path, path: str | Path = "", cwd: Path | None = None, **environment: str
) -> Ended:
    """Run a command in a process of its own; `path` goes in front of where it looks for modules."""
    around = world(**environment, PYTHONPATH=str(path))
    line = [sys.executable, "-m", "recurra.cli.main", *map(str, arguments)]
    done = subprocess.run(
        line, capture_output=True, encoding="utf-8", cwd=cwd, env=around, timeout=120, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def command(*arguments: str | Path) -> Ended:
    """Run a command in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["recurra", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    return Ended(code, out.getvalue(), err.getvalue())
