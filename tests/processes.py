"""Several processes for tests, as torchrun starts them: each calls one function of a test file."""

from __future__ import annotations

import faulthandler
import importlib
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
LIMIT = 120
"""Seconds after which processes that do not end are ended."""
STUCK = 90
"""Seconds after which a process says where it stands, and ends."""
GRACE = 5
"""Seconds that the others have once one has failed."""


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

    It is called with the arguments, which can be pickled, in `folder`. What a process prints to
    stderr is shown where one of them fails.
    """
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "arguments").write_bytes(pickle.dumps(arguments))
    logs = [folder / f"stderr-{rank}" for rank in range(size)]
    opened = [log.open("wb") for log in logs]
    started = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__)), module, function],
            env=environment(rank, size, store.port),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        for rank, log in enumerate(opened)
    ]
    until = time.monotonic() + LIMIT
    while any(process.poll() is None for process in started) and time.monotonic() < until:
        # As torchrun does: what one has failed the others need not go on with.
        if any(process.returncode for process in started):
            until = min(until, time.monotonic() + GRACE)
        time.sleep(0.02)
    for process in started:
        process.kill()
    for log in opened:
        log.close()
    codes = [process.wait() for process in started]
    said = [log.read_text(errors="replace") for log in logs]
    assert not any(codes), "\n".join([f"exit codes {codes}", *said])
    return [pickle.loads((folder / f"result-{rank}").read_bytes()) for rank in range(size)]


def child(module: str, function: str) -> None:
    """Be one of the processes."""
    faulthandler.dump_traceback_later(STUCK, exit=True)
    sys.path[:0] = [
        *sys.path[:0],
        str(TESTS),
        *(str(path) for path in TESTS.iterdir() if path.is_dir()),
    ]
    arguments = pickle.loads(Path("arguments").read_bytes())
    result = getattr(importlib.import_module(module), function)(*arguments)
    Path(f"result-{os.environ['RANK']}").write_bytes(pickle.dumps(result))


if __name__ == "__main__":
    child(*sys.argv[1:])
