"""A corpus as a file of the cache folder: it appears there whole or not at all, and one that is
damaged is none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recurra import cache, system
from recurra.cache import cache_folder
from recurra.contracts.source import Role
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.store import Ledger, Store
from recurra.errors import InputError, RunError

LOOK, LOOKS = 1 << 20, 64
"""Bytes of a mapped corpus that are looked at on opening, and at how many places: a smaller one is
looked at whole.
"""


def spilled(
    arrays: Iterator[NDArray[Any]], ledger: Ledger, key: str, saved: dict[str, Any] | None
) -> Store:
    """Write arrays to a file, and map it; the folder appears under its name only when it is
    whole.
    """
    work = _work_folder(cache_folder())
    if work is None:
        return ledger.store(np.concatenate(list(arrays)), saved)
    folder = work.parent
    try:
        _write(work, arrays, ledger, saved)
        target = folder / (key or ledger.digest.hexdigest()[:32])
        # It may have been written meanwhile, and is the same.
        opened = _open(target) or _moved(work, target)
    except OSError as error:
        fact = (
            f"the cache folder {folder} cannot take the encoded corpus: {error.strerror or error}"
        )
        cure = "free some space, or set RECURRA_CACHE to another folder"
        raise RunError.of("RC053", fact, cure=cure) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return opened[0]


def _moved(work: Path, target: Path) -> tuple[Store, Any]:
    """Give a corpus its name, and open it. Raises `OSError`, unless another process has written the
    same meanwhile.
    """
    refusal = None
    try:
        system.replace(work, target)
    except OSError as error:
        refusal = error
    opened = _open(target)
    if opened is None:
        raise refusal or OSError(errno.EIO, "what was written is not what is read")
    return opened


def _work_folder(folder: Path) -> Path | None:
    """Return a new folder in the cache folder, or in one of this process if there is none; nothing
    without either.

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
    own = cache.own_folder()
    try:
        return Path(tempfile.mkdtemp(prefix="part-", dir=own)) if own else None
    except OSError:
        return None


def _write(
    work: Path, arrays: Iterator[NDArray[Any]], ledger: Ledger, saved: dict[str, Any] | None
) -> None:
    """Write the values one array at a time, then what the ledger knows of them, and hashes of it
    all.
    """
    about: dict[str, Any] = {"vocabulary": saved}
    with (work / "values.bin").open("wb") as out:
        for values in arrays:
            values.tofile(out)
            about |= {"dtype": values.dtype.str, "shape": [ledger.total, *values.shape[1:]]}
    about["fingerprint"] = ledger.fingerprint(saved)
    if ledger.columns:
        about["columns"] = ledger.columns
    np.save(work / "starts.npy", np.array(ledger.starts, np.int64))
    about["sha256"] = _hashes(work, about)
    (work / "about.json").write_text(json.dumps(about))


class _About(BaseModel):
    """What about.json holds."""

    model_config = ConfigDict(strict=True, extra="forbid")

    dtype: str = Field(pattern=r"^(\|u1|<u2|<u4|<u8|>u2|>u4|>u8|<f8|>f8)$")
    shape: list[Annotated[int, Field(ge=1)]] = Field(min_length=1, max_length=2)
    fingerprint: str
    vocabulary: dict[str, Any] | None
    columns: dict[Role, list[str]] = {}
    sha256: dict[str, str]


def _hashes(folder: Path, about: dict[str, Any]) -> dict[str, str]:
    """Return hashes of a corpus: of all that is known of it, and of its values at `LOOKS` places in
    a large one.
    """
    plain = json.dumps(json.loads(json.dumps(about)), sort_keys=True)
    starts = (folder / "starts.npy").read_bytes()
    values = hashlib.sha256()
    with (folder / "values.bin").open("rb") as file:
        size = file.seek(0, 2)
        for place in range(LOOKS):
            file.seek(
                max(0, size - LOOK) * place // (LOOKS - 1) if size > LOOK * LOOKS else LOOK * place
            )
            values.update(file.read(LOOK))
    return {
        "about": hashlib.sha256(plain.encode()).hexdigest(),
        "starts": hashlib.sha256(starts).hexdigest(),
        "values": values.hexdigest(),
    }


def recalled(folder: Path, vocabulary: Vocabulary[Any]) -> Store | None:
    """Return the corpus of a folder and give the vocabulary what it had learned, if both are whole
    and fit.
    """
    cached = _open(folder)
    if cached is None:
        return None
    store, saved = cached
    try:
        vocabulary.restore(saved)
        fits = store.values.ndim == 1 and store.values.dtype == smallest(vocabulary.size)
    except Exception:  # what another version learned: it is learned anew
        return None
    return replace(store, symbols=vocabulary.size) if fits and vocabulary.size else None


def _open(folder: Path) -> tuple[Store, Any] | None:
    """Map a corpus from the cache folder, if a whole one is there; one that is damaged in any way
    is none.
    """
    try:
        raw = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        about = _About.model_validate(raw)
        if about.sha256 != _hashes(
            folder, {name: value for name, value in raw.items() if name != "sha256"}
        ):
            return None
        starts = np.load(folder / "starts.npy", allow_pickle=False)
        values = _mapped(folder / "values.bin", np.dtype(about.dtype), tuple(about.shape))
    except (OSError, ValueError, RecursionError, OverflowError):
        return None
    sound = starts.dtype == np.int64 and starts.ndim == 1 and len(starts) and starts[0] == 0
    if not sound or starts[-1] >= len(values) or bool((np.diff(starts) <= 0).any()):
        return None
    if any(len(column) != len(starts) for column in about.columns.values()):
        return None
    return Store(values, starts, about.fingerprint, columns=about.columns), about.vocabulary


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a file's values, mapped where the system can. Raises `OSError`, or `ValueError` if its
    size is another.
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
    return np.dtype(np.min_scalar_type(max(size - 1, 0)))
