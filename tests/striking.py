"""Processes that are struck while they train together, as torchrun starts and ends them.

`striking.py strike KIND RANK PHASE COMMAND` is one of them, for torchrun, which strikes once: what
is started again is left alone. What `tried` starts is the command line, with the store elsewhere.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


class Fault:
    """What happens to one process of several: how, to which, and in which phase of a run."""

    def __init__(self, kind: str, rank: int, phase: str) -> None:
        self.kind, self.rank, self.phase = kind, rank, phase

    def strike(self) -> None:
        """Let it happen."""
        match self.kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(7)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "term":
                os.kill(os.getpid(), signal.SIGTERM)
            case "memory":
                raise MemoryError("no more of it")
            case "allocator":
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
            case "error":
                raise KeyError("a fault of its own")

    def before(self, owner: Any, name: str, step: int | None = None) -> None:
        """Strike before something is called, at a step of training if one is named."""
        called = getattr(owner, name)

        def struck(*arguments: Any, **options: Any) -> Any:
            if step is None or arguments[0].progress.step == step:
                self.strike()
            return called(*arguments, **options)

        setattr(owner, name, struck)

    def prepare(self) -> None:
        """Prepare the process that is struck."""
        from recurra.job import fresh, paths, train
        from recurra.train.loop import Trainer

        if self.kind == "nan":
            backward: Any = Trainer._backward

            def poisoned(trainer: Trainer, *arguments: Any) -> Any:
                made = backward(trainer, *arguments)
                return made * float("nan") if trainer.progress.step == 25 else made

            owner: Any = Trainer
            owner._backward = poisoned
            return
        match self.phase:
            case "data":
                self.before(fresh, "load_data")
            case "kernels":
                self.before(paths, "_chosen")
            case "first":
                self.before(Trainer, "_update")
            case "middle":
                self.before(Trainer, "_backward", 25)
            case "validation":
                self.before(train, "evaluate")
            case "saving":
                self.before(Trainer, "state", 30)
            case "figures":
                self.before(train, "figures")


def command(words: list[str], fault: tuple[str, int, str] | None, more: dict[str, str]) -> None:
    """Be one of several processes that are given a command, and perhaps the one that is struck."""
    os.environ.update(more)
    if fault is not None and os.environ.get("RANK", "0") == str(fault[1]):
        Fault(*fault).prepare()

    from recurra.cli.main import main

    sys.argv = ["recurra", *words]
    main()


def tried(
    folder: Path,
    size: int,
    *words: str,
    fault: tuple[str, int, str] | None = None,
    environment: dict[str, str] | None = None,
) -> tuple[list[int], str]:
    """Return the exit codes of the processes of a command, and all that they have said."""
    from processes import ended

    codes, said = ended(size, "striking", "command", folder, list(words), fault, environment or {})
    return codes, "\n".join(said)


def one() -> None:
    """Be a process that torchrun has started."""
    _, _, kind, struck, phase, *command = sys.argv
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if os.environ["RANK"] == struck and not again:
        Fault(kind, int(struck), phase).prepare()
    from recurra.cli.main import main

    sys.argv = ["recurra", *command]
    main()


if __name__ == "__main__":
    one()
