"""Processes that are struck while they train together, as torchrun starts and ends them.

`striking.py strike KIND RANK PHASE COMMAND` is one of them, for torchrun, which strikes once: what
is started again is left alone. `striking.py` is one process that has loaded everything, reads cases
from its input, a line each, and forks the processes of each: what is struck is the command line,
with the store elsewhere.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

TESTS = Path(__file__).parent
LIMIT = 60
"""Seconds after which processes that do not end are killed."""


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


def child(case: dict[str, Any], rank: int, port: int) -> NoReturn:
    """Be one of the processes."""
    os.setsid()
    folder = Path(case["folder"])
    os.chdir(folder)
    log = os.open(folder / f"said-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if case["size"] > 1:
        from processes import environment

        os.environ.update(environment(rank, case["size"], port))
    os.environ.update(case.get("environment", {}))
    kind, struck, phase = case.get("fault") or ("none", -1, "")
    if rank == struck:
        Fault(kind, rank, phase).prepare()

    from recurra.cli.main import main

    sys.argv = ["recurra", *case["command"]]
    code = 1
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def tried(case: dict[str, Any]) -> list[int]:
    """Start the processes of a case, end them as torchrun does, and return their exit codes."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    keeper, port = 0, 0
    if case["size"] > 1:
        reading, writing = os.pipe()
        keeper = os.fork()
        if not keeper:
            store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            os.write(writing, str(store.port).encode())
            time.sleep(2 * LIMIT)
            os._exit(0)
        port = int(os.read(reading, 9))
    started = {}
    for rank in range(case["size"]):
        pid = os.fork()
        if not pid:
            child(case, rank, port)
        started[pid] = rank
    codes: dict[int, int] = {}
    until, asked = time.monotonic() + LIMIT, False
    while len(codes) < len(started):
        for pid, rank in started.items():
            if rank not in codes:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    codes[rank] = os.waitstatus_to_exitcode(status)
        late = time.monotonic() > until
        if late or (any(codes.values()) and not asked):
            asked = True
            for pid, rank in started.items():
                if rank not in codes:
                    # A stopped process hears of the end only when it goes on.
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            until = min(until, time.monotonic() + 12)
        time.sleep(0.05)
    if keeper:
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)
    return [codes[rank] for rank in range(case["size"])]


def serve() -> None:
    """Try the cases that are asked for, each a line of JSON, and answer each with its codes."""
    sys.path[:0] = [str(TESTS)]
    import recurra.cli.main
    import recurra.job.train
    import recurra.verbs  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(tried(json.loads(line))), flush=True)


def one() -> None:
    """Be a process that torchrun has started."""
    _, _, kind, struck, phase, *command = sys.argv
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if os.environ["RANK"] == struck and not again:
        Fault(kind, int(struck), phase).prepare()
    from recurra.cli.main import main

    sys.argv = ["recurra", *command]
    main()


class Striker:
    """A process that tries cases, one after the other."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def tried(self, folder: Path, size: int, *command: str, **more: Any) -> tuple[list[int], str]:
        """Return the exit codes of the processes of a command, and all that they have said."""
        folder.mkdir(parents=True, exist_ok=True)
        case = {"folder": str(folder), "size": size, "command": command, **more}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        codes = json.loads(self.process.stdout.readline())
        said = [(folder / f"said-{rank}").read_text(errors="replace") for rank in range(size)]
        return codes, "\n".join(said)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


if __name__ == "__main__":
    one() if sys.argv[1:2] == ["strike"] else serve()
