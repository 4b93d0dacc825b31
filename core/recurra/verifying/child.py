"""A process that runs a command of recurra's, and is killed where it is told to be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from recurra.verifying.kills import Kill
from recurra.verifying.phases import VARIABLE, Following, Mark
from recurra.world import lone

PAUSE = 0.0005
"""Seconds between two looks at a process."""
LINES = 3
"""Of what a process that crashed has said last."""


@dataclass
class Life:
    """What became of a process: its exit code, nothing where it was killed, and its marks."""

    born: float
    ended: float
    code: int | None
    marks: list[Mark] = field(default_factory=list)
    said: str = ""
    complained: str = ""

    @property
    def seconds(self) -> float:
        """How long it lived."""
        return self.ended - self.born

    def answer(self) -> dict[str, Any]:
        """Return the JSON object of its last line; nothing where there is none."""
        for line in reversed(self.said.splitlines()[-1:]):
            with suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    return value
        return {}

    def last_words(self) -> str:
        """Return the last lines that it has complained in."""
        return " | ".join(self.complained.strip().splitlines()[-LINES:])


class Child:
    """A module of recurra's in a process, and a group of processes, of its own.

    Left as a context, whatever the reason, it is killed if it still runs.
    """

    def __init__(self, module: str, arguments: Sequence[str], logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        number = len(list(logs.glob("*.out"))) + 1
        self.phases = Following(logs / f"{number}.phases")
        self.out, self.err = logs / f"{number}.out", logs / f"{number}.err"
        more = {VARIABLE: str(self.phases.path), "PYTHONIOENCODING": "utf-8:backslashreplace"}
        self.born = time.monotonic()
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = self.begun(module, arguments, {**lone(), **more}, out, err)

    @staticmethod
    def begun(
        module: str,
        arguments: Sequence[str],
        environment: dict[str, str],
        out: IO[bytes],
        err: IO[bytes],
    ) -> subprocess.Popen[bytes]:
        """Begin a process as a user does: a new interpreter, with hashes of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL), with whatever it has started, and wait until it is gone."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def lived(self, kill: Kill | None = None, limit: float | None = None) -> Life:
        """Wait until it ends by itself, or kill it when its time has come, or after a limit."""
        due = None if limit is None else self.born + limit
        if kill is not None and kill.after is None:
            due = self.born + kill.seconds

        while self.process.poll() is None:
            for mark in self.phases.new():
                if kill is not None and kill.after and due is None and mark.moment >= kill.after:
                    due = mark.at + kill.seconds
            if due is not None and time.monotonic() >= due:
                self.kill()
                return self._life(killed=self.process.returncode != 0)
            left = PAUSE if due is None else min(PAUSE, max(0.0, due - time.monotonic()))
            time.sleep(left)
        return self._life(killed=False)

    def _life(self, killed: bool) -> Life:
        ended = time.monotonic()
        list(self.phases.new())
        code = None if killed else self.process.returncode
        said, complained = (
            path.read_text(encoding="utf-8", errors="replace") for path in (self.out, self.err)
        )
        return Life(self.born, ended, code, self.phases.marks, said, complained)
