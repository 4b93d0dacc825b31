"""One file that holds many: a zip archive of plain files, and a manifest that vouches for each.

Nothing in it is compressed: it is the same, byte for byte, wherever it is written, and is never
larger than it looks. It is read as if somebody had made it to do harm: all that its list of entries
says is held against the file itself, and against the manifest, before any of it is written
anywhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from recurra.errors import InputError, RunError
from recurra.runs import files
from recurra.runs.records import Count, Hash, Model

MANIFEST = "manifest.json"
"""The entry that says what all others are."""
ENTRIES = 20_000
"""Entries of an archive, at most."""
LISTED = 16 << 20
"""Bytes of the list of entries, and of the manifest, at most."""
BLOCK = 1 << 20
"""Bytes that are read at a time."""
LONGEST = 1000
"""Characters of a name, at most."""

_STAMP = (1980, 1, 1, 0, 0, 0)
"""The earliest time that the format knows, which all entries have."""
_END, _WIDE_END, _WIDE_PLACE, _HEADER = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\3\4"
"""How the parts of an archive begin that `zipfile` does not show."""
_ODD = re.compile(r"[\x00-\x1f\x7f\\:\ud800-\udfff]")
"""What a name may not hold: a system may take it for something else."""

Content = Path | bytes
"""What an entry is to hold: a file, or bytes."""


class Entry(Model):
    """What the manifest says of an entry."""

    size: Count
    sha256: Hash


def misnamed(name: str) -> str:
    """Return why an entry cannot have a name; nothing where it can."""
    if len(name) > LONGEST:
        return "it is too long"
    if _ODD.search(name):
        return "it holds a mark that some system takes for something else"
    for part in name.split("/"):
        if part in ("", ".", ".."):
            return "it leads elsewhere"
        if part != part.rstrip(". ") or len(part.encode()) > 255:
            return f"some system has no file {part[:40]!r}"
    return ""


def clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names that some system takes for one, or of which one lies inside the other."""
    seen: dict[str, str] = {}
    for name in names:
        folded = _folded(name)
        if folded in seen:
            return seen[folded], name
        seen[folded] = name
    for folded, name in seen.items():
        parts = folded.split("/")
        for count in range(1, len(parts)):
            if (above := "/".join(parts[:count])) in seen:
                return seen[above], name
    return None


