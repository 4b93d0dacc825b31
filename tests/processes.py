"""Several processes for tests, as torchrun starts them: each calls one function of a test file.

What they all need is loaded once, in a process that forks them.
"""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
LIMIT = 120
"""Seconds after which processes that do not end are ended."""
STUCK = 90
"""Seconds after which a process says where it stands, and ends."""
GRACE = 12
"""Seconds that the others have once one has failed."""
LOADED = ("conftest", "trials", "recurra.cli.main", "recurra.job.train", "recurra.verbs",
          "torch.nn.parallel", "pytest", "hypothesis")  # fmt: skip
"""Modules that a process finds loaded."""


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """Return what torchrun tells a process, on one machine and with the store in the launcher."""
    return os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
    }


def together(size: int, module: str, function: str, folder: Path, *arguments: Any) -> list[Any]:
    """Return what a function of a module of tests gives in each of several processes, by rank.

    It is called with the arguments, which can be pickled, in `folder`. What a process prints is
    shown where one of them fails.
    """
    codes, said = ended(size, module, function, folder, *arguments)
    assert not any(codes), "\n".join([f"exit codes {codes}", *said])
    return [pickle.loads((folder / f"result-{rank}").read_bytes()) for rank in range(size)]


def ended(
    size: int, module: str, function: str, folder: Path, *arguments: Any
) -> tuple[list[int], list[str]]:
    """Return the exit codes of such processes, one of which may be none of several, and what each
    has printed.
    """
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if size > 1 else None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "arguments").write_bytes(pickle.dumps(arguments))
    environments = [
        environment(rank, size, store.port) if store else dict(os.environ) for rank in range(size)
    ]
    case = {
        "folder": str(folder),
        "called": (module, function),
        "environments": environments,
    }
    forker = _forker()
    assert forker.stdin is not None and forker.stdout is not None
    forker.stdin.write(json.dumps(case) + "\n")
    forker.stdin.flush()
    codes = json.loads(forker.stdout.readline())
    said = [(folder / f"said-{rank}").read_text(errors="replace") for rank in range(size)]
    return codes, said


@cache
def _forker() -> subprocess.Popen[str]:
    """Start the process that forks those of all tests."""
    started = subprocess.Popen(
        [sys.executable, str(Path(__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    # It ends where there is nothing more to read.
    atexit.register(started.communicate)
    return started


def _forked(case: dict[str, Any]) -> list[int] | None:
    """Fork processes, end them as torchrun does, and return their exit codes.

    In each of them, once it has done its work, there is nothing to return.
    """
    started: dict[int, int] = {}
    for rank in range(len(case["environments"])):
        pid = os.fork()
        if not pid:
            _child(case, rank)
            return None
        started[pid] = rank
    codes: dict[int, int] = {}
    until, asked = time.monotonic() + LIMIT, False
    while len(codes) < len(started):
        for pid, rank in started.items():
            if rank not in codes:
                over, status = os.waitpid(pid, os.WNOHANG)
                if over:
                    codes[rank] = os.waitstatus_to_exitcode(status)
        late = time.monotonic() > until
        if late or (any(codes.values()) and not asked):
            asked = True
            for pid, rank in started.items():
                if rank not in codes:
                    # A stopped process hears of the end only when it goes on.
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            until = min(until, time.monotonic() + GRACE)
        time.sleep(0.02)
    return [codes[rank] for rank in range(len(started))]


def _child(case: dict[str, Any], rank: int) -> None:
    """Be one of the processes."""
    os.setsid()
    os.chdir(case["folder"])
    log = os.open(f"said-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(case["environments"][rank])
    faulthandler.dump_traceback_later(STUCK, exit=True)
    module, function = case["called"]
    arguments = pickle.loads(Path("arguments").read_bytes())
    result = getattr(importlib.import_module(module), function)(*arguments)
    Path(f"result-{rank}").write_bytes(pickle.dumps(result))


def _serve() -> None:
    """Fork the processes of each case that is asked for, a line of JSON, and answer with codes."""
    sys.path[:0] = [str(TESTS), *(str(path) for path in TESTS.iterdir() if path.is_dir())]
    for name in LOADED:
        importlib.import_module(name)
    # By number: of a file that several processes have each would give back what it has read ahead.
    while line := _line():
        codes = _forked(json.loads(line))
        if codes is None:
            return
        os.write(1, (json.dumps(codes) + "\n").encode())


def _line() -> str:
    """Read a line, and nothing beyond it."""
    read = b""
    while not read.endswith(b"\n") and (more := os.read(0, 1 << 16)):
        read += more
    return read.decode()


if __name__ == "__main__":
    _serve()
