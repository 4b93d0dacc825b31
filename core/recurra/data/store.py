"""A corpus: one long array, in memory or mapped from a file, and where its sequences begin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from recurra import system
from recurra.contracts.source import COVARIATES, OF_STEPS, PAST, TAGS, Piece, Role
from recurra.data.covariates import Column, Gathering
from recurra.errors import InputError

Array: TypeAlias = NDArray[Any]
"""Elements: ids, or rows of numbers."""
Ints: TypeAlias = NDArray[np.int64]
"""Positions of elements, places of sequences, or counts of either."""
Learned: TypeAlias = dict[str, Any] | None
"""What a vocabulary has learned, as plain JSON; nothing where a corpus is of numbers."""
CODE = np.dtype(np.uint16)
"""The type of the codes of tags, of which there are so many at most."""


class Block(NamedTuple):
    """Elements that came together, and what stands beside each of them, where anything does.

    That is the codes `[n]` of their tags, and their covariates `[n, C]`.
    """

    values: Array
    codes: Array | None = None
    beside: Array | None = None


@dataclass(frozen=True)
class Tags:
    """What is said of each element: the names that there are, and which of them it is.

    The `codes` `[N]` are places in `names`, in the order in which these came first.
    """

    names: list[str]
    codes: Store


@dataclass(frozen=True)
class Covariates:
    """What is read beside numbers: of the steps `[N, C]`, of the sequences `[S, K]`.

    The `columns` of the steps come first, in the order of the numbers, and then those of the
    sequences; a column of names holds their codes. `ahead` has of a sequence, by its place, the
    rows of the future that follow its last element.
    """

    columns: list[Column]
    steps: Store | None
    static: Array
    ahead: Mapping[int, Array]

    @classmethod
    def none(cls, sequences: int) -> Covariates:
        """Return those of sequences that have none."""
        return cls([], None, np.zeros((sequences, 0)), {})

    def of(self, role: Role) -> list[Column]:
        """Return the columns of a role."""
        return [column for column in self.columns if column.role == role]

    def part(self, role: Role) -> slice:
        """Return where the columns of a role stand in the rows of steps."""
        past = len(self.of(PAST))
        return slice(0, past) if role == PAST else slice(past, None)


@dataclass(frozen=True)
class Store:
    """All sequences, one after the other.

    `values` is `[N]` ids or `[N, F]` numbers; `starts` holds the position at which each sequence
    begins. `symbols` is how many ids there are, where that is to be watched over. `columns` holds
    what is said of each sequence, by role, and `tags` what is said of each element. `emptied` are
    the sequences of which a vocabulary has kept nothing; they are not here, unless an answer is.
    """

    values: Array
    starts: Ints
    fingerprint: str
    symbols: int = 0
    columns: Mapping[Role, list[str]] = field(default_factory=dict)
    tags: Tags | None = None
    covariates: Covariates | None = None
    emptied: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def ends(self) -> Ints:
        """The position after each sequence."""
        next_starts = self.starts[1:]
        return np.append(next_starts, len(self.values)).astype(np.int64)

    def begins(self, positions: Ints) -> NDArray[np.bool_]:
        """Return at which positions a sequence begins."""
        # The first start at or after each position; after the last start, the last.
        last = len(self.starts) - 1
        nearest = np.searchsorted(self.starts, positions)
        nearest = np.minimum(nearest, last)
        return np.asarray(self.starts[nearest] == positions)

    def begin(self, positions: Ints) -> Ints:
        """Return where the sequence of each position begins; after the end, where the last does."""
        index = np.searchsorted(self.starts, positions, side="right") - 1
        begin: Ints = self.starts[index]
        return begin

    def sequence(self, positions: Ints) -> Ints:
        """Return in which sequence each position lies, from 0."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def spans(self, first: Ints, count: int) -> Array:
        """Return `count` elements from each position `first` `[B]` on, `[B, count]`.

        After the end the last element is repeated. Those of a mapped corpus are read from its file:
        what is read through the map stays in memory, and so would in the end the whole corpus.
        Raises `InputError` (RC044) if the file has become shorter meanwhile.
        """
        if isinstance(self.values, np.memmap):
            return self._read(first, count)
        positions = first[:, None] + np.arange(count)
        spans: Array = self.values.take(positions, axis=0, mode="clip")
        return spans

    def hold(self) -> None:
        """Open the file of a mapped corpus, so that it can be read though it is taken away.

        So long it is marked as in use.
        """
        if isinstance(self.values, np.memmap):
            system.shared(self._file.fileno())

    def _read(self, first: Ints, count: int) -> Array:
        width = self.values[:1].nbytes
        element = self.values.shape[1:]
        spans = np.empty((len(first), count, *element), self.values.dtype)
        file, size = self._file, len(self)
        for row, start in zip(spans, first.tolist(), strict=True):
            present = min(count, size - start)
            read = row if present == count else row[:present]
            file.seek(start * width)
            if file.readinto(read) != present * width:
                fact = f"{self._name} has become shorter than it was"
                raise InputError.of("RC044", fact, cure="run it again")
            if present < count:
                row[present:] = row[present - 1]

        if self.symbols and int(spans.max()) >= self.symbols:
            # The damage lies beyond what is looked at on opening.
            folder = Path(self._name).parent
            fact = f"{self._name} holds an id that stands for no symbol"
            cure = f"delete {folder}: the corpus is then encoded anew"
            raise InputError.of("RC044", fact, cure=cure)
        return spans

    @property
    def _name(self) -> str:
        """Where the file of a mapped corpus is."""
        return str(self.values.filename)  # type: ignore[attr-defined]

    @cached_property
    def _file(self) -> FileIO:
        file = FileIO(self._name)
        finalize(self, file.close)
        return file


