"""Runs that torchrun begins again: after a process has died it calls the same command once more."""

from __future__ import annotations

import json
import os
import platform
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from recurra.resolved import Resolved
from recurra.runs import files
from recurra.runs.folder import RunFolder, numbered

FILE = "launch.json"
"""In which a run says by which launch of torchrun it was begun, as which run of that."""
UNNAMED = ("", "none")
"""What torchrun calls a launch to which nobody has given a name."""

_runs = count()


def this_launch() -> dict[str, Any] | None:
    """Return what tells the next run of this process from all others, under torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name is None:
        return None
    if name in UNNAMED:
        # The process of torchrun stays, whatever it begins again.
        name = f"{platform.node()} {os.getppid()} {_started(os.getppid())}"
    return {"launch": name, "run": next(_runs)}


def begun(home: Path, resolved: Resolved, launch: dict[str, Any] | None) -> Path | None:
    """Return the run that this launch has begun before, if it has, and it can go on.

    One without a checkpoint is cleared away: it begins anew. A launch that is no restart may bear
    the name of an older one: it goes on with a run that has not ended and is of the same task.
    Raises `RunError` (RC053).
    """
    if launch is None:
        return None
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    for path in numbered(home):
        if _said(path) != launch:
            continue
        if not restarts and ((path / "result.json").exists() or not _is_of(path, resolved)):
            continue
        if RunFolder(path).checkpoints.index():
            return path
        with files.guarded(path):
            shutil.rmtree(path)
    return None


def note(folder: RunFolder, launch: dict[str, Any] | None) -> RunFolder:
    """Let a run say by which launch it was begun. Raises `RunError` (RC053)."""
    if launch is not None:
        folder.write(FILE, launch)
    return folder


def _said(path: Path) -> Any:
    with suppress(OSError, ValueError):
        return json.loads((path / FILE).read_text(encoding="utf-8"))
    return None


def _is_of(path: Path, resolved: Resolved) -> bool:
    """Tell whether a run is of a task, or has not come to say of which."""
    try:
        return (path / "task.toml").read_text(encoding="utf-8") == resolved.toml()
    except OSError:
        return not (path / "task.toml").exists()


def _started(pid: int) -> str:
    """Return when a process has begun, where the system says."""
    with suppress(OSError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    return ""
