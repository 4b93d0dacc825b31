"""What a source gives, gathered into a corpus.

It is kept in memory when small, else in a file of the cache folder. Symbols are stored as ids, of
the smallest type that holds them; numbers as they came, in float64, and scaled when a batch is
made. The file of symbols lies under a fingerprint of source and vocabulary, so that a text is
encoded once, and never again until one of them changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from recurra import cache
from recurra.cache import cache_folder
from recurra.contracts.source import NONE, TAGS, Piece, Role, Source
from recurra.contracts.vocabulary import Element, UnknownSymbol, Values, Vocabulary
from recurra.data import alignment, intake, kept
from recurra.data.marks import MARKS, Marks
from recurra.data.store import Array, Block, Learned, Ledger, Store
from recurra.errors import InputError

IN_MEMORY = 1 << 20
"""Ids or numbers up to which a corpus stays in memory.

A larger one is written to the cache folder and mapped.
"""
FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True)
class Reading:
    """What a corpus is read from, by whom, and how.

    `roles` are the columns beside the input that each sequence must have; its answer is stored
    behind it, between two ids that the vocabulary does not have. `identity` names both
    components with their versions: what another version encoded is not taken for this one's.
    `owners` are their names, for errors. A vocabulary that is `known` learns nothing of it.
    """

    source: Source[Any]
    vocabulary: Vocabulary[Any]
    in_memory: int = IN_MEMORY
    identity: str = ""
    owners: tuple[str, str] = ("the source", "the vocabulary")
    roles: tuple[Role, ...] = ()
    known: bool = False

    @property
    def made(self) -> kept.Made:
        """By whom a corpus is made, as its cache tells it: their names and versions."""
        source, _, vocabulary = self.identity.partition(" ")
        return kept.Made(source or self.owners[0], vocabulary or self.owners[1])

    @property
    def answered(self) -> bool:
        """Whether sequences have answers."""
        return "answer" in self.roles

    @property
    def marks(self) -> int:
        """How many ids stand after those of the vocabulary."""
        return MARKS if self.answered else 0

    def runs(self) -> Iterator[Values]:
        """Give all that the vocabulary learns from: what is read, and the answers to it."""
        for piece in self.pieces(self.vocabulary.reads, ("answer",) if self.answered else ()):
            yield piece.values
            if "answer" in piece.columns:
                yield piece.columns["answer"]

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
    known: bool = False,
) -> Store:
    """Return the corpus that a source gives, as `Reading` says.

    A vocabulary of symbols is fitted on the way, unless it is known. One of numbers is not: their
    scale belongs to the training split. Raises `InputError` (RC040 to RC043), and `PluginError`
    (RC071) if one of them gives what its contract does not allow.
    """
    reading = Reading(source, vocabulary, in_memory, identity, owners, roles, known)
    return BUILDS[vocabulary.yields](reading)


def _of_numbers(reading: Reading) -> Store:
    """Return a corpus of numbers as they come."""
    before = reading.source.fingerprint()
    pieces = reading.pieces("numbers", reading.roles)
    steady = _steady(reading.source, before, pieces)
    return collected(steady, in_memory=reading.in_memory, made=reading.made)


def _of_symbols(reading: Reading) -> Store:
    """Return a corpus of ids: that of the cache folder, or a new one.

    The vocabulary takes what it had learned, or is fitted.
    """
    before = reading.source.fingerprint()
    key = _key(reading, before)
    cached = kept.recalled(cache_folder() / key, reading.vocabulary, reading.marks)
    if cached is not None:
        return cached
    with cache.alone(key, "encoding a corpus"):
        cached = kept.recalled(cache_folder() / key, reading.vocabulary, reading.marks)
        return _encoded_anew(reading, before, key) if cached is None else cached


def _encoded_anew(reading: Reading, before: str, key: str) -> Store:
    """Return a corpus of ids that is made now, of data with the fingerprint `before`."""
    source, vocabulary = reading.source, reading.vocabulary
    _, owner = reading.owners
    if not reading.known:
        vocabulary.fit(reading.runs())
    size = intake.size(vocabulary, owner)
    if not size:
        raise _nothing_left(owner) if _gives_any(reading) else _empty()
    learned = intake.learned(vocabulary, owner)
    ledger = Ledger()
    pieces = _steady(source, before, _encoded(reading, ledger))
    dtype = kept.smallest(size + reading.marks)
    return collected(pieces, key, reading.in_memory, dtype, learned, ledger, reading.made)


def _gives_any(reading: Reading) -> bool:
    """Tell whether a source gives any element at all."""
    return any(len(run) for run in reading.runs())


BUILDS: dict[str, Callable[[Reading], Store]] = {"symbols": _of_symbols, "numbers": _of_numbers}
"""How a corpus is built, by what its vocabulary yields."""


def learned_in(vocabulary: Vocabulary[Any]) -> Learned:
    """Return what a vocabulary has learned while a corpus was built; nothing of numbers."""
    return LEARNED[vocabulary.yields](vocabulary)


LEARNED: dict[str, Callable[[Vocabulary[Any]], Learned]] = {
    "symbols": lambda vocabulary: vocabulary.save(),
    "numbers": lambda vocabulary: None,
}
"""What is learned in reading, by what a vocabulary yields."""


def _steady(source: Source[Any], before: str, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Give pieces. Raises `InputError` (RC044) where the data's fingerprint is no longer `before`.

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


def _unknown() -> InputError:
    fact = "the source gives elements, and the vocabulary knows none of them: all are left out"
    cure = 'give some that it knows, or train with vocabulary.unknown = "token"'
    return InputError.of("RC043", fact, key="source", cure=cure)


def _nothing_left(owner: str) -> InputError:
    fact = f"the source gives elements, but {owner} keeps none of them: it would know no symbol"
    cure = "let it keep elements that come less often, or give more data"
    return InputError.of("RC041", fact, key="vocabulary", cure=cure)


def key_of(reading: Reading) -> str:
    """Return what tells a corpus from all others while its data is as it is now."""
    categories = reading.source.categories
    named = None if categories is None else sorted(categories)
    said = json.dumps([_key(reading, reading.source.fingerprint()), reading.in_memory, named])
    return hashlib.sha256(said.encode()).hexdigest()


def _key(reading: Reading, fingerprint: str) -> str:
    """Return the name of a corpus in the cache folder, made of all that its ids depend on."""
    source, vocabulary = reading.source, reading.vocabulary
    scheme_and_roles = " ".join(("3", *reading.roles))
    parts = [
        scheme_and_roles,
        reading.identity,
        _class_of(source),
        source.options.model_dump_json(),
        fingerprint,
        _class_of(vocabulary),
        vocabulary.options.model_dump_json(),
    ]
    # Only where it is another than usual: what was kept before is still found.
    if source.label_elements != Source.label_elements:
        parts.append(f"labels: {source.label_elements}")
    if reading.known:
        parts.append(json.dumps(vocabulary.save(), sort_keys=True))
    if own := vocabulary.fingerprint():
        parts.append(own)
    text = json.dumps(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _class_of(component: object) -> str:
    kind = type(component)
    return f"{kind.__module__}:{kind.__qualname__}"


def _encoded(reading: Reading, ledger: Ledger) -> Iterator[Piece]:
    """Give the pieces of a source as ids, each sequence with its answer behind it, if it has one.

    The ledger counts those that held something, of which nothing is kept. Raises `InputError`
    (RC043) that counts from the start of the corpus.
    """
    vocabulary = reading.vocabulary
    _, owner = reading.owners
    marks = Marks.after(intake.size(vocabulary, owner))
    answer: Array | None = None
    seen = sequences = held = left = 0
    for piece in reading.pieces(vocabulary.reads, reading.roles):
        if piece.start:
            ledger.emptied += held > 0 and not left
            held = left = 0
            if answer is not None:
                yield Piece(answer, False)
        ids = _ids(reading, piece.values, seen, "the source")
        seen += len(ids)
        held += len(piece.values)
        left += len(ids)

        columns = dict(piece.columns)
        own_answer = columns.pop("answer", None)
        if TAGS in columns:
            tags = alignment.spread(vocabulary, piece.values, ids, columns[TAGS], owner)
            columns[TAGS] = tags
        yield Piece(ids, piece.start, columns)
        if piece.start:
            sequences += 1
        if own_answer is not None:
            where = f"the answer to sequence {sequences}"
            answer = marks.around(_ids(reading, own_answer, 0, where))
    ledger.emptied += held > 0 and not left
    if answer is not None:
        yield Piece(answer, False)


def _ids(reading: Reading, values: Values, before: int, where: str) -> Array:
    """Return elements as ids; `before` of them came before. Raises `InputError` (RC043)."""
    vocabulary = reading.vocabulary
    _, owner = reading.owners
    try:
        return intake.ids(vocabulary.encode(values), intake.size(vocabulary, owner), owner)
    except UnknownSymbol as error:
        raise unknown_symbol(error, before, where) from error


def unknown_symbol(
    error: UnknownSymbol, before: int, where: str, key: str = "vocabulary.unknown", cure: str = ""
) -> InputError:
    """Return the error of a symbol that is not in the vocabulary.

    `before` elements came before its run.
    """
    points = " ".join(f"U+{ord(mark):04X}" for mark in error.symbol[:4])
    position = before + error.position
    fact = (
        f"{where} holds {error.symbol!r} ({points}) at position {position}, not in the vocabulary"
    )
    cure = cure or 'train with vocabulary.unknown = "token" or "skip", or leave the symbol out'
    return InputError.of("RC043", fact, key=key, cure=cure)


def _filled(pieces: Iterator[Piece], dtype: np.dtype[Any]) -> Iterator[Piece]:
    """Give the pieces that hold anything, as arrays.

    A start that an empty piece brings, and what it says of the sequence, pass to the next one.
    """
    start, columns = True, NONE
    for piece in pieces:
        start = start or piece.start
        columns = piece.columns if piece.start else {**columns, **piece.columns}
        typed = np.asarray(piece.values).astype(dtype, copy=False)
        values = np.ascontiguousarray(typed)
        if len(values):
            yield Piece(values, start, columns)
            start = False


def collected(
    pieces: Iterator[Piece],
    key: str = "",
    in_memory: int = IN_MEMORY,
    dtype: np.dtype[Any] = FLOAT64,
    learned: Learned = None,
    ledger: Ledger | None = None,
    made: kept.Made = kept.NOBODY,
) -> Store:
    """Gather pieces in memory, and turn to a file in the cache folder once they are too many."""
    blocks: list[Block] = []
    ledger = ledger or Ledger()
    pieces = _filled(pieces, dtype)
    for piece in pieces:
        blocks.append(ledger.note(piece))
        width = blocks[0].values[0].size
        if ledger.total * width > in_memory:
            rest = map(ledger.note, pieces)
            return kept.spilled(chain(blocks, rest), ledger, key, learned, made)

    if not blocks:
        raise _unknown() if ledger.emptied else _empty()
    return ledger.store(blocks, learned)
