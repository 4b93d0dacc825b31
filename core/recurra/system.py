"""What a system may refuse, each thing asked for in this one place.

It is locks, syncs, renames, homes and temporary folders. A file system over a network, a container
or a service lacks what a desk has. What only guards a run (a lock, a sync) is then left out with a
word; what a run cannot do without (a write) is an error of the caller.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from recurra.errors import Unguarded

try:
    import fcntl
except ImportError:  # a system without file locks
    fcntl = None  # type: ignore[assignment]


def _numbers(*names: str) -> frozenset[int]:
    """Return the numbers of errors by their names, as far as this system has them."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


ANOTHER_HOLDS = _numbers("EWOULDBLOCK", "EAGAIN", "EACCES")
"""How a lock says that another process holds it.

Every other error says that there are no locks here.
"""

UNSUPPORTED = _numbers(
    "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EINVAL", "ENOTTY", "ENODEV", "EPERM", "EXDEV"
)
"""How a system says that it has no such call, or not for this file."""

UNSYNCED = UNSUPPORTED | _numbers("EROFS", "EBADF", "EACCES", "EISDIR", "ENOLCK")
"""How a system says that it syncs no such file.

That the disk is full or broken (ENOSPC, EIO) is never one of them.
"""

_warned: set[str] = set()
"""What was said once in this process."""


def once(text: str, category: type[Warning] = Unguarded, stacklevel: int = 3) -> None:
    """Warn of something once in a process."""
    if text not in _warned:
        _warned.add(text)
        warnings.warn(text, category, stacklevel=stacklevel)


class Held(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock meanwhile.

    Raises `Held`; where files cannot be locked, warns (`Unguarded`) and goes on.
    """
    with _opened(path) as file:
        if fcntl is not None and file is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in ANOTHER_HOLDS:
                    raise Held from error
                reason = error.strerror or error
                once(
                    f"files in {path.parent} cannot be locked ({reason}): nothing keeps a second"
                    " process from this run"
                )
        yield


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | None]:
    """Open a file to lock it.

    It is opened for writing where that may be, since over NFS no other lock is exclusive.
    """
    file: IO[bytes] | None = None
    for mode in ("r+b", "rb"):
        with suppress(OSError):
            file = path.open(mode)
            break
    try:
        yield file
    finally:
        if file is not None:
            file.close()


def sync(handle: int) -> None:
    """Bring a file to the disk, where the system can.

    Raises `OSError` if the disk is full or fails.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a loss of power, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        # Windows opens no folder.
        return
    try:
        sync(handle)
    finally:
        os.close(handle)


def replace(work: Path, target: Path) -> None:
    """Give a file or folder its name, in the place of what bears it. Raises `OSError`.

    Where the system cannot rename, as over some object stores, it is copied: then a loss of power
    may leave a part.
    """
    # A file takes the place of another in one stroke; a folder needs an empty place.
    is_folder = work.is_dir()
    if is_folder and (target.is_symlink() or target.is_file()):
        target.unlink()
    elif is_folder:
        shutil.rmtree(target, ignore_errors=True)

    try:
        if is_folder:
            work.rename(target)
        else:
            work.replace(target)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        _copied(work, target)


def _copied(work: Path, target: Path) -> None:
    """Copy what cannot be renamed, contents alone: modes and times may be refused as well."""
    if work.is_dir():
        shutil.copytree(work, target, copy_function=shutil.copyfile)
        shutil.rmtree(work, ignore_errors=True)
    else:
        shutil.copyfile(work, target)
        work.unlink(missing_ok=True)


def home() -> Path | None:
    """Return the user's home folder, if there is one.

    The system may know none, and `HOME` may be no absolute path.
    """
    named = os.environ.get("HOME")
    if named is not None and not os.path.isabs(named):
        return None
    try:
        return Path.home()
    except (RuntimeError, KeyError, OSError):
        # A user id without a name.
        return None


def temporary_folder(prefix: str) -> Path | None:
    """Return a new temporary folder; nothing where none can be made."""
    try:
        return Path(tempfile.mkdtemp(prefix=prefix)).absolute()
    except OSError:
        return None


def described() -> str:
    """Return the system's name and version, as far as it tells."""
    try:
        return platform.platform()
    except Exception:
        # It asks files and other programs, any of which may be missing.
        return "unknown"
