"""A disk that fails at the n-th call that changes it, and forgets what was not synced.

It stands between the product and the system: every write, sync, rename, and folder that is made or
taken away below one root is a call. What a process has in its buffers goes to the disk in one write
when it is flushed or closed, as the system has it.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from safetensors import SafetensorError

from recurra.runs import checkpoints

ERRORS = ("ENOSPC", "EIO", "EROFS")
"""Errors of the one call; all after it succeed."""
LASTING = {"full": "ENOSPC", "read-only": "EROFS"}
"""Errors of the call and of all after it; a full disk lets files be taken away."""
ENDS = ("kill", "least", "drawn")
"""The process ends before the call, by itself or with the machine; nothing after it happens.

Of what was not synced a crash of the machine leaves the least, or a part that is drawn.
"""
FAULTS = (*ERRORS, "part", *LASTING, *ENDS, "interrupt")
"""What may happen at a call; a `part` of what is written arrives, Ctrl-C is pressed twice."""
REMOVALS = ("unlink", "rmdir")
REAL = {name: getattr(os, name) for name in (
    "open", "fsync", "replace", "rename", "mkdir", "unlink", "remove", "rmdir", "truncate",
)}  # fmt: skip
OPEN = io.open


class Lost(BaseException):
    """The process has ended: nothing catches it."""


@dataclass
class File:
    """A file as the disk has it: what was synced of it, and what it held when it lost its name."""

    synced: bytes | None = None
    last: bytes | None = None


@dataclass
class Folder:
    """A folder: its names now, and as they were after each change since it was synced."""

    names: dict[str, Any] = field(default_factory=dict)
    since: list[dict[str, Any]] = field(default_factory=lambda: [{}])

    def changed(self) -> None:
        """Take note of a change of its names."""
        self.since.append(dict(self.names))


class Disk:
    """A folder as a disk; a fault of a kind happens at the call `at`, from 1."""

    def __init__(self, root: Path, at: int = 0, fault: str = "") -> None:
        self.root, self.at, self.fault = Path(os.path.realpath(root)), at, fault
        self.calls: list[tuple[str, str]] = []
        self.dead = self.hit = False
        self.seen: set[str] = set()
        self.tree = self._read(self.root)

    def _read(self, path: Path) -> Any:
        if path.is_dir() and not path.is_symlink():
            names = {each.name: self._read(each) for each in path.iterdir()}
            return Folder(names, [dict(names)])
        return File(synced=path.read_bytes())

    # calls

    def _place(self, path: Any, dir_fd: int | None = None) -> Path | None:
        """Return the path of a call, where it is below the root."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
        whole = Path(os.path.abspath(os.fspath(path)))
        place = Path(os.path.realpath(whole.parent)) / whole.name
        return place if self.root in place.parents or place == self.root else None

    def step(self, call: str, place: Path) -> None:
        """Count a call. Raises what happens at it."""
        if self.dead:
            raise Lost
        self.calls.append((call, str(place.relative_to(self.root))))
        if self.fault in LASTING and self.hit:
            self._lasting(call, place)
        if len(self.calls) != self.at:
            return
        self.hit = True
        if self.fault in ENDS:
            self.dead = True
            raise Lost
        if self.fault == "interrupt":
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
        elif self.fault in LASTING:
            self._lasting(call, place)
        elif self.fault != "part":
            self._fail(self.fault, place)
        elif call != "write":
            self._fail("EIO", place)

    def _lasting(self, call: str, place: Path) -> None:
        if self.fault == "read-only" or call not in (*REMOVALS, "fsync"):
            self._fail(LASTING[self.fault], place)

    def _fail(self, name: str, place: Path) -> None:
        number = getattr(errno, name)
        raise OSError(number, os.strerror(number), str(place))

    def _folder(self, place: Path) -> Folder:
        found = self.tree
        for part in place.parent.relative_to(self.root).parts:
            found = found.names[part]
        return found  # type: ignore[no-any-return]

    def _node(self, place: Path) -> Any:
        return self.tree if place == self.root else self._folder(place).names.get(place.name)

    def begun(self, place: Path) -> None:
        """Take note of a file that is opened to be written."""
        folder = self._folder(place)
        self.seen.add(str(place))
        if place.name not in folder.names:
            folder.names[place.name] = File()
            folder.changed()

    def _leave(self, place: Path) -> Any:
        """Take a name away; what its file holds is remembered."""
        folder = self._folder(place)
        node = folder.names.pop(place.name, None)
        if isinstance(node, File):
            node.last = _content(place)
        return node

    # what takes the place of the system's

    def open(self, path: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        """Open a file; one that is written to goes through this disk."""
        place = self._place(path) if set(mode) & set("wax") else None
        if place is None:
            return OPEN(path, mode, *given, **named)
        self.step("open", place)
        if isinstance(path, int):
            file = OPEN(path, "wb", buffering=0)
        else:
            file = OPEN(path, f"{mode[0]}b", buffering=0)
        self.begun(place)
        encoding = named.get("encoding") or "utf-8"
        return Written(self, place, file, None if "b" in mode else encoding, named.get("errors"))

    def os_open(self, path: Any, flags: int, *given: Any, **named: Any) -> int:
        """Open a file by its number."""
        place = self._place(path, named.get("dir_fd")) if flags & os.O_CREAT else None
        if place is not None:
            self.step("open", place)
        handle: int = REAL["open"](path, flags, *given, **named)
        if place is not None:
            self.begun(place)
        return handle

    def fsync(self, handle: int) -> None:
        """Sync a file or folder."""
        place = self._place(handle)
        if place is None:
            return
        self.step("fsync", place)
        node = self._node(place)
        if isinstance(node, Folder):
            node.since = [dict(node.names)]
        elif node is not None:
            node.synced = _content(place)

    def _moved(self, name: str) -> Callable[..., None]:
        def move(source: Any, target: Any, **named: Any) -> None:
            one, other = self._place(source), self._place(target)
            if one is None or other is None:
                return REAL[name](source, target, **named)  # type: ignore[no-any-return]
            self.step("rename", other)
            if other.exists() and other.is_file():
                self._leave(other)
            REAL[name](source, target, **named)
            folder = self._folder(one)
            node = folder.names.pop(one.name)
            self.seen.add(str(other))
            into = self._folder(other)
            into.names[other.name] = node
            into.changed()
            if into is not folder:
                folder.changed()
            return None

        return move

    def mkdir(self, path: Any, *given: Any, **named: Any) -> None:
        """Make a folder."""
        place = self._place(path, named.get("dir_fd"))
        if place is None or place.exists():
            return REAL["mkdir"](path, *given, **named)  # type: ignore[no-any-return]
        self.step("mkdir", place)
        REAL["mkdir"](path, *given, **named)
        folder = self._folder(place)
        folder.names[place.name] = Folder()
        folder.changed()
        return None

    def _removed(self, name: str) -> Callable[..., None]:
        def remove(path: Any, *, dir_fd: int | None = None) -> None:
            place = self._place(path, dir_fd)
            if place is None or not os.path.lexists(place):
                return REAL[name](path, dir_fd=dir_fd)  # type: ignore[no-any-return]
            self.step("rmdir" if name == "rmdir" else "unlink", place)
            node = self._node(place)
            if isinstance(node, File):
                node.last = _content(place)
            REAL[name](path, dir_fd=dir_fd)
            folder = self._folder(place)
            folder.names.pop(place.name, None)
            folder.changed()
            return None

        return remove

    def truncate(self, path: Any, size: int) -> None:
        """Cut a file."""
        place = self._place(path)
        if place is not None:
            self.step("truncate", place)
        REAL["truncate"](path, size)

    def _saving(self, real: Callable[..., None]) -> Callable[..., None]:
        """Write tensors as safetensors does, which calls the system itself."""

        def save(tensors: Any, path: Any, *given: Any, **named: Any) -> None:
            place = self._place(path)
            if place is None:
                return real(tensors, path, *given, **named)
            try:
                self.step("write", place)
            except OSError as error:
                told = f"I/O error: {error.strerror} (os error {error.errno})"
                raise SafetensorError(told) from error
            real(tensors, path, *given, **named)
            self.begun(place)
            if self.hit and len(self.calls) == self.at and self.fault == "part":
                REAL["truncate"](place, place.stat().st_size // 2)
                raise SafetensorError("I/O error: No space left on device (os error 28)")
            return None

        return save

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Disk]:
        """Stand between the product and the system meanwhile."""
        instead: list[tuple[Any, str, Any]] = [
            (builtins, "open", self.open),
            (io, "open", self.open),
            (os, "open", self.os_open),
            (os, "fsync", self.fsync),
            (os, "mkdir", self.mkdir),
            (os, "truncate", self.truncate),
        ]
        instead += [(os, name, self._moved(name)) for name in ("replace", "rename")]
        instead += [(os, name, self._removed(name)) for name in ("unlink", "remove", "rmdir")]
        instead.append((checkpoints, "save_file", self._saving(checkpoints.save_file)))
        with contextlib.ExitStack() as stack:
            for owner, name, own in instead:
                stack.enter_context(mock.patch.object(owner, name, own))
            yield self

    # what is left

    def settle(self) -> None:
        """Leave on the disk what a crash of the machine leaves of what was not synced.

        These are, of each folder, the names that it had at some moment since it was synced, and of
        each file some of what was written to it.
        """
        if self.fault == "kill":
            # With a process its locks end.
            for path in [path for path in self.root.rglob("*") if path.is_file()]:
                content = path.read_bytes()
                path.unlink()
                path.write_bytes(content)
        if self.fault not in ("least", "drawn"):
            return
        found = self._survivors(self.tree, self.root, self.fault, Random(self.at))
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _write(self.root, found)

    def _survivors(self, node: Any, place: Path | None, how: str, random: Random) -> Any:
        if isinstance(node, Folder):
            moment = 0 if how == "least" else random.randrange(len(node.since))
            names = node.since[moment]
            found = {}
            for name, inner in sorted(names.items()):
                stands = place is not None and node.names.get(name) is inner
                found[name] = self._survivors(
                    inner, place / name if place and stands else None, how, random
                )
            return found
        now = node.last or b""
        if place is not None and place.is_file():
            now = place.read_bytes()
        least = node.synced or b""
        if how == "least":
            return least
        if not now.startswith(least):
            return random.choice([least, now])
        return now[: random.choice([len(least), len(now), random.randint(len(least), len(now))])]


class Written:
    """A file that is written to through a disk."""

    def __init__(
        self, disk: Disk, place: Path, file: Any, encoding: str | None, errors: str | None
    ) -> None:
        self._disk, self._place, self._file = disk, place, file
        self._encoding, self._errors = encoding, errors or "strict"
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *of: Any) -> None:
        self.close()

    def write(self, content: Any) -> int:
        """Hold what is to be written."""
        raw = bytes(content) if self._encoding is None else content.encode(
            self._encoding, self._errors
        )  # fmt: skip
        self._held += raw
        return len(content)

    def fileno(self) -> int:
        """Return the number of the file, to which arrays of a corpus are written past Python."""
        self.flush()
        if self._place.suffix == ".bin":
            self._disk.step("write", self._place)
        return int(self._file.fileno())

    def flush(self) -> None:
        """Write what is held."""
        held, self._held = self._held, b""
        if self._disk.dead:
            raise Lost
        if not held:
            return
        self._disk.step("write", self._place)
        disk = self._disk
        if disk.hit and len(disk.calls) == disk.at and disk.fault == "part":
            self._file.write(held[: len(held) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._place))
        self._file.write(held)

    def close(self) -> None:
        """Write what is held, and let go."""
        try:
            self.flush()
        finally:
            self._file.close()


def _content(path: Path) -> bytes:
    """Return what a file holds, past the disk."""
    with OPEN(path, "rb") as file:
        return bytes(file.read())


def _write(root: Path, names: dict[str, Any]) -> None:
    for name, content in names.items():
        if isinstance(content, dict):
            (root / name).mkdir()
            _write(root / name, content)
        else:
            (root / name).write_bytes(content)
