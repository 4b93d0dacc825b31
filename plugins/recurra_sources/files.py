"""Files: plain or .gz, read in blocks or lines so that their size does not matter."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path

from recurra import InputError, Unsuited
from recurra_sources import encodings
from recurra_sources.names import HALF_CURE, half_pair, readable
from recurra_sources.patterns import state_of

BLOCK = 1 << 20
"""Bytes that are read at a time."""
LONGEST = 1 << 26
"""Characters of a line, or of a cell of a table, at most: each is held in memory."""
OR_REPLACE = "; or set source.errors to replace, which reads U+FFFD there"
"""What to do beside mending what is no text."""
HALF_PAIRS = re.compile("[\ud800-\udfff]")
"""A half of a surrogate pair."""


def fingerprint(paths: Sequence[Path]) -> str:
    """Return a hash of names, sizes and times of files, without reading them."""
    folders = {path.parent: os.path.realpath(path.parent) for path in paths}
    digest = hashlib.sha256()
    for path in paths:
        name = os.path.join(folders[path.parent], path.name)
        stamp = _stamp(state_of(path))
        digest.update(repr((os.fsencode(name), *stamp)).encode())
    return digest.hexdigest()


class Replaced:
    """What is no character of a file's encoding, and is replaced by U+FFFD: how often, and where.

    `line` is that of the first place.
    """

    def __init__(self) -> None:
        self.count = self.line = 0

    def note(self, count: int, line: int) -> None:
        """Take note of places, of which the first is in a line."""
        if count:
            self.line = min(line, self.line or line)
        self.count += count

    def text(self, text: str, line: int) -> str:
        """Return a text in which nothing is that no file can hold."""
        whole, count = HALF_PAIRS.subn("\ufffd", text)
        self.note(count, line)
        return whole

    def warn(self, path: Path, encoding: str) -> None:
        """Warn (`Unsuited`) if anything was replaced."""
        if not self.count:
            return
        what = "1 place was" if self.count == 1 else f"{self.count:,} places were"
        warnings.warn(
            f"source: {what} no {encoding} text in {readable(path)}, and U+FFFD stands there now;"
            f" the first is in line {self.line}",
            Unsuited,
            stacklevel=2,
        )


def _half_pair_of(error: UnicodeError) -> tuple[str, int]:
    """Return half a surrogate pair for bytes that cannot be decoded: no text holds one."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


MARKED = "recurra.marked"
"""How decoders are told to leave such a mark for each place that they cannot read."""
codecs.register_error(MARKED, _half_pair_of)


def blocks(path: Path, encoding: str, replaced: Replaced | None = None) -> Iterator[str]:
    """Give a file's text in blocks that end after a newline, or before a space, where they can.

    A byte-order mark at the start of the file is left out, and no block ends inside CRLF. Raises
    `InputError` (RC040, RC044) if the file cannot be read, is not in this encoding, or changes
    meanwhile; what is not in this encoding is `replaced`, where that is asked for.
    """
    waiting, begun = "", False
    for text in _decoded(path, encoding, replaced):
        waiting += text if begun else text.removeprefix("\ufeff")
        begun = begun or bool(text)

        # Without a newline or a space, all is given, but for a CR that an LF may follow.
        cut = waiting.rfind("\n") + 1 or waiting.rfind(" ")
        if cut <= 0 and len(waiting) > BLOCK:
            cut = len(waiting) - waiting.endswith("\r")
        if cut > 0:
            yield waiting[:cut]
            waiting = waiting[cut:]

    if waiting:
        yield waiting


def split_lines(text: str) -> Iterator[str]:
    """Give the lines of a text with their ends, LF, CRLF and CR; `str.splitlines` knows more."""
    yield from io.StringIO(text, newline="")


def lines(path: Path, encoding: str, replaced: Replaced | None = None) -> Iterator[str]:
    """Give a file's lines, with their ends.

    Raises `InputError` as `blocks` does, and (RC042) for an endless line.
    """
    # A line may stand in several blocks: its parts wait for the one that ends it.
    number = 1
    parts: list[str] = []
    length = 0
    for block in blocks(path, encoding, replaced):
        for part in split_lines(block):
            parts.append(part)
            length += len(part)
            if length > LONGEST:
                fact = f"{readable(path)}:{number}: the line is longer than {LONGEST:,} characters"
                raise InputError.of("RC042", fact, key="source", cure="is this the right file?")

            if part.endswith(("\n", "\r")):
                yield "".join(parts)
                number += 1
                parts, length = [], 0
    if parts:
        yield "".join(parts)


