"""Measured times, kept on disk: one small file a question, written whole or not at all, and doubted when it is read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from recurra.cache import cache_folder, unkept

_known: dict[str, dict[str, float]] = {}  # what this process has read or measured, by digest


def recalled(question: dict[str, Any], names: list[str], measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return the seconds a step of each path: those kept under `question`, else those that `measure` finds, kept now.

    What cannot be read or does not fit is measured again. Where nothing can be written, that is said once, and each
    process measures for itself.
    """
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
    if digest not in _known:
        file = cache_folder() / "paths" / f"{digest}.json"
        found = _read(file, question, names)
        if found is None:
            found = measure()
            if found:
                found = _kept(file, question, names, found)
        _known[digest] = found
    return _known[digest]


def _read(file: Path, question: dict[str, Any], names: list[str]) -> dict[str, float] | None:
    """Return the figures of a file, if it is whole, answers this question, and holds times of these paths alone."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(held, dict) or held.get("question") != question:
        return None
    seconds = held.get("seconds")
    if not isinstance(seconds, dict) or not seconds or not seconds.keys() <= set(names):
        return None
    sound = all(type(value) is float and 0 < value < math.inf for value in seconds.values())
    return seconds if sound else None


def _kept(file: Path, question: dict[str, Any], names: list[str], found: dict[str, float]) -> dict[str, float]:
    """Write figures and return them, or those that another process has written meanwhile."""
    work = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, work = tempfile.mkstemp(prefix="part-", dir=file.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump({"question": question, "seconds": found}, out, indent=1)
        if (theirs := _read(file, question, names)) is not None:
            return theirs
        os.replace(work, file)
        work = None
    except OSError as error:
        unkept(error)
    finally:
        if work is not None:
            Path(work).unlink(missing_ok=True)
    return found


@cache
def machine() -> str:
    """Return what computes here: the model of the processor, and how many there are."""
    import platform

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model} x {os.cpu_count()}"
