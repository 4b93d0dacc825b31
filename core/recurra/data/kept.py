"""A corpus as a file of the cache folder.

It appears there whole or not at all, and one that is damaged is none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

import recurra
from recurra import cache, system
from recurra.cache import cache_folder
from recurra.contracts.source import OF_STEPS, Role
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.covariates import Column
from recurra.data.store import (
    CODE,
    Array,
    Block,
    Covariates,
    Ints,
    Learned,
    Ledger,
    Store,
    accompanied,
    tagged,
)
from recurra.errors import InputError, RunError

LOOK, LOOKS = 1 << 20, 64
"""Bytes of a mapped corpus that are looked at on opening, and at how many places.

A smaller one is looked at whole.
"""
CODES = "codes.bin"
"""The codes of the tags of a corpus, where its elements have such."""
BESIDE = "beside.bin"
"""The covariates of its steps, where they have such."""


NOTE = "made.json"
"""What is said of a corpus for people; nothing is read from it here."""
TRIES = 20
"""How often a corpus is put into its place, where others come in between."""
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
"""How a system says that something stands in a folder's place, or has just gone."""


class Made(NamedTuple):
    """The source and the vocabulary that a corpus was made by, with their versions."""

    source: str
    vocabulary: str


NOBODY = Made("", "")
"""Numbers of which nobody is told, as those of a fold."""

_MADE: ContextVar[list[Path] | None] = ContextVar("made", default=None)
"""The folders that were written while nobody was to ask for them again."""


@contextmanager
def passing() -> Iterator[None]:
    """Take away at the end what is written meanwhile and has no key, as what a fold makes of data.

    What was there before stays, and what is open can be read on.
    """
    made: list[Path] = []
    token = _MADE.set(made)
    try:
        yield
    finally:
        _MADE.reset(token)
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)


class Opened(NamedTuple):
    """A corpus of the cache folder, and what its vocabulary had learned."""

    store: Store
    learned: Learned


def spilled(
    blocks: Iterator[Block], ledger: Ledger, key: str, learned: Learned, made: Made = NOBODY
) -> Store:
    """Write blocks to a file, and map it; `made` says in the cache by whom.

    The folder appears under its name only when it is whole.
    """
    work = _work_folder(cache_folder())
    if work is None:
        return ledger.store(list(blocks), learned)

    folder = work.parent
    try:
        _write(work, blocks, ledger, learned)
        _note(work, ledger, made)
        target = folder / (key or ledger.digest.hexdigest()[:32])
        # It may have been written meanwhile, and is the same.
        opened = _alike(target, work)
        if opened is None:
            opened = _moved(work, target)
            if not key and (passed := _MADE.get()) is not None:
                passed.append(target)
    except OSError as error:
        reason = error.strerror or error
        fact = f"the cache folder {folder} cannot take the encoded corpus: {reason}"
        cure = "free some space, or set RECURRA_CACHE to another folder"
        raise RunError.of("RC053", fact, cure=cure) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return opened.store


def _note(work: Path, ledger: Ledger, made: Made) -> None:
    """Write beside a corpus what `recurra cache` tells of it."""
    note = {**made._asdict(), "recurra": recurra.__version__, "elements": ledger.total}
    (work / NOTE).write_text(json.dumps(note))


def _moved(work: Path, target: Path) -> Opened:
    """Give a corpus its name, and open it.

    What is damaged is taken from its place; a whole one that another process has put there
    meanwhile stays, and is taken. Raises `OSError` where neither can be.
    """
    # It is opened before: another process may take it away as soon as it has a name.
    own = _open(work) if os.name == "posix" else None
    refusal: OSError | None = None
    for again in range(TRIES):
        try:
            _aside(target, work)
            system.replace(work, target)
            refusal = None
        except OSError as error:
            refusal = error
        if refusal is None and own is not None:
            return _called(own, target)
        opened = _open(target) if refusal is None else _alike(target, work)
        if opened is not None:
            return opened
        if refusal is None or refusal.errno not in OCCUPIED:
            break
        # Two that replace the same damaged one come in between each other.
        time.sleep(0.01 * again)
    raise refusal or OSError(errno.EIO, "what was written is not what is read")


def _called(opened: Opened, target: Path) -> Opened:
    """Let what was opened before it had its name be called by it."""
    store = opened.store
    stores: list[Store | None] = [store]
    if store.tags is not None:
        stores.append(store.tags.codes)
    if store.covariates is not None:
        stores.append(store.covariates.steps)
    for each in stores:
        values: Any = each and each.values
        if isinstance(values, np.memmap):
            values.filename = str(target / Path(str(values.filename)).name)
    return opened


