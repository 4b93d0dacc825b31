"""Proofs whose processes are forks of this one: they need not import torch again.

What a run imports is imported here, before any fork."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import torch._dynamo  # noqa: F401
from trials import write

import recurra.cli.main
import recurra.cli.show
import recurra.verbs
import recurra.verifying.causes  # noqa: F401
from recurra.resolve import resolve
from recurra.verifying.child import Child
from recurra.verifying.proof import Proof, Verified
from recurra.verifying.rhythm import Shortened

PLACES = {"recurra": "recurra.cli.main"}
"""Where the `main` of a package lives."""


class Fork:
    """A fork of this process that runs a module as `python -m` does."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: dict[str, str],
        out: IO[bytes],
        err: IO[bytes],
    ) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            os.setsid()
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout, sys.stderr = open(1, "w"), open(2, "w")
            os.environ.update(environment)
            warnings.resetwarnings()
            sys.argv = [module, *map(str, arguments)]
            import_module(PLACES.get(module, module)).main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """Return the exit code once it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        """Return the exit code when it has ended."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


class Forked(Child):
    """A child that is a fork."""

    begun: Any = staticmethod(Fork)


def tables(folder: Path, text: str, **changes: Any) -> dict[str, Any]:
    """Return a task as plain tables, of no plugin but recurra's own."""
    return resolve(write(folder, text), changes).tables()


def proved(
    folder: Path, task: dict[str, Any], kills: int = 3, seed: int = 0
) -> tuple[Verified, list[str]]:
    """Prove a task, and return the outcome with all that was told meanwhile."""
    lines: list[str] = []
    steps = task["training"].get("steps", 0)
    proof = Proof(Shortened(task, steps, []), "task", folder / "kept", Forked)
    return proof.made(kills, seed, lines.append), lines
