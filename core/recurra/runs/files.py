"""Writing that either happens or does not, and reading that takes nothing for what it is not."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from recurra import system
from recurra.errors import RunError
from recurra.runs import bounded


@contextmanager
def guarded(path: Path, saved: str = "") -> Iterator[None]:
    """Turn a failed write into an error that says what is still whole (RC053)."""
    try:
        yield
    except OSError as error:
        fact = f"{path} cannot be written: {error.strerror or error}"
        cure = _remedy(error)
        if saved:
            cure += f"; {saved}"
        else:
            cure += ", or name another folder with --runs"
        raise RunError.of("RC053", fact, cure=cure) from error


def _remedy(error: OSError) -> str:
    """Return what can be done about a write that failed."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make it possible to write there"
    if error.errno == errno.EPIPE:
        return "let whoever reads it read to the end"
    if error.errno == errno.ENOENT:
        return "make the folder first"
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG):
        return "clear away what stands in its place"
    if error.errno in (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV):
        return "see to the disk"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files (ulimit -n)"
    if error.errno == errno.EFBIG:
        return "free some space, or raise the limit of a file's size (ulimit -f)"
    return "free some space"


def write_text(path: Path, text: str, saved: str = "") -> None:
    """Write a whole file, or none of it.

    Raises `RunError` (RC053), which says what was `saved` before.
    """
    with guarded(path, saved):
        _write(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes, saved: str = "") -> None:
    """Write a whole file, or none of it, as `write_text` does."""
    with guarded(path, saved):
        _write(path, content)


@contextmanager
def streamed(path: Path, binary: bool = False) -> Iterator[IO[Any]]:
    """Give a file of text, or of bytes, to write to, which takes its name once all is written.

    Raises `RunError` (RC053).
    """
    how: dict[str, Any] = {} if binary else {"encoding": "utf-8", "newline": ""}
    letter = "b" if binary else ""
    with guarded(path, "or give another path"):
        _refuse_folder(path)
        # A link stays, and what it leads to is replaced.
        end = Path(os.path.realpath(path))
        if _is_device(end):
            with end.open(f"w{letter}", **how) as file:
                yield file
            return

        # Others may write beside it.
        unique = f"{os.getpid()}-{secrets.token_hex(4)}"
        work = end.with_name(f".{end.name}.{unique}.part")
        with _becoming(end, work, mode=f"x{letter}", **how) as file:
            yield file


