"""The journal of finished trials: a line each, which is there whole or counts for nothing."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from recurra import system
from recurra.runs import bounded, files

Outcome = dict[str, Any]
"""What came of a trial, as plain data: `state`, and what is known of it."""


class Journal:
    """A file with a JSON object a line: the name of a trial, and its outcome.

    It is appended to by one process, which may be killed within a line: such a line is cleared away
    by the next, and the trial counts as never finished. So does one whose line was damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Outcome]:
        """Return the outcome of each finished trial; of two lines of one, the first counts."""
        if not os.path.lexists(self.path):
            return {}
        outcomes: dict[str, Outcome] = {}
        for line in bounded.whole(self.path).split(b"\n")[:-1]:
            with suppress(ValueError):
                record = files.parsed(line)
                if isinstance(record, dict) and isinstance(record.get("outcome"), dict):
                    outcomes.setdefault(str(record.get("trial")), record["outcome"])
        return outcomes

    def append(self, trial: str, outcome: Outcome) -> None:
        """Bring a line to the disk, after whatever is whole. Raises `RunError` (RC053)."""
        record = {"trial": trial, "outcome": files.finite(outcome)}
        line = json.dumps(record, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        with files.guarded(self.path, "the trials that are finished stay so"):
            with self.path.open("a+b") as file:
                whole = _whole(file.seek(0, os.SEEK_END), self.path)
                file.truncate(whole)
                file.write(line)
                file.flush()
                system.sync(file.fileno())
            system.sync_folder(self.path.parent)


def _whole(size: int, path: Path) -> int:
    """Return how many bytes of a file of a size are whole lines."""
    if not size:
        return 0
    with path.open("rb") as file:
        content = file.read()
    return content.rfind(b"\n") + 1
