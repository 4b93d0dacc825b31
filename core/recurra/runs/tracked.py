"""What a run keeps of its trackers: which follow it, and where each finds what it was told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from recurra.errors import RecurraError, Untracked, warn
from recurra.runs import files
from recurra.runs.records import Model, reading

PLACE = "tracking"
"""The folder of a run in which trackers are recorded, and keep files of their own.

It is no part of the run: nothing is computed from it, and no bundle holds it.
"""


class Tracked(Model):
    """A record: the tracker's qualified name and options, and the `state` that it gave, if any.

    All that was measured up to `told` updates is kept where it was told; one that `follows` no more
    was left out when the run was last gone on with.
    """

    kind: str
    options: dict[str, Any]
    state: dict[str, Any] | None = None
    told: Annotated[int, Field(ge=-1)] = -1
    follows: bool = True


def place_of(run: Path, name: str) -> Path:
    """Return the file of the tracker that a run calls by a name."""
    return run / PLACE / f"{name}.json"


def recorded(run: Path) -> Iterator[tuple[str, Tracked]]:
    """Give the trackers of a run by their names; one whose record is damaged is warned of."""
    folder = run / PLACE
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    for name in names:
        path = folder / name
        if path.suffix != ".json" or name.startswith("."):
            continue
        try:
            with reading(path):
                yield path.stem, Tracked.model_validate(files.read_json(path))
        except RecurraError as error:
            warn(f"{error.problems[0].fact}; that tracker follows the run no more", Untracked)


def keep(run: Path, name: str, tracked: Tracked) -> None:
    """Write a record. Raises `RunError` (RC053)."""
    path = place_of(run, name)
    with files.guarded(path, "the run goes on"):
        path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, tracked.model_dump(mode="json"), "the run goes on")
