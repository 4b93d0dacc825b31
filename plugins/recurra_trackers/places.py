"""Where the files of a tracker lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recurra import Followed


def place_of(run: Followed, folder: str | None, state: Mapping[str, Any] | None) -> Path:
    """Return the folder of a run, where it was or, of a new one, a folder that is not there yet.

    Inside the folder of the run it goes wherever that does.
    """
    if folder is None:
        return run.place
    if state is not None:
        return Path(state["folder"])
    home, number = Path(folder) / run.name, 1
    place = home
    while place.exists():
        number += 1
        place = home.with_name(f"{home.name}-{number}")
    return place
