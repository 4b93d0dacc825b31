"""A corpus as one long array and the places where its sequences begin: in memory when small, else mapped from disk.

Symbols are stored as ids, of the smallest type that holds them; numbers as they came, in float64, and scaled when a
batch is made. The file lies in the cache folder; that of symbols under a fingerprint of source and vocabulary, so that
a text is encoded once, and never again until one of them changes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Annotated, Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recurra import cache, system
from recurra.cache import cache_folder
from recurra.contracts.source import NONE, Piece, Role, Source
from recurra.contracts.vocabulary import UnknownSymbol, Vocabulary
from recurra.data import intake
from recurra.errors import InputError, RunError

IN_MEMORY = 1 << 20
"""Ids or numbers up to which a corpus stays in memory; a larger one is written to the cache folder and mapped."""
FLOAT64 = np.dtype(np.float64)
LOOK, LOOKS = 1 << 20, 64
"""Bytes of a mapped corpus that are looked at on opening, and at how many places: a smaller one is looked at whole."""


@dataclass(frozen=True)
class Store:
    """All sequences, one after the other.

    `values` is `[N]` ids or `[N, F]` numbers; `starts` holds the position at which each sequence begins. `symbols` is
    how many ids there are, where that is to be watched over. `columns` holds what is said of each sequence, by role.
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]
    fingerprint: str
    symbols: int = 0
    columns: Mapping[Role, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def ends(self) -> NDArray[np.int64]:
        """The position after each sequence."""
        return np.append(self.starts[1:], len(self.values)).astype(np.int64)

    def begins(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return at which positions a sequence begins."""
        found = np.searchsorted(self.starts, positions)
        return np.asarray(self.starts[np.minimum(found, len(self.starts) - 1)] == positions)

    def begin(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the sequence of each position begins; that of a position after the end is the last."""
        found: NDArray[np.int64] = self.starts[np.searchsorted(self.starts, positions, side="right") - 1]
        return found

    def sequence(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return in which sequence each position lies, from 0."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def spans(self, first: NDArray[np.int64], count: int) -> NDArray[Any]:
        """Return `count` elements from each position `first` `[B]` on, `[B, count]`; after the end, the last again.

        Those of a mapped corpus are read from its file: what is read through the map stays in memory, and so would in
        the end the whole corpus. Raises `InputError` (RC044) if the file has become shorter meanwhile.
        """
        if isinstance(self.values, np.memmap):
            return self._read(first, count)
        spans: NDArray[Any] = self.values.take(first[:, None] + np.arange(count), axis=0, mode="clip")
        return spans

    def _read(self, first: NDArray[np.int64], count: int) -> NDArray[Any]:
        width = self.values[:1].nbytes
        found = np.empty((len(first), count, *self.values.shape[1:]), self.values.dtype)
        for row, start in zip(found, first.tolist(), strict=True):
            there = min(count, len(self) - start)
            self._file.seek(start * width)
            if self._file.readinto(row[:there]) != there * width:
                raise InputError.of("RC044", f"{self._file.name} has become shorter than it was", cure="run it again")
            row[there:] = row[there - 1]
        if self.symbols and int(found.max()) >= self.symbols:  # a damage that lies beyond what is looked at on opening
            cure = f"delete {Path(str(self._file.name)).parent}: the corpus is then encoded anew"
            raise InputError.of("RC044", f"{self._file.name} holds an id that stands for no symbol", cure=cure)
        return found

    @cached_property
    def _file(self) -> FileIO:
        file = FileIO(str(self.values.filename))  # type: ignore[attr-defined]
        finalize(self, file.close)
        return file


def build(
    source: Source[Any],
    vocabulary: Vocabulary[Any],
    in_memory: int = IN_MEMORY,
    identity: str = "",
    owners: tuple[str, str] = ("the source", "the vocabulary"),
    roles: tuple[Role, ...] = (),
) -> Store:
    """Return the corpus that a source gives; fits a vocabulary of symbols on the way.

    `roles` are the columns beside the input that each sequence must have. `identity` names both components with their
    versions: what another version encoded is not taken for this one's. `owners` are their names, for errors.

    Numbers are not fitted here: their scale belongs to the training split. Raises `InputError` (RC040 to RC043), and
    `PluginError` (RC071) if one of them gives what its contract does not allow.
    """
    return BUILDS[vocabulary.yields](source, vocabulary, in_memory, identity, owners, roles)


def _of_numbers(
    source: Source[Any],
    vocabulary: Vocabulary[Any],
    in_memory: int,
    identity: str,
    owners: tuple[str, str],
    roles: tuple[Role, ...],
) -> Store:
    """Return a corpus of numbers as they come."""
    before = source.fingerprint()
    pieces = _steady(source, before, intake.pieces(source, "numbers", owners[0], roles))
    return collected(pieces, in_memory=in_memory)


def _of_symbols(
    source: Source[Any],
    vocabulary: Vocabulary[Any],
    in_memory: int,
    identity: str,
    owners: tuple[str, str],
    roles: tuple[Role, ...],
) -> Store:
    """Return a corpus of ids: that of the cache folder, or a new one, on which the vocabulary is fitted."""
    before = source.fingerprint()
    key = _key(source, before, vocabulary, identity, roles)
    cached = _recalled(cache_folder() / key, vocabulary)
    if cached is not None:
        return cached
    vocabulary.fit(piece.values for piece in intake.pieces(source, vocabulary.reads, owners[0]))
    size = intake.size(vocabulary, owners[1])
    if not size:
        gives = any(len(piece.values) for piece in intake.pieces(source, vocabulary.reads, owners[0]))
        raise _nothing_kept(owners[1]) if gives else _empty()
    saved = intake.learned(vocabulary, owners[1])
    pieces = _steady(source, before, _encoded(source, vocabulary, owners, roles))
    return collected(pieces, key, in_memory, _smallest(size), saved)


BUILDS = {"symbols": _of_symbols, "numbers": _of_numbers}
"""How a corpus is built, by what its vocabulary yields."""


def _steady(source: Source[Any], before: str, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Give pieces; raises `InputError` (RC044) where the data changed since its fingerprint was `before`.

    A vocabulary is fitted in one pass and encodes in another, which then does not see the same symbols.
    """
    try:
        yield from pieces
    except InputError:
        if source.fingerprint() == before:
            raise
    if source.fingerprint() != before:
        cure = "wait until it is written to its end, or read a copy"
        raise InputError.of("RC044", "the data changed while it was read", key="source", cure=cure)


def _empty() -> InputError:
    return InputError.of("RC041", "the source is empty: it gives no elements at all", key="source")


def _nothing_kept(owner: str) -> InputError:
    fact = f"the source gives elements, but {owner} keeps none of them: it would know no symbol"
    cure = "let it keep elements that come less often, or give more data"
    return InputError.of("RC041", fact, key="vocabulary", cure=cure)


def _key(
    source: Source[Any], fingerprint: str, vocabulary: Vocabulary[Any], identity: str, roles: tuple[Role, ...]
) -> str:
    parts = [
        " ".join(("3", *roles)),
        identity,
        f"{type(source).__module__}:{type(source).__qualname__}",
        source.options.model_dump_json(),
        fingerprint,
        f"{type(vocabulary).__module__}:{type(vocabulary).__qualname__}",
        vocabulary.options.model_dump_json(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _smallest(size: int) -> np.dtype[Any]:
    return np.dtype(np.min_scalar_type(max(size - 1, 0)))


def _encoded(
    source: Source[Any], vocabulary: Vocabulary[Any], owners: tuple[str, str], roles: tuple[Role, ...]
) -> Iterator[Piece]:
    """Give the pieces of a source as ids. Raises `InputError` (RC043) that counts from the start of the corpus."""
    seen, size = 0, intake.size(vocabulary, owners[1])
    for piece in intake.pieces(source, vocabulary.reads, owners[0], roles):
        try:
            ids = intake.ids(vocabulary.encode(piece.values), size, owners[1])
        except UnknownSymbol as error:
            raise unknown_symbol(error, seen, "the source") from error
        yield Piece(ids, piece.start, piece.columns)
        seen += len(ids)


def unknown_symbol(
    error: UnknownSymbol, before: int, where: str, key: str = "vocabulary.unknown", cure: str = ""
) -> InputError:
    """Return the error of a symbol that is not in the vocabulary; `before` elements came before its run."""
    points = " ".join(f"U+{ord(mark):04X}" for mark in error.symbol[:4])
    fact = f"{where} holds {error.symbol!r} ({points}) at position {before + error.position}, not in the vocabulary"
    cure = cure or 'train with vocabulary.unknown = "token" or "skip", or leave the symbol out'
    return InputError.of("RC043", fact, key=key, cure=cure)


def _filled(pieces: Iterator[Piece], dtype: np.dtype[Any]) -> Iterator[Piece]:
    """Give the pieces that hold anything, as arrays; a start that an empty piece brings passes to the next one."""
    start, columns = True, NONE
    for piece in pieces:
        start = start or piece.start
        columns = piece.columns if piece.start else columns
        values = np.ascontiguousarray(np.asarray(piece.values).astype(dtype, copy=False))
        if len(values):
            yield Piece(values, start, columns)
            start = False


@dataclass
class _Ledger:
    """What is known of the pieces so far: where sequences begin, how many elements there are, and their hash."""

    starts: list[int] = field(default_factory=list)
    columns: dict[Role, list[str]] = field(default_factory=dict)
    total: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def note(self, piece: Piece) -> NDArray[Any]:
        """Take note of a piece, and return its values."""
        if piece.start:
            self.starts.append(self.total)
            self.digest.update(b"|")
            for role, value in piece.columns.items():
                self.columns.setdefault(role, []).append(value)
                self.digest.update(json.dumps([role, value]).encode())
        self.digest.update(piece.values.data)
        self.total += len(piece.values)
        values: NDArray[Any] = piece.values
        return values

    def fingerprint(self, saved: dict[str, Any] | None) -> str:
        """Return a hash of the pieces and of the vocabulary: ids alone do not tell which symbols they stand for."""
        whole = self.digest.copy()
        whole.update(json.dumps(saved, sort_keys=True).encode())
        return str(whole.hexdigest())

    def store(self, values: NDArray[Any], saved: dict[str, Any] | None) -> Store:
        """Return the corpus of all pieces, whose values are in memory."""
        return Store(values, np.array(self.starts, np.int64), self.fingerprint(saved), columns=self.columns)


def collected(
    pieces: Iterator[Piece],
    key: str = "",
    in_memory: int = IN_MEMORY,
    dtype: np.dtype[Any] = FLOAT64,
    saved: dict[str, Any] | None = None,
) -> Store:
    """Gather pieces in memory, and turn to a file in the cache folder once they are too many."""
    held: list[NDArray[Any]] = []
    ledger = _Ledger()
    pieces = _filled(pieces, dtype)
    for piece in pieces:
        held.append(ledger.note(piece))
        if ledger.total * held[0][0].size > in_memory:
            return _spill(chain(held, map(ledger.note, pieces)), ledger, key, saved)
    if not held:
        raise _empty()
    return ledger.store(np.concatenate(held), saved)


def _spill(arrays: Iterator[NDArray[Any]], ledger: _Ledger, key: str, saved: dict[str, Any] | None) -> Store:
    """Write arrays to a file, and map it; the folder appears under its name only when it is whole."""
    work = _work_folder(cache_folder())
    if work is None:
        return ledger.store(np.concatenate(list(arrays)), saved)
    folder = work.parent
    try:
        _write(work, arrays, ledger, saved)
        target = folder / (key or ledger.digest.hexdigest()[:32])
        opened = _open(target) or _moved(work, target)  # it may have been written meanwhile, and is the same
    except OSError as error:
        fact = f"the cache folder {folder} cannot take the encoded corpus: {error.strerror or error}"
        cure = "free some space, or set RECURRA_CACHE to another folder"
        raise RunError.of("RC053", fact, cure=cure) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return opened[0]


def _moved(work: Path, target: Path) -> tuple[Store, Any]:
    """Give a corpus its name, and open it. Raises `OSError`, unless another process has written the same meanwhile."""
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
    """Return a new folder in the cache folder, or in one of this process if there is none; nothing without either.

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


def _write(work: Path, arrays: Iterator[NDArray[Any]], ledger: _Ledger, saved: dict[str, Any] | None) -> None:
    """Write the values one array at a time, then what the ledger knows of them, and hashes of it all."""
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
    """Return hashes of a corpus: of all that is known of it, and of its values at `LOOKS` places in a large one."""
    plain = json.dumps(json.loads(json.dumps(about)), sort_keys=True)
    starts = (folder / "starts.npy").read_bytes()
    values = hashlib.sha256()
    with (folder / "values.bin").open("rb") as file:
        size = file.seek(0, 2)
        for place in range(LOOKS):
            file.seek(max(0, size - LOOK) * place // (LOOKS - 1) if size > LOOK * LOOKS else LOOK * place)
            values.update(file.read(LOOK))
    return {
        "about": hashlib.sha256(plain.encode()).hexdigest(),
        "starts": hashlib.sha256(starts).hexdigest(),
        "values": values.hexdigest(),
    }


def _recalled(folder: Path, vocabulary: Vocabulary[Any]) -> Store | None:
    """Return the corpus of a folder and give the vocabulary what it had learned, if both are whole and fit."""
    cached = _open(folder)
    if cached is None:
        return None
    store, saved = cached
    try:
        vocabulary.restore(saved)
        fits = store.values.ndim == 1 and store.values.dtype == _smallest(vocabulary.size)
    except Exception:  # what another version learned: it is learned anew
        return None
    return replace(store, symbols=vocabulary.size) if fits and vocabulary.size else None


def _open(folder: Path) -> tuple[Store, Any] | None:
    """Map a corpus from the cache folder, if a whole one is there; one that is damaged in any way is none."""
    try:
        raw = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        about = _About.model_validate(raw)
        if about.sha256 != _hashes(folder, {name: value for name, value in raw.items() if name != "sha256"}):
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
    """Return a file's values, mapped where the system can. Raises `OSError`, or `ValueError` if its size is another."""
    if path.stat().st_size != dtype.itemsize * math.prod(shape):
        raise ValueError("the file is not as long as it was")
    try:
        return np.memmap(path, dtype=dtype, mode="r", shape=shape)
    except OSError as error:
        if error.errno not in system.UNSUPPORTED:
            raise
        return np.fromfile(path, dtype).reshape(shape)