def _aside(target: Path, work: Path) -> None:
    """Take what is not the corpus that was written from its place, in one stroke."""
    if not os.path.lexists(target) or _alike(target, work) is not None:
        return
    odd = work.with_name(f"{work.name}-odd")
    with suppress(OSError):
        target.rename(odd)
        shutil.rmtree(odd) if odd.is_dir() and not odd.is_symlink() else odd.unlink()


def _alike(target: Path, work: Path) -> Opened | None:
    """Open a corpus, if it is what was written now: it may be of a version that learned otherwise,
    and whose ids are others.
    """
    opened = _open(target)
    if opened is None:
        return None
    said = json.loads((work / "about.json").read_text(encoding="utf-8"))
    shape = list(opened.store.values.shape)
    found = [opened.store.fingerprint, shape, opened.learned]
    return opened if found == [said["fingerprint"], said["shape"], said["vocabulary"]] else None


def _work_folder(folder: Path) -> Path | None:
    """Return a new folder in the cache folder, else in one of this process, else nothing.

    Raises `InputError` (RC050) if the folder that the user has named for it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="part-", dir=folder))
    except OSError as error:
        if cache.named_by_user():
            fact = f"the cache folder {folder} cannot be written: {error.strerror}"
            cure = "set RECURRA_CACHE to a folder that can be written"
            raise InputError.of("RC050", fact, cure=cure) from error
        cache.unkept(error)

    # There is no cache folder: the corpus is kept for this process alone.
    own = cache.own_folder()
    try:
        return Path(tempfile.mkdtemp(prefix="part-", dir=own)) if own else None
    except OSError:
        return None


def _write(work: Path, blocks: Iterator[Block], ledger: Ledger, learned: Learned) -> None:
    """Write the values one block at a time, then what is known of them, and hashes of it all."""
    about: dict[str, Any] = {"vocabulary": learned}
    with (
        (work / "values.bin").open("wb") as out,
        (work / CODES).open("wb") as codes_out,
        (work / BESIDE).open("wb") as beside_out,
    ):
        system.shared(out.fileno())
        for values, codes, beside in blocks:
            values.tofile(out)
            if codes is not None:
                codes.tofile(codes_out)
            if beside is not None:
                beside.tofile(beside_out)
            about["dtype"] = values.dtype.str
            # The ledger takes note of a block when it is asked for it.
            about["shape"] = [ledger.total, *values.shape[1:]]
        for file in (out, codes_out, beside_out):
            if file.tell() > LOOK * LOOKS:
                # Of one that is not looked at whole, a machine that loses its power loses nothing.
                file.flush()
                system.sync(file.fileno())

    about["fingerprint"] = ledger.fingerprint(learned)
    if ledger.codes:
        about["tag_names"] = [*ledger.codes]
    else:
        (work / CODES).unlink()
    gathered = ledger.covariates
    if gathered.columns:
        about["covariates"] = {
            "columns": [list(column) for column in gathered.listed()],
            "static": gathered.static,
            "ahead": {str(place): rows.tolist() for place, rows in gathered.ahead.items()},
        }
    if not (work / BESIDE).stat().st_size:
        (work / BESIDE).unlink()
    if ledger.emptied:
        about["emptied"] = ledger.emptied
    if ledger.columns:
        about["columns"] = ledger.columns
    starts = np.array(ledger.starts, np.int64)
    np.save(work / "starts.npy", starts, allow_pickle=False)
    about["sha256"] = _hashes(work, about)
    (work / "about.json").write_text(json.dumps(about))


class _Covariates(BaseModel):
    """What about.json holds of covariates."""

    model_config = ConfigDict(strict=True, extra="forbid")

    columns: list[Annotated[list[Any], Field(min_length=3, max_length=3)]]
    static: list[list[float]]
    ahead: dict[str, list[list[float]]]


class _About(BaseModel):
    """What about.json holds."""

    model_config = ConfigDict(strict=True, extra="forbid")

    dtype: str = Field(pattern=r"^(\|u1|<u2|<u4|<u8|>u2|>u4|>u8|<f8|>f8)$")
    shape: list[Annotated[int, Field(ge=1)]] = Field(min_length=1, max_length=2)
    fingerprint: str
    vocabulary: dict[str, Any] | None
    columns: dict[Role, list[str]] = {}
    tag_names: list[str] = []
    covariates: _Covariates | None = None
    emptied: int = Field(0, ge=0)
    sha256: dict[str, str]


def _hashes(folder: Path, about: dict[str, Any]) -> dict[str, str]:
    """Return hashes of a corpus: of what is known of it, of its starts and of its values."""
    as_read = json.loads(json.dumps(about))
    plain = json.dumps(as_read, sort_keys=True)
    starts = (folder / "starts.npy").read_bytes()
    hashes = {
        "about": hashlib.sha256(plain.encode()).hexdigest(),
        "starts": hashlib.sha256(starts).hexdigest(),
        "values": _hash_of_values(folder / "values.bin"),
    }
    if "tag_names" in about:
        hashes["codes"] = _hash_of_values(folder / CODES)
    if (folder / BESIDE).exists():
        hashes["beside"] = _hash_of_values(folder / BESIDE)
    return hashes


def _hash_of_values(path: Path) -> str:
    """Return a hash of all values, or in a large corpus of those at `LOOKS` places."""
    values = hashlib.sha256()
    with path.open("rb") as file:
        size = file.seek(0, 2)
        large = size > LOOK * LOOKS
        last = size - LOOK
        for place in range(LOOKS):
            at = last * place // (LOOKS - 1) if large else LOOK * place
            file.seek(at)
            values.update(file.read(LOOK))
    return values.hexdigest()


def recalled(folder: Path, vocabulary: Vocabulary[Any], marks: int = 0) -> Store | None:
    """Return the corpus of a folder, if it is whole and fits the vocabulary.

    `marks` ids stand after those of the vocabulary, which takes what it had learned.
    """
    opened = _open(folder)
    if opened is None or opened.learned is None:
        return None
    values = opened.store.values
    try:
        vocabulary.restore(opened.learned)
        size = vocabulary.size
        fits = values.ndim == 1 and values.dtype == smallest(size + marks)
    except Exception:  # what another version learned: it is learned anew
        return None
    if not fits or not size:
        return None
    store = replace(opened.store, symbols=size + marks)
    # The one that was opened lets its file go.
    store.hold()
    return store


def _open(folder: Path) -> Opened | None:
    """Map a corpus from the cache folder, if a whole one is there.

    One that is damaged in any way is none.
    """
    try:
        text = (folder / "about.json").read_text(encoding="utf-8")
        raw = json.loads(text)
        about = _About.model_validate(raw)
        hashed = {name: value for name, value in raw.items() if name != "sha256"}
        if about.sha256 != _hashes(folder, hashed):
            return None
        # Mapped first: a heading that lies about its length is found out before memory is taken.
        starts = np.array(np.load(folder / "starts.npy", mmap_mode="r", allow_pickle=False))
        shape = tuple(about.shape)
        values = _mapped(folder / "values.bin", np.dtype(about.dtype), shape)
        codes = _mapped(folder / CODES, CODE, shape[:1]) if about.tag_names else None
        covariates = _covariates(folder, about, starts)
    except Exception:  # whatever a file says that was never written here
        return None

    if not _is_sound(starts, len(values)):
        return None
    if any(len(column) != len(starts) for column in about.columns.values()):
        return None
    tags = None if codes is None else tagged(codes, starts, about.tag_names)
    store = Store(
        values,
        starts,
        about.fingerprint,
        columns=about.columns,
        tags=tags,
        covariates=covariates,
        emptied=about.emptied,
    )
    # Another process may take the files away, if it made them in passing.
    cache.touch(folder)
    store.hold()
    if tags is not None:
        tags.codes.hold()
    if covariates is not None and covariates.steps is not None:
        covariates.steps.hold()
    return Opened(store, about.vocabulary)


def _covariates(folder: Path, about: _About, starts: Ints) -> Covariates | None:
    """Map the covariates of a corpus, if it has any. Raises `OSError` or `ValueError`."""
    if about.covariates is None:
        return None
    columns = [Column(*column) for column in about.covariates.columns]
    width = sum(column.role in OF_STEPS for column in columns)
    shape = (about.shape[0], width)
    beside = _mapped(folder / BESIDE, np.dtype(np.float64), shape) if width else None
    ahead = {int(place): np.array(rows) for place, rows in about.covariates.ahead.items()}
    return accompanied(beside, starts, columns, about.covariates.static, ahead)


def _is_sound(starts: Array, count: int) -> bool:
    """Tell whether starts are places of so many elements, one after the other from 0."""
    if starts.dtype != np.int64 or starts.ndim != 1 or not len(starts):
        return False
    rises = np.diff(starts) > 0
    return bool(starts[0] == 0 and starts[-1] < count and rises.all())


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Return a file's values, mapped where the system can.

    Raises `OSError`, or `ValueError` if its size is another.
    """
    if path.stat().st_size != dtype.itemsize * math.prod(shape):
        raise ValueError("the file is not as long as it was")
    try:
        return np.memmap(path, dtype=dtype, mode="r", shape=shape)
    except OSError as error:
        if error.errno not in system.UNSUPPORTED:
            raise
        return np.fromfile(path, dtype).reshape(shape)


def smallest(size: int) -> np.dtype[Any]:
    """Return the smallest type that holds so many ids."""
    largest = max(size - 1, 0)
    return np.dtype(np.min_scalar_type(largest))
