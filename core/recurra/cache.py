"""Where recurra keeps what it can make again: encoded corpora, compiled kernels, and figures of how fast a path is."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from recurra.errors import Unkept

_told: set[Path] = set()  # folders of which it was said that nothing can be kept there


def cache_folder() -> Path:
    """Return the folder of caches: `RECURRA_CACHE`, or the user's cache folder."""
    named = os.environ.get("RECURRA_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recurra"


def unkept(error: OSError) -> None:
    """Warn (`Unkept`), once a process and folder, that neither kernels nor figures are kept."""
    try:
        folder = cache_folder()
    except RuntimeError:  # a user without a home
        folder = Path("~")
    if folder in _told:
        return
    _told.add(folder)
    why = error.strerror or error
    text = f"{folder} cannot be written ({why}): kernels are compiled and paths measured anew in each process"
    warnings.warn(text, Unkept, stacklevel=3)
