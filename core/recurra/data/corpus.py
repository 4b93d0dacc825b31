"""What a source gives, gathered into a corpus: in memory when small, else in a file of the cache
folder.

Symbols are stored as ids, of the smallest type that holds them; numbers as they came, in float64,
and scaled when a batch is made. The file of symbols lies under a fingerprint of source and
vocabulary, so that a text is encoded once, and never again until one of them changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.cache import cache_folder
from recurra.contracts.source import NONE, Piece, Role, Source
from recurra.contracts.vocabulary import Element, UnknownSymbol, Vocabulary
from recurra.data import intake, kept
from recurra.data.store import Ledger, Store
from recurra.errors import InputError

IN_MEMORY = 1 << 20
"""Ids or numbers up to which a corpus stays in memory; a larger one is written to the cache folder
and mapped.
"""
FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True)
class Reading:
    """What a corpus is read from, by whom, and how.

    `roles` are the columns beside the input that each sequence must have. `identity` names both
    components with their versions: what another version encoded is not taken for this one's.
    `owners` are their names, for errors.
    """

    source: Source[Any]
    vocabulary: Vocabulary[Any]
    in_memory: int = IN_MEMORY
    identity: str = ""
    owners: tuple[str, str] = ("the source", "the vocabulary")
    roles: tuple[Role, ...] = ()

    def pieces(self, element: Element, roles: tuple[Role, ...] = ()) -> Iterator[Piece]:
        """Give what the source gives, checked."""
        return intake.pieces(self.source, element, self.owners[0], roles)


def build(
    source: Source[Any],
    vocabulary: Vocabulary[Any],
    in_memory: int = IN_MEMORY,
    identity: str = "",
    owners: tuple[str, str] = ("the source", "the vocabulary"),
    roles: tuple[Role, ...] = (),
) -> Store:
    """Return the corpus that a source gives, as `Reading` says; fits a vocabulary of symbols on the
    way.

    Numbers are not fitted here: their scale belongs to the training split. Raises `InputError`
    (RC040 to RC043), and `PluginError` (RC071) if one of them gives what its contract does not
    allow.
    """
    return BUILDS[vocabulary.yields](
        Reading(source, vocabulary, in_memory, identity, owners, roles)
    )


def _of_numbers(reading: Reading) -> Store:
    """Return a corpus of numbers as they come."""
    before = reading.source.fingerprint()
    pieces = _steady(reading.source, before, reading.pieces("numbers", reading.roles))
    return collected(pieces, in_memory=reading.in_memory)


def _of_symbols(reading: Reading) -> Store:
    """Return a corpus of ids: that of the cache folder, or a new one, on which the vocabulary is
    fitted.
    """
    source, vocabulary, owner = reading.source, reading.vocabulary, reading.owners[1]
    before = source.fingerprint()
    key = _key(reading, before)
    known = kept.recalled(cache_folder() / key, vocabulary)
    if known is not None:
        return known
    vocabulary.fit(piece.values for piece in reading.pieces(vocabulary.reads))
    size = intake.size(vocabulary, owner)
    if not size:
        gives = any(len(piece.values) for piece in reading.pieces(vocabulary.reads))
        raise _nothing_left(owner) if gives else _empty()
    saved = intake.learned(vocabulary, owner)
    pieces = _steady(source, before, _encoded(reading))
    return collected(pieces, key, reading.in_memory, kept.smallest(size), saved)


BUILDS: dict[str, Callable[[Reading], Store]] = {"symbols": _of_symbols, "numbers": _of_numbers}
"""How a corpus is built, by what its vocabulary yields."""


def _steady(source: Source[Any], before: str, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Give pieces; raises `InputError` (RC044) where the data changed since its fingerprint was
    `before`.

    A vocabulary is fitted in one pass and encodes in another, which then does not see the same
    symbols.
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


def _nothing_left(owner: str) -> InputError:
    fact = f"the source gives elements, but {owner} keeps none of them: it would know no symbol"
    cure = "let it keep elements that come less often, or give more data"
    return InputError.of("RC041", fact, key="vocabulary", cure=cure)


def _key(reading: Reading, fingerprint: str) -> str:
    source, vocabulary = reading.source, reading.vocabulary
    parts = [
        " ".join(("3", *reading.roles)),
        reading.identity,
        f"{type(source).__module__}:{type(source).__qualname__}",
        source.options.model_dump_json(),
        fingerprint,
        f"{type(vocabulary).__module__}:{type(vocabulary).__qualname__}",
        vocabulary.options.model_dump_json(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _encoded(reading: Reading) -> Iterator[Piece]:
    """Give the pieces of a source as ids. Raises `InputError` (RC043) that counts from the start of
    the corpus.
    """
    vocabulary, owner = reading.vocabulary, reading.owners[1]
    seen, size = 0, intake.size(vocabulary, owner)
    for piece in reading.pieces(vocabulary.reads, reading.roles):
        try:
            ids = intake.ids(vocabulary.encode(piece.values), size, owner)
        except UnknownSymbol as error:
            raise unknown_symbol(error, seen, "the source") from error
        yield Piece(ids, piece.start, piece.columns)
        seen += len(ids)


def unknown_symbol(
    error: UnknownSymbol, before: int, where: str, key: str = "vocabulary.unknown", cure: str = ""
) -> InputError:
    """Return the error of a symbol that is not in the vocabulary; `before` elements came before its
    run.
    """
    points = " ".join(f"U+{ord(mark):04X}" for mark in error.symbol[:4])
    fact = (
        f"{where} holds {error.symbol!r} ({points}) at position {before + error.position}, not in"
        " the vocabulary"
    )
    cure = cure or 'train with vocabulary.unknown = "token" or "skip", or leave the symbol out'
    return InputError.of("RC043", fact, key=key, cure=cure)


def _filled(pieces: Iterator[Piece], dtype: np.dtype[Any]) -> Iterator[Piece]:
    """Give the pieces that hold anything, as arrays; a start that an empty piece brings passes to
    the next one.
    """
    start, columns = True, NONE
    for piece in pieces:
        start = start or piece.start
        columns = piece.columns if piece.start else columns
        values = np.ascontiguousarray(np.asarray(piece.values).astype(dtype, copy=False))
        if len(values):
            yield Piece(values, start, columns)
            start = False


def collected(
    pieces: Iterator[Piece],
    key: str = "",
    in_memory: int = IN_MEMORY,
    dtype: np.dtype[Any] = FLOAT64,
    saved: dict[str, Any] | None = None,
) -> Store:
    """Gather pieces in memory, and turn to a file in the cache folder once they are too many."""
    held: list[NDArray[Any]] = []
    ledger = Ledger()
    pieces = _filled(pieces, dtype)
    for piece in pieces:
        held.append(ledger.note(piece))
        if ledger.total * held[0][0].size > in_memory:
            return kept.spilled(chain(held, map(ledger.note, pieces)), ledger, key, saved)
    if not held:
        raise _empty()
    return ledger.store(np.concatenate(held), saved)