def _folded(name: str) -> str:
    """Return what names share that differ in case, or in how an accent is written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def write(path: Path, about: Mapping[str, Any], contents: Mapping[str, Content]) -> None:
    """Write an archive whole or not at all; its manifest says `about`, and what each entry is.

    Raises `InputError` (RC056) for names that an archive cannot have, `RunError` (RC053).
    """
    names = sorted(contents)
    for name in names:
        if reason := misnamed(name):
            cure = "rename the file, and say so where the task names it"
            raise InputError.of("RC056", f"no bundle can hold {name!r}: {reason}", cure=cure)
    if two := clash(names):
        fact = f"no bundle can hold both {two[0]!r} and {two[1]!r}: some system takes them for one"
        raise InputError.of("RC056", fact, cure="rename one of the files")
    if len(names) >= ENTRIES:
        fact = f"there are {len(names):,} files, and a bundle holds up to {ENTRIES:,}"
        raise InputError.of("RC056", fact, cure="put the data into fewer files, or leave it out")

    entries: dict[str, Any] = {}
    with files.streamed(path, binary=True) as out, zipfile.ZipFile(out, "w") as archive:
        for name in names:
            entries[name] = _add(archive, name, contents[name])
        manifest = files.json_text({**about, "entries": entries})
        _add(archive, MANIFEST, manifest.encode())


def _add(archive: zipfile.ZipFile, name: str, content: Content) -> dict[str, Any]:
    """Write an entry; return its size and hash. Raises `RunError` (RC052), `OSError`."""
    info = zipfile.ZipInfo(name, _STAMP)
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    digest, size = hashlib.sha256(), 0
    # Whether it needs wide fields is decided by what is expected.
    info.file_size = len(content) if isinstance(content, bytes) else files.size(content)
    with archive.open(info, "w") as target:
        for block in _blocks(content):
            digest.update(block)
            size += len(block)
            target.write(block)
    return {"size": size, "sha256": digest.hexdigest()}


def _blocks(content: Content) -> Iterator[bytes]:
    """Give what an entry is to hold, block by block. Raises `RunError` (RC052)."""
    if isinstance(content, bytes):
        yield content
        return
    try:
        with content.open("rb") as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        fact = f"{content} cannot be read: {error.strerror or error}"
        raise RunError.of("RC052", fact) from error


class Archive:
    """An archive that is open, of which every entry is known by name, size and hash.

    `about` is its whole manifest.
    """

    def __init__(self, path: Path, file: zipfile.ZipFile, about: dict[str, Any]) -> None:
        self.path, self.about = path, about
        self._file = file
        self.entries = {name: Entry.model_validate(each) for name, each in _entries(about).items()}

    def refuse(self, reason: str) -> NoReturn:
        """Raise `InputError` (RC056)."""
        raise refused(self.path, reason)

    def blocks(self, name: str) -> Iterator[bytes]:
        """Give an entry block by block. Raises `InputError` (RC056) if it is not the listed one."""
        entry = self.entries[name]
        digest, size = hashlib.sha256(), 0
        try:
            with self._file.open(name) as file:
                while block := file.read(BLOCK):
                    size += len(block)
                    digest.update(block)
                    yield block
        except _FAULTS as error:
            raise refused(self.path, f"{name} cannot be read: {error}") from error
        if (size, digest.hexdigest()) != (entry.size, entry.sha256):
            self.refuse(f"{name} is not what the manifest says: it is damaged, or was changed")

    def read(self, name: str, most: int = LISTED) -> bytes:
        """Return an entry. Raises `InputError` (RC056) if it is not there, or too large."""
        if name not in self.entries:
            self.refuse(f"{name} is missing")
        if self.entries[name].size > most:
            self.refuse(f"{name} has {self.entries[name].size:,} bytes, and may have {most:,}")
        return b"".join(self.blocks(name))

    def below(self, folder: str) -> list[str]:
        """Return the names of the entries in a folder, and in those inside it."""
        return [name for name in self.entries if name.startswith(f"{folder}/")]

    def whole(self, name: str) -> bool:
        """Tell whether an entry is what the manifest says."""
        try:
            for _ in self.blocks(name):
                pass
        except InputError:
            return False
        return True

    def verify(self) -> None:
        """Hold each entry against its hash. Raises `InputError` (RC056)."""
        for name in self.entries:
            for _ in self.blocks(name):
                pass

    def extract(self, folder: Path) -> None:
        """Write all entries below a folder, which is new or holds none of them.

        Raises `InputError` (RC056), `RunError` (RC053).
        """
        for name in self.entries:
            target = folder.joinpath(*name.split("/"))
            with files.guarded(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                # Never through a link, and never over what is there.
                with target.open("xb") as out:
                    for block in self.blocks(name):
                        out.write(block)


_FAULTS = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
)
"""What `zipfile` may raise for what is no archive, or none of ours."""


def refused(path: Path, reason: str) -> InputError:
    """Return the error of what is no bundle, or one that is not as it was written."""
    cure = "get it again from where it was made; `recurra bundle RUN` makes one"
    return InputError.of("RC056", f"{path} is not a whole bundle: {reason}", cure=cure)


def looks_like_one(path: Path) -> bool:
    """Tell whether a file begins or ends as an archive does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == _HEADER or _tail(file)[-22:-18] == _END
    except OSError:
        return False


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive, once its list of entries has been held against the file and the manifest.

    Raises `InputError` (RC056) that says what is wrong with it.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise refused(path, "it is no file")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refused(path, f"it cannot be read: {reason}") from error

    with file:
        where = _directory(path, file)
        try:
            held = zipfile.ZipFile(file)
        except _FAULTS as error:
            raise refused(path, f"its list of entries cannot be read: {error}") from error
        with held:
            _check_listed(path, file, held, where)
            yield Archive(path, held, _manifest(path, held))


