"""Where recurra keeps what it can make again.

It is encoded corpora, compiled kernels, and figures of how fast a path is.
"""

from __future__ import annotations

import atexit
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from recurra import system
from recurra.errors import Unkept

ANEW = "corpora are encoded, kernels compiled and paths measured anew in each process"

_warned: set[Path] = set()
"""The folders of which it was said that nothing can be kept there."""


def cache_folder() -> Path:
    """Return the folder of caches.

    It is `RECURRA_CACHE`, the user's cache folder, or without a home one of this process.
    """
    named = os.environ.get("RECURRA_CACHE")
    if named:
        return Path(named)
    # A relative one means nothing, says its specification.
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "recurra"
    home = system.home()
    if home:
        return home / ".cache" / "recurra"
    return _without_home()


def named_by_user() -> bool:
    """Tell whether the user has said where the cache is."""
    return bool(os.environ.get("RECURRA_CACHE"))


@contextmanager
def alone(key: str, doing: str) -> Iterator[None]:
    """Make something for the cache while no other process makes the same, as `system.awaited`.

    Where there is no such folder each makes it for itself.
    """
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # It is said where something would be kept.
        yield
        return
    with system.awaited(folder / f".{key}.lock", doing):
        yield


def touch(path: Path) -> None:
    """Take note that something here is used now, by its time of change. Others may not allow it."""
    with suppress(OSError):
        os.utime(path)


def _without_home() -> Path:
    """Return this process's own cache folder, and warn (`Unkept`) once that there is no other."""
    # In the null device nothing can be written, and so nothing is kept.
    folder = own_folder() or Path(os.devnull)
    text = (
        f"there is no home folder to keep a cache in: {ANEW}; RECURRA_CACHE names a folder for it"
    )
    _warn_once(Path("~"), text)
    # That says all there is to say of the folder itself, too.
    _warned.add(folder)
    return folder


@cache
def own_folder() -> Path | None:
    """Return a temporary folder that ends with this process; nothing where none can be made."""
    folder = system.temporary_folder("recurra-")
    if folder is not None:
        atexit.register(_clear, folder, os.getpid())
    return folder


def _clear(folder: Path, owner: int) -> None:
    # A forked copy of the process ends as well, and must leave the folder.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def unkept(error: OSError) -> None:
    """Warn (`Unkept`), once a process and folder, that nothing is kept."""
    folder = cache_folder()
    _warn_once(folder, f"{folder} cannot be written ({error.strerror or error}): {ANEW}")


def _warn_once(folder: Path, text: str) -> None:
    if folder not in _warned:
        _warned.add(folder)
        warnings.warn(text, Unkept, stacklevel=4)
