"""Writing that either happens or does not: a temporary name, a sync, a rename."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recurra.errors import RunError


@contextmanager
def guarded(path: Path, saved: str = "") -> Iterator[None]:
    """Turn a failed write into an error that says what is still whole (RC053)."""
    try:
        yield
    except OSError as error:
        fact = f"{path} cannot be written: {error.strerror or error}"
        raise RunError.of("RC053", fact, cure=saved or "free some space, or name another folder with --runs") from error


def write_text(path: Path, text: str, saved: str = "") -> None:
    """Write a whole file, or none of it. Raises `RunError` (RC053), which says what was `saved` before."""
    work = path.with_name(f".{path.name}.part")
    with guarded(path, saved):
        try:
            with work.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            work.replace(path)
        finally:
            work.unlink(missing_ok=True)


def write_json(path: Path, value: Any, saved: str = "") -> None:
    """Write JSON, indented for people."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n", saved)


def finite(value: Any) -> Any:
    """Return plain data with every figure that is not finite as text, since JSON holds none, and -0 as 0."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float):
        return value + 0.0 if math.isfinite(value) else str(value)
    return value


def read_json(path: Path) -> Any:
    """Read JSON. Raises `OSError` or `ValueError`."""
    return json.loads(path.read_text(encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a loss of power, where the system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