def _tail(file: IO[bytes]) -> bytes:
    """Return the last bytes of a file, in which an archive says where its list of entries is."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - 98))
    return file.read(98)


def _directory(path: Path, file: IO[bytes]) -> int:
    """Return where the list of entries begins, which ends where the end of the archive begins.

    `zipfile` reads the whole list, however long, and looks for the end far and wide. Raises
    `InputError` (RC056).
    """
    tail = _tail(file)
    size = file.tell()
    if len(tail) < 22 or tail[-22:-18] != _END:
        raise refused(path, "it does not end as one: it was cut off, or is something else")
    disks, first, here, count, length, place, comment = struct.unpack("<HHHHLLH", tail[-18:])
    end = size - 22
    if 0xFFFF in (count, here) or 0xFFFFFFFF in (length, place):
        wide = tail[:-42]
        if tail[-42:-38] != _WIDE_PLACE or len(wide) < 56 or wide[-56:-52] != _WIDE_END:
            raise refused(path, "its end is damaged")
        end = size - 98
        disks, first, here, count, length, place = struct.unpack("<LLQQQQ", wide[-40:])
    if disks or first or here != count or comment:
        raise refused(path, "it has parts elsewhere, or something behind its end")
    if count > ENTRIES or length > LISTED:
        fact = f"it lists {count:,} entries in {length:,} bytes"
        raise refused(path, f"{fact}, and may list {ENTRIES:,} in {LISTED:,}")
    if place + length != end:
        raise refused(path, "something stands before it, behind it, or between its parts")
    return int(place)


def _check_listed(path: Path, file: IO[bytes], held: zipfile.ZipFile, directory: int) -> None:
    """Refuse what is listed otherwise than it lies in the file. Raises `InputError` (RC056).

    Entries lie one after the other from the first byte on, so that none has room for another.
    """
    place = 0
    for info in sorted(held.infolist(), key=lambda each: each.header_offset):
        name = info.orig_filename
        if reason := misnamed(name) or _odd(info):
            raise refused(path, f"entry {name[:80]!r}: {reason}")
        if info.header_offset != place:
            raise refused(path, f"entry {name!r} does not begin where the one before it ends")
        file.seek(place)
        header = file.read(30)
        if len(header) < 30 or header[:4] != _HEADER:
            raise refused(path, f"entry {name!r} does not begin as one")
        flags, method = struct.unpack("<HH", header[6:10])
        own, more = struct.unpack("<HH", header[26:30])
        said = file.read(own).decode("utf-8" if flags & 0x800 else "cp437", "replace")
        if said != name or method or flags != info.flag_bits:
            raise refused(path, f"entry {name!r} is another one where it lies")
        place += 30 + own + more + info.compress_size
    if place != directory:
        raise refused(path, "its entries do not end where their list begins")
    if two := clash(info.filename for info in held.infolist()):
        raise refused(path, f"{two[0]!r} and {two[1]!r} would be one file")


def _odd(info: zipfile.ZipInfo) -> str:
    """Return what an entry is, where it is no plain file that lies open."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.is_dir():
        return "it is no file, but a link, a device or a folder"
    if info.flag_bits & ~0x800:
        return "it is encrypted, or does not say how long it is"
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        return "it is compressed, which nothing in a bundle is"
    if info.filename != info.orig_filename:
        return "its name ends before it ends"
    return ""


def _entries(about: dict[str, Any]) -> dict[str, Any]:
    entries = about.get("entries")
    if not isinstance(entries, dict):
        raise ValueError("the manifest lists no entries")
    return entries


def _manifest(path: Path, held: zipfile.ZipFile) -> dict[str, Any]:
    """Return the manifest, once it lists what is there. Raises `InputError` (RC056)."""
    sizes = {info.filename: info.file_size for info in held.infolist()}
    if MANIFEST not in sizes:
        raise refused(path, f"it has no {MANIFEST}: it is a zip archive of something else")
    if sizes.pop(MANIFEST) > LISTED:
        raise refused(path, f"its {MANIFEST} is too large")
    try:
        about = files.parsed(held.read(MANIFEST))
        if not isinstance(about, dict):
            raise ValueError("it is no table")
        listed = {name: Entry.model_validate(each).size for name, each in _entries(about).items()}
    except _FAULTS as error:
        reason = " ".join(str(error).split())[:200]
        raise refused(path, f"its {MANIFEST} cannot be read: {reason}") from error

    if odd := sorted(sizes.keys() - listed.keys()):
        raise refused(path, f"{odd[0]!r} is not in its {MANIFEST}")
    if odd := sorted(listed.keys() - sizes.keys()):
        raise refused(path, f"{odd[0]!r} is missing")
    for name, size in sizes.items():
        if size != listed[name]:
            raise refused(path, f"{name!r} has {size:,} bytes, and should have {listed[name]:,}")
    return about