def check_writable(path: Path) -> None:
    """Raise what `streamed` would where nothing can be written; nothing is left behind.

    Whoever is long at making what is to be written asks before.
    """
    with guarded(path, "or give another path"):
        _refuse_folder(path)
        end = Path(os.path.realpath(path))
        if end.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if _is_device(end):
            # To open one may wait for whoever reads it.
            return
        work = end.with_name(f".{end.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            work.open("xb").close()
        finally:
            _clear(work)


def _leads_elsewhere(path: Path) -> bool:
    """Tell whether what stands there is a device, a pipe or a link.

    It stays, and is written through.
    """
    return path.is_symlink() or _is_device(path)


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _refuse_folder(path: Path) -> None:
    """Raise `IsADirectoryError` for a path without a name, as `/` and `.` are."""
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _write(path: Path, content: bytes) -> None:
    _refuse_folder(path)
    if _leads_elsewhere(path):
        path.write_bytes(content)
        return

    work = path.with_name(f".{path.name}.part")
    with _becoming(path, work, mode="wb") as file:
        file.write(content)


@contextmanager
def _becoming(path: Path, work: Path, **how: Any) -> Iterator[IO[Any]]:
    """Give a file to write to, which takes the name of another once all is on the disk.

    Where a write fails, it is gone.
    """
    try:
        with work.open(**how) as file:
            yield file
            file.flush()
            system.sync(file.fileno())
        system.replace(work, path)
        system.sync_folder(path.parent)
    finally:
        _clear(work)


def _clear(work: Path) -> None:
    try:
        work.unlink(missing_ok=True)
    except OSError:
        # What could not be written may be beyond clearing away.
        return


def append(path: Path, text: str, saved: str = "") -> None:
    """Append to a file.

    Raises `RunError` (RC053); then nothing of the text stays, where it can be taken back.
    """
    before = size(path)
    with guarded(path, saved):
        try:
            with path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as out:
                out.write(text)
        except OSError:
            _shorten(path, before)
            raise


class Tail:
    """A file that grows, and the hash of all that it holds, read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size, self._digest = 0, hashlib.sha256()

    def settled(self) -> tuple[int, str]:
        """Bring the file to the disk; return how many bytes it has, and their hash.

        Raises `OSError`.
        """
        # Some systems sync no file that is open for reading alone.
        with self.path.open("r+b") as file:
            file.seek(self._size)
            while block := file.read(1 << 20):
                self._size += len(block)
                self._digest.update(block)
            system.sync(file.fileno())
        return self._size, self._digest.hexdigest()


def _shorten(path: Path, size: int) -> None:
    try:
        os.truncate(path, size)
    except OSError:
        return


def size(path: Path) -> int:
    """Return the bytes of a file, 0 of one that is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def write_json(path: Path, value: Any, saved: str = "") -> None:
    """Write JSON, indented for people."""
    write_text(path, json_text(value), saved)


def json_text(value: Any) -> str:
    """Return JSON as it is written for people.

    Half a surrogate pair, which UTF-8 has no bytes for, is escaped.
    """
    plain = finite(value)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    if re.search("[\ud800-\udfff]", text):
        text = json.dumps(plain, indent=2, allow_nan=False)
    return f"{text}\n"


def finite(value: Any) -> Any:
    """Return plain data as JSON can hold it: a figure that is not finite is text, and -0 is 0."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return str(value)
    # -0.0 + 0.0 is 0.0.
    return value + 0.0


def read_json(path: Path) -> Any:
    """Read JSON. Raises `OSError` or `ValueError`."""
    return parsed(bounded.whole(path))


def parsed(content: bytes | str) -> Any:
    """Return what strict JSON holds: each key once, every number finite.

    Raises `ValueError` that says what is wrong. A text that holds too much or nests too deeply, and
    a number beyond all numbers, are faults of the text like any other.
    """
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    bounded.check_json(raw)
    text = content if isinstance(content, str) else content.decode("utf-8")
    try:
        return json.loads(
            text,
            parse_int=bounded.integer,
            object_pairs_hook=_once_each,
            parse_constant=_no_number,
            parse_float=_finite_number,
        )
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these pairs.

    Raises `ValueError` where a key comes twice: which one counts is not said.
    """
    table = dict(pairs)
    if len(table) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = max(counts, key=counts.__getitem__)
        raise ValueError(f"the key {twice[:40]!r} comes twice")
    return table


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _finite_number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is beyond all numbers")
    return number


def digest(path: Path) -> str:
    """Return the SHA-256 of a file. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def newest(path: Path, is_one: Callable[[Path], bool]) -> Path | None:
    """Return a folder of a kind: this one, or the newest of the numbered ones in it, if any is."""
    if is_one(path):
        return path
    try:
        inner = [each for each in path.iterdir() if each.name.isdecimal() and is_one(each)]
    except OSError:
        return None
    return max(inner, key=lambda each: int(each.name), default=None)


def of_tasks(path: Path, is_one: Callable[[Path], bool]) -> list[str]:
    """Return the newest ones of the folders in one that holds them by tasks, of a few tasks."""
    homes = sorted({file.parent.parent for file in path.glob("*/*/task.toml")})
    found = filter(None, (newest(home, is_one) for home in homes))
    return [str(each) for each in islice(found, 5)]


BACKTEST = "backtest.json"
"""What tells a backtest's folder from others."""


def no_run(path: Path, fact: str, cure: str = "") -> tuple[str, str]:
    """Return what to say of a folder that is no run, a backtest's for one, and what to do."""
    if not (path / BACKTEST).is_file():
        return fact, cure
    folds = sorted(each.name for each in path.glob("fold-*") if each.is_dir())
    cure = f"name a run in it: {path / folds[-1]}" if folds else cure
    return f"{path} is a backtest, and no run", cure