def _decoded(path: Path, encoding: str, replaced: Replaced | None) -> Iterator[str]:
    """Give a file's text, as it is decoded. Raises `InputError` as `blocks` does."""
    decoder = codecs.getincrementaldecoder(encoding)("strict" if replaced is None else MARKED)
    count = _LineCount()
    # Bytes before the last that were read, and those among them that wait for the rest of theirs.
    seen = waiting = 0
    with opened(path) as file:
        _check_head(path, file.read(encodings.SAMPLE), encoding)
        file.seek(0)
        try:
            ended = False
            while not ended:
                raw = file.read(BLOCK)
                ended = not raw
                waiting = len(decoder.getstate()[0])
                text = decoder.decode(raw, final=ended)
                if replaced is not None and (first := HALF_PAIRS.search(text)):
                    before = count.after(text[: first.start()])
                    text = replaced.text(text, before)
                _check_whole(path, text, count)
                count.add(text)
                yield text
                seen += len(raw)
        except UnicodeDecodeError as error:
            # An error counts from the first byte that waited.
            at = max(seen - waiting, 0) + error.start
            count.add(error.object[: error.start].decode(error.encoding, "ignore"))
            raise _not_decoded(path, encoding, error, at, count.line, ended) from error
        except UnicodeError as error:
            # Such as a missing byte-order mark.
            fact = f"{readable(path)} is not {encoding} text: {error}"
            cure = encodings.advice(encoding, _head(path))
            raise InputError.of("RC040", fact, key="source.encoding", cure=cure) from error


class _LineCount:
    """Counts the lines of a text that comes in parts."""

    def __init__(self) -> None:
        self.line, self.after_cr = 1, False

    def after(self, text: str) -> int:
        """Return in which line the next letter stands, after a part of the text."""
        other = copy(self)
        other.add(text)
        return other.line

    def add(self, text: str) -> None:
        """Go on by a part of the text."""
        if not text:
            return
        self.line += text.count("\n") + text.count("\r") - text.count("\r\n")
        if self.after_cr and text[0] == "\n":
            # A CRLF was cut in two, and its CR is counted.
            self.line -= 1
        self.after_cr = text[-1] == "\r"


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading, unpacked where it is .gz.

    Raises `InputError`: RC040 if it cannot be read, RC044 if it changes before it is read to its
    end.
    """
    packed = _is_packed(path)
    try:
        with path.open("rb") as raw:
            before = _stamp(os.fstat(raw.fileno()))
            size = before[0]
            if packed and not size:
                raise gzip.BadGzipFile("it is empty, as no packed file is")

            yield gzip.GzipFile(fileobj=raw) if packed else raw

            # Whoever reads goes on here once it is done.
            if _stamp(os.fstat(raw.fileno())) != before:
                raise changed(readable(path))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        fact = f"{readable(path)} cannot be read: {reason}"
        cure = ""
        if packed:
            cure = (
                "a file that is not packed has another name, and one that is cut off must come"
                " whole"
            )
        raise InputError.of("RC040", fact, key="source", cure=cure) from error


def _is_packed(path: Path) -> bool:
    """Return whether a file is packed, as its name says."""
    return path.suffix.lower() == ".gz"


def changed(what: str) -> InputError:
    """Return the error of data that changes under the reader."""
    cure = "wait until it is written to its end, or read a copy"
    return InputError.of("RC044", f"{what} changed while it was read", key="source", cure=cure)


def _stamp(state: os.stat_result) -> tuple[int, int, int]:
    """Return the size of a file first, and what else changes with it."""
    return state.st_size, state.st_mtime_ns, state.st_ino


def _head(path: Path) -> bytes:
    """Return how a file begins; of one that is packed, what is in it."""
    with opened(path) as file:
        return file.read(encodings.SAMPLE)


def _check_head(path: Path, head: bytes, encoding: str) -> None:
    """Raise `InputError` (RC040) for a file whose beginning contradicts the encoding of the task.

    It says that the file is no text, or is written in another encoding: it might be read all the
    same, as other letters.
    """
    contradiction = encodings.contradiction(encoding, head, unpacked=_is_packed(path))
    if contradiction:
        fact = f"{readable(path)} is not {encoding} text: {contradiction.fact}"
        raise InputError.of("RC040", fact, key="source.encoding", cure=contradiction.cure)


def _check_whole(path: Path, text: str, count: _LineCount) -> None:
    """Raise `InputError` (RC042) for a NUL, and for half a surrogate pair.

    A few encodings let such a half pass.
    """
    at = text.find("\0")
    if at >= 0:
        what = "a NUL stands here, as in no text"
        cure = "name a file of text, or take the NULs out of it"
    elif (half := half_pair(text)) is not None:
        at = half
        what = f"{ascii(text[at])} is half a surrogate pair"
        cure = HALF_CURE + OR_REPLACE
    else:
        return

    count.add(text[:at])
    fact = f"{readable(path)}:{count.line}: {what}"
    raise InputError.of("RC042", fact, key="source", cure=cure)


def _not_decoded(
    path: Path, encoding: str, error: UnicodeDecodeError, at: int, line: int, ended: bool
) -> InputError:
    """Return the error of bytes that are not in the encoding that the task names."""
    raw, start = error.object, error.start
    fact = f"{readable(path)} is not {encoding} text"
    fact += f": byte {raw[start]:#04x} at offset {at}, line {line}"

    first = max(start - encodings.SAMPLE, 0)
    before = raw[first:start]
    wrong = raw[start : start + encodings.SAMPLE]
    cure = encodings.advice(encoding, _head(path), before, wrong, ended)
    if cure.startswith("mend"):
        cure += OR_REPLACE
    return InputError.of("RC040", fact, key="source.encoding", cure=cure)
