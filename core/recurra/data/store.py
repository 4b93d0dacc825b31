"""A corpus as one long array and the places where its sequences begin, in memory or mapped from a
file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.source import Piece, Role
from recurra.errors import InputError


@dataclass(frozen=True)
class Store:
    """All sequences, one after the other.

    `values` is `[N]` ids or `[N, F]` numbers; `starts` holds the position at which each sequence
    begins. `symbols` is how many ids there are, where that is to be watched over. `columns` holds
    what is said of each sequence, by role.
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
        """Return where the sequence of each position begins; that of a position after the end is
        the last.
        """
        found: NDArray[np.int64] = self.starts[
            np.searchsorted(self.starts, positions, side="right") - 1
        ]
        return found

    def sequence(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return in which sequence each position lies, from 0."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def spans(self, first: NDArray[np.int64], count: int) -> NDArray[Any]:
        """Return `count` elements from each position `first` `[B]` on, `[B, count]`; after the end,
        the last again.

        Those of a mapped corpus are read from its file: what is read through the map stays in
        memory, and so would in the end the whole corpus. Raises `InputError` (RC044) if the file
        has become shorter meanwhile.
        """
        if isinstance(self.values, np.memmap):
            return self._read(first, count)
        spans: NDArray[Any] = self.values.take(
            first[:, None] + np.arange(count), axis=0, mode="clip"
        )
        return spans

    def _read(self, first: NDArray[np.int64], count: int) -> NDArray[Any]:
        width = self.values[:1].nbytes
        found = np.empty((len(first), count, *self.values.shape[1:]), self.values.dtype)
        for row, start in zip(found, first.tolist(), strict=True):
            there = min(count, len(self) - start)
            self._file.seek(start * width)
            if self._file.readinto(row[:there]) != there * width:
                raise InputError.of(
                    "RC044",
                    f"{self._file.name} has become shorter than it was",
                    cure="run it again",
                )
            row[there:] = row[there - 1]
        if self.symbols and int(found.max()) >= self.symbols:
            # A damage that lies beyond what is looked at on opening.
            cure = f"delete {Path(str(self._file.name)).parent}: the corpus is then encoded anew"
            raise InputError.of(
                "RC044", f"{self._file.name} holds an id that stands for no symbol", cure=cure
            )
        return found

    @cached_property
    def _file(self) -> FileIO:
        file = FileIO(str(self.values.filename))  # type: ignore[attr-defined]
        finalize(self, file.close)
        return file


@dataclass
class Ledger:
    """What is known of the pieces so far: where sequences begin, how many elements there are, and
    their hash.
    """

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
        """Return a hash of the pieces and of the vocabulary: ids alone do not tell which symbols
        they stand for.
        """
        whole = self.digest.copy()
        whole.update(json.dumps(saved, sort_keys=True).encode())
        return str(whole.hexdigest())

    def store(self, values: NDArray[Any], saved: dict[str, Any] | None) -> Store:
        """Return the corpus of all pieces, whose values are in memory."""
        return Store(
            values, np.array(self.starts, np.int64), self.fingerprint(saved), columns=self.columns
        )
