"""What is in the cache folder, and what of it can go.

Nothing here imports what has made the entries, and nothing is taken for one by its place alone: its
name and the names of its files must be those that recurra gives.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import recurra
from recurra import system
from recurra.cache import cache_folder
from recurra.errors import InputError

HOUR, DAY = 3600.0, 86400.0
UNUSED = 30 * DAY
"""Seconds without use after which an entry goes."""
OF_OTHERS = 7 * DAY
"""The same for one that another version of recurra or torch has made."""
LEFT = HOUR
"""Seconds after which what is not finished, and nobody holds, was left by a process that died."""
KINDS = ("corpus", "kernel", "timings", "rest")
"""The kinds of entries. The rest are parts, locks and what is damaged, which nobody can use."""

_NAME = re.compile("[0-9a-f]{32}")
_PART = re.compile("part-[a-z0-9_]{8}(-odd)?")
_LOCK = re.compile(r"\.([0-9a-f]{32})?\.?lock")
_OF_CORPUS = {"about.json", "made.json", "starts.npy", "values.bin", "codes.bin", "beside.bin"}
_OF_KERNEL = {".so", ".sha256", ".json"}
_LARGEST = 1 << 20
"""Bytes of a note that are read at most."""


@dataclass
class Kept:
    """An entry: its files, what it is of, which versions made it, and its times in seconds ago.

    The `age` of what is one file alone is not known: its time is that of its last use.
    """

    kind: str
    name: str
    files: list[Path]
    of: str = ""
    recurra: str = ""
    torch: str = ""
    bytes: int = 0
    used: float = 0.0
    age: float | None = None
    in_use: bool = False

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "kind": self.kind,
            "name": self.name,
            "of": self.of,
            "recurra": self.recurra,
            "torch": self.torch,
            "bytes": self.bytes,
            "unused_seconds": round(self.used),
            "age_seconds": None if self.age is None else round(self.age),
            "in_use": self.in_use,
        }

    @property
    def of_another_version(self) -> bool:
        """Whether another version of recurra or torch made it, as far as it says."""
        own = {"recurra": recurra.__version__, "torch": _torch()}
        said = {"recurra": self.recurra, "torch": self.torch}
        return any(
            said[name] and own[name] and _bare(said[name]) != _bare(own[name]) for name in own
        )


@dataclass
class Listing:
    """What a cache folder holds, and how much in it is of somebody else."""

    folder: Path
    entries: list[Kept] = field(default_factory=list)
    others: int = 0

    @property
    def bytes(self) -> int:
        """The size of all entries."""
        return sum(entry.bytes for entry in self.entries)


@dataclass
class Pruned:
    """What was removed, how many entries were left as they are in use, and what could not go."""

    removed: list[Kept] = field(default_factory=list)
    in_use: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """How much that has freed."""
        return sum(entry.bytes for entry in self.removed)


def listing() -> Listing:
    """Return what is in the cache folder. Raises `InputError` (RC050, RC080) if it is none."""
    folder = cache_folder()
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return Listing(folder)
    except OSError as error:
        fact = f"the cache folder {folder} cannot be read: {error.strerror or error}"
        cure = "set RECURRA_CACHE to a folder that can be read"
        raise InputError.of("RC050", fact, cure=cure) from error

    found = Listing(folder)
    for name in names:
        path = folder / name
        if path.is_symlink():
            found.others += 1
        elif name in ("kernels", "paths") and path.is_dir():
            _inside(found, path)
        elif not _top(found, path):
            found.others += 1
    if found.others and not found.entries:
        fact = f"{folder} holds nothing that recurra has made, and {found.others} other things"
        cure = "set RECURRA_CACHE to the folder that is meant"
        raise InputError.of("RC080", fact, cure=cure)
    return found


def _top(found: Listing, path: Path) -> bool:
    """Take what stands in the folder itself: corpora, and what is left of them."""
    name = path.name
    if path.is_dir():
        parts = list(_parts([path]))[1:]
        inner = {part.name for part in parts}
        if not inner <= _OF_CORPUS or any(part.is_symlink() or part.is_dir() for part in parts):
            return False
        if _NAME.fullmatch(name) and {"about.json", "values.bin"} <= inner:
            about = _read(path / "made.json")
            of = " ".join(_text(about, key) for key in ("source", "vocabulary")).strip()
            files = [path]
            found.entries.append(_entry("corpus", name, files, of or "numbers", about))
            return True
        if (_NAME.fullmatch(name) and inner) or _PART.fullmatch(name):
            found.entries.append(_entry("rest", name, [path], "not finished"))
            return True
        return False
    if _LOCK.fullmatch(name) and path.is_file():
        found.entries.append(_entry("rest", name, [path], "a lock"))
        return True
    return False


def _inside(found: Listing, folder: Path) -> None:
    """Take what stands in the folder of kernels, or in that of timings."""
    kernels: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        name, place = path.name, f"{folder.name}/{path.name}"
        if path.is_symlink() or not path.is_file():
            found.others += 1
        elif _PART.fullmatch(name):
            found.entries.append(_entry("rest", place, [path], "not finished"))
        elif _LOCK.fullmatch(name):
            found.entries.append(_entry("rest", place, [path], "a lock"))
        elif not _NAME.fullmatch(path.stem):
            found.others += 1
        elif folder.name == "kernels" and path.suffix in _OF_KERNEL:
            kernels.setdefault(path.stem, []).append(path)
        elif folder.name == "paths" and path.suffix == ".json":
            found.entries.append(_timings(path, place))
        else:
            found.others += 1
    for stem, files in kernels.items():
        about = _read(folder / f"{stem}.json")
        whole = {".so", ".sha256"} <= {file.suffix for file in files}
        kind, of = ("kernel", _text(about, "of")) if whole else ("rest", "not finished")
        found.entries.append(_entry(kind, f"kernels/{stem}", files, of, about))


def _timings(path: Path, place: str) -> Kept:
    record = _read(path)
    question = record.get("question")
    if not isinstance(question, dict):
        return _entry("rest", place, [path], "damaged")
    return _entry("timings", place, [path], _text(question, "cell"), question)


def _entry(
    kind: str, name: str, files: list[Path], of: str, about: dict[str, Any] | None = None
) -> Kept:
    """Return an entry of some files or a folder, as far as they are still there."""
    size, times, locked = 0, [], False
    for part in _parts(files):
        with suppress(OSError):
            state = part.lstat()
            size += 0 if part.is_dir() else state.st_size
            times.append(state.st_mtime)
        locked = locked or (not part.is_dir() and system.in_use(part))
    about = about or {}
    # The clock may have been set back since.
    now = time.time()
    ages = [max(0.0, now - each) for each in times] or [0.0]
    return Kept(
        kind,
        name,
        files,
        of,
        _text(about, "recurra"),
        _text(about, "torch"),
        size,
        used=min(ages),
        age=max(ages) if len(times) > 1 else None,
        in_use=locked,
    )


def _parts(files: list[Path]) -> Iterator[Path]:
    """Give files and folders, and what is in the latter; it may vanish meanwhile."""
    for file in files:
        yield file
        with suppress(OSError):
            if file.is_dir():
                yield from list(file.iterdir())


def _read(path: Path) -> dict[str, Any]:
    """Return what a small JSON file says, and nothing of one that is none."""
    with suppress(OSError, ValueError, RecursionError), path.open("rb") as file:
        text = file.read(_LARGEST + 1)
        said = json.loads(text) if len(text) <= _LARGEST else None
        if isinstance(said, dict):
            return said
    return {}


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key, "")
    return value[:200] if isinstance(value, str) else ""


def _bare(number: str) -> str:
    """Return a version without what its build adds."""
    return number.partition("+")[0]


def _torch() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def prune(found: Listing, unused: float = UNUSED, everything: bool = False) -> Pruned:
    """Remove entries that nobody has used for so many seconds, or `everything`.

    Of what another version has made fewer seconds are enough, and of what a process that died has
    left an hour. What is in use stays. What is removed while somebody begins to use it can be read
    on by whoever has it, and is made again by the next.
    """
    done = Pruned()
    for entry in found.entries:
        if not _can_go(entry, unused, everything):
            _set_right(entry)
        elif entry.in_use:
            done.in_use += 1
        elif _removed(entry, found.folder):
            done.removed.append(entry)
        elif any(os.path.lexists(file) for file in entry.files):
            done.failed.append(entry.name)
    return done


def _can_go(entry: Kept, unused: float, everything: bool) -> bool:
    if entry.kind == "rest":
        return entry.used > LEFT
    limit = min(unused, OF_OTHERS) if entry.of_another_version else unused
    return everything or entry.used > limit


def _set_right(entry: Kept) -> None:
    """Let an entry of which the last use lies ahead, as the clock has it now, be used now."""
    for file in _parts(entry.files):
        with suppress(OSError):
            if file.stat().st_mtime > time.time() + DAY:
                os.utime(file)


def _removed(entry: Kept, folder: Path) -> bool:
    """Remove an entry; a folder vanishes in one stroke before its files go."""
    try:
        for file in _in_order(entry.files):
            if file.is_dir():
                aside = folder / f"part-{secrets.token_hex(4)}"
                file.rename(aside)
                shutil.rmtree(aside)
            else:
                file.unlink()
    except OSError:
        return False
    return True


def _in_order(files: list[Path]) -> Iterator[Path]:
    """Give the files of an entry, that which vouches for the others first."""
    yield from sorted(files, key=lambda file: file.suffix != ".sha256")