@dataclass
class Ledger:
    """What is known of the pieces so far: where sequences begin, how many elements, their hash.

    `codes` are those of the tags that came; `emptied` are sequences of which nothing was kept.
    """

    starts: list[int] = field(default_factory=list)
    columns: dict[Role, list[str]] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    covariates: Gathering = field(default_factory=Gathering)
    total: int = 0
    emptied: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def note(self, piece: Piece) -> Block:
        """Take note of a piece, and return what it holds.

        Raises `InputError` (RC041) for more different tags than there are codes.
        """
        if piece.start:
            self.starts.append(self.total)
            self.digest.update(b"|")
            for role, value in piece.columns.items():
                if role in OF_STEPS or role in COVARIATES:
                    continue
                column = self.columns.setdefault(role, [])
                column.append(value)
                entry = json.dumps([role, value])
                self.digest.update(entry.encode())

        values: Array = piece.values
        self.digest.update(values.data)
        self.total += len(values)
        beside = None
        if not piece.columns.keys().isdisjoint(COVARIATES):
            beside = self.covariates.note(piece, len(self.starts) - 1)
        if TAGS not in piece.columns:
            return Block(values, None, beside)

        codes = self._coded(piece.columns[TAGS])
        self.digest.update(codes.data)
        return Block(values, codes, beside)

    def _coded(self, tags: Sequence[str]) -> Array:
        """Return the codes of tags, of which each new one takes the next. Raises `InputError`."""
        codes = [self.codes.setdefault(tag, len(self.codes)) for tag in tags]
        most = np.iinfo(CODE).max + 1
        if len(self.codes) > most:
            fact = f"the source gives more than {most:,} different tags"
            cure = "are these the tags? each must come often, or nothing can be learned of it"
            raise InputError.of("RC041", fact, key="source", cure=cure)
        return np.array(codes, CODE)

    def fingerprint(self, learned: Learned) -> str:
        """Return a hash of the pieces and of what the vocabulary has learned.

        Ids alone do not tell which symbols they stand for.
        """
        text = json.dumps(learned, sort_keys=True)
        whole = self.digest.copy()
        whole.update(text.encode())
        if self.codes:
            names = json.dumps([*self.codes])
            whole.update(names.encode())
        if self.covariates.columns:
            whole.update(self.covariates.said().encode())
        return str(whole.hexdigest())

    def store(self, blocks: Sequence[Block], learned: Learned) -> Store:
        """Return the corpus of all blocks, which are in memory."""
        starts = np.array(self.starts, np.int64)
        values = np.concatenate([block.values for block in blocks])
        codes = [block.codes for block in blocks if block.codes is not None]
        tags = tagged(np.concatenate(codes), starts, [*self.codes]) if codes else None
        beside = [block.beside for block in blocks if block.beside is not None]
        covariates = None
        if self.covariates.columns:
            covariates = accompanied(
                np.concatenate(beside) if beside else None,
                starts,
                self.covariates.listed(),
                self.covariates.static,
                self.covariates.ahead,
            )
        return Store(
            values,
            starts,
            self.fingerprint(learned),
            columns=self.columns,
            tags=tags,
            covariates=covariates,
            emptied=self.emptied,
        )


def tagged(codes: Array, starts: Ints, names: list[str]) -> Tags:
    """Return the tags of sequences that begin at `starts`."""
    return Tags(names, Store(codes, starts, "", symbols=len(names)))


def accompanied(
    beside: Array | None,
    starts: Ints,
    columns: list[Column],
    static: Sequence[Sequence[float]],
    ahead: Mapping[int, Any],
) -> Covariates:
    """Return the covariates of sequences that begin at `starts`: of their steps, and of each."""
    steps = None if beside is None else Store(beside, starts, "")
    rows = np.array(static, np.float64).reshape(len(starts), -1)
    later = {place: np.asarray(row, np.float64) for place, row in ahead.items()}
    return Covariates(columns, steps, rows, later)
