"""What a system may refuse, each thing asked for in this one place.

It is locks, syncs, renames, homes and temporary folders. A file system over a network, a container
or a service lacks what a desk has. What only guards a run (a lock, a sync) is then left out with a
word; what a run cannot do without (a write) is an error of the caller.
"""

from __future__ import annotations

import errno
import math
import os
import platform
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recurra.errors import Unguarded, Waiting, warn

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

UNTOLD = 3.0
"""Seconds of waiting for another process that are not told."""
LEAST_PAUSE, MOST_PAUSE = 0.005, 0.1
"""Seconds between two looks at whether another process is done: at first, and at most."""

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
def locked(
    path: Path, lacking: str = "nothing keeps a second process from this run"
) -> Iterator[None]:
    """Hold the lock of a file meanwhile, which is made for it and goes with it.

    Raises `Held`; where files cannot be locked, warns (`Unguarded`) of what is `lacking` then, and
    goes on.
    """
    file = _taken(path, lacking)
    try:
        yield
    finally:
        _given_back(file, path)


@contextmanager
def awaited(
    path: Path, doing: str, patience: float = math.inf, in_turn: bool = False
) -> Iterator[None]:
    """Hold the lock of a file while this process is `doing` what others need not do as well.

    One that does it is waited for, which is said (`Waiting`) after some seconds; when it is done
    its work is there, or nobody's is, and all go on at once, or `in_turn` where no two may do it at
    a time. One that has died or is stopped is not waited for, nor any for longer than `patience`
    seconds; so this guards nothing but effort. Where files cannot be locked nobody is waited for,
    with a warning (`Unguarded`).
    """
    own = (os.getpid(), threading.get_ident(), str(path))
    if own in _holding:
        # What holds it calls itself.
        yield
        return

    file = _waited(path, doing, patience, in_turn)
    if file is not None:
        _name_owner(file, doing)
        _holding.add(own)
    try:
        yield
    finally:
        _holding.discard(own)
        _given_back(file, path)


_holding: set[tuple[int, int, str]] = set()
"""The locks that are awaited no more: the process and thread that has each, and its file."""


def _waited(path: Path, doing: str, patience: float, in_turn: bool) -> int | None:
    """Return the locked file, or nothing where nobody is to be waited for any longer."""
    begun, pause, told, seen = time.monotonic(), LEAST_PAUSE, False, _identity(path)
    while True:
        with suppress(Held):
            return _taken(path, "what several processes make at once, each makes for itself")

        seen = seen or _identity(path)
        owner = _owner(path)
        waited = time.monotonic() - begun
        if waited > patience or (owner is not None and _is_gone(owner[0])):
            return None
        if waited > UNTOLD and not told:
            told = True
            pid, what = owner or ("", doing)
            warn(f"waiting for {f'process {pid}' if pid else 'another process'}: {what}", Waiting)
        time.sleep(pause)
        pause = min(2 * pause, MOST_PAUSE)
        if not in_turn and _identity(path) != seen:
            # Who held it is done, and has taken it away.
            return None


def _taken(path: Path, lacking: str) -> int | None:
    """Lock a file; return it, or nothing where none can be made.

    Raises `Held`; where there are no locks, warns of what is `lacking`.
    """
    while (file := _opened(path)) is not None and fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in ANOTHER_HOLDS:
                os.close(file)
                raise Held from error
            reason = error.strerror or error
            once(f"files in {path.parent} cannot be locked ({reason}): {lacking}")
            return file
        if _identity(path) == _identity(file):
            return file
        # Who held it has taken it away meanwhile, and others lock another by its name.
        os.close(file)
    return file


def _opened(path: Path) -> int | None:
    """Open a file to lock it, which is made if need be.

    It is opened for writing where that may be, since over NFS no other lock is exclusive. A link is
    not followed: what it leads to is nobody's lock.
    """
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with suppress(OSError):
            return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    return None


def _given_back(file: int | None, path: Path) -> None:
    """Take a lock's file away, while it is still locked, and close it."""
    if file is None:
        return
    try:
        with suppress(OSError):
            if _identity(path) == _identity(file):
                path.unlink()
    finally:
        # Whoever presses Ctrl-C meanwhile holds it no longer either.
        os.close(file)


def _identity(place: Path | int) -> tuple[int, int] | None:
    """Return what tells a file from others, by its name or its handle, if it is there."""
    try:
        state = os.stat(place)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _name_owner(file: int, doing: str) -> None:
    """Write into a lock's file whose it is."""
    text = f"{os.getpid()} {platform.node() or '?'} {doing}"
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, text.encode(), 0)


def _owner(path: Path) -> tuple[int, str] | None:
    """Return the process that holds a lock and what it is doing, if it is one of this machine."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        pid, host, doing = file.read(500).decode().split(" ", 2)
        if host == (platform.node() or "?"):
            return int(pid), doing
    return None


def _is_gone(pid: int) -> bool:
    """Tell whether a process has died, or does nothing because somebody has stopped it."""
    return bool(fate(pid))


def fate(pid: int) -> str:
    """Return whether a process of this machine has `died` or is `stopped`, or ""."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "died"
    except OSError:
        return ""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state = text.rpartition(")")[2].split()[:1]
        return "stopped" if state == ["T"] else "died" if state in (["Z"], ["X"]) else ""
    return ""


def shared(handle: int) -> None:
    """Mark an open file as in use until it is closed, where files can be locked."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)


def in_use(path: Path) -> bool:
    """Tell whether any process, this one too, holds a lock on a file."""
    if fcntl is None:
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in ANOTHER_HOLDS
    return False


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
