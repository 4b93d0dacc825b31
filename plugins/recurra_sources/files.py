"""Files: by name or pattern, plain or .gz, read in blocks so that their size does not matter."""

from __future__ import annotations

import codecs
import glob
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from recurra import InputError

BLOCK = 1 << 20


def matching(patterns: list[str]) -> list[Path]:
    """Return the files that names and patterns stand for, sorted within each pattern. Raises `InputError` (RC040)."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        wild = any(mark in pattern for mark in "*?[")
        paths = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))] if wild else [Path(pattern)]
        files = [path for path in paths if path.is_file()]
        if not files:
            raise InputError.of(
                "RC040",
                _why_none(pattern, wild),
                key="source",
                cure="paths are taken from the task file's folder",
            )
        found |= dict.fromkeys(files)
    return list(found)


def _why_none(pattern: str, wild: bool) -> str:
    if wild:
        return f"no file matches {pattern}"
    return f"{pattern} is a directory" if Path(pattern).is_dir() else f"there is no file {pattern}"


def fingerprint(paths: list[Path]) -> str:
    """Return the names, sizes and times of files: what tells that one has changed, without reading it."""
    stats = [(path, path.stat()) for path in paths]
    return "|".join(f"{p.resolve()}:{s.st_size}:{s.st_mtime_ns}:{s.st_ino}" for p, s in stats)


def blocks(path: Path, encoding: str) -> Iterator[str]:
    """Give a file's text in blocks that end after a newline, or before a space, where they can.

    A byte-order mark at the start of the file is left out. Raises `InputError` (RC040) if the file cannot be read or is
    not in this encoding.
    """
    held, begun = "", False
    for text in _decoded(path, encoding):
        held += text if begun else text.removeprefix("\ufeff")
        begun = begun or bool(text)
        cut = held.rfind("\n") + 1 or held.rfind(" ")
        if cut > 0:
            yield held[:cut]
            held = held[cut:]
        elif len(held) > BLOCK:
            yield held
            held = ""
    if held:
        yield held


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    seen = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while raw := file.read(BLOCK):
                waiting = len(decoder.getstate()[0])
                yield decoder.decode(raw)
                seen += len(raw)
            waiting = len(decoder.getstate()[0])
            yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        at = max(seen - waiting, 0) + error.start
        fact = f"{path} is not {encoding} text: byte {error.object[error.start]:#04x} at offset {at}"
        raise InputError.of(
            "RC040", fact, key="source.encoding", cure='set source.encoding, as in "latin-1"'
        ) from error
    except UnicodeError as error:  # such as a missing byte-order mark
        raise InputError.of("RC040", f"{path} is not {encoding} text: {error}", key="source.encoding") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError.of("RC040", f"{path} cannot be read: {error}", key="source") from error


def known_encoding(name: str) -> str:
    """Return the name if Python knows the encoding, and it is one of text. Raises `ValueError`."""
    try:
        "".encode(name)
    except (LookupError, UnicodeError):
        raise ValueError(f"encoding: Python knows no encoding {name!r} of text") from None
    return name
