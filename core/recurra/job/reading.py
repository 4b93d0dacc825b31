"""What the data of a task is made of: a store, its splits, its answers, and what reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.source import Source
from recurra.contracts.target import Target
from recurra.contracts.timeline import Timeline
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import reads
from recurra.data.answers import answered, tagged
from recurra.data.batches import Reader
from recurra.data.corpus import Reading, build, key_of
from recurra.data.ends import without_ends
from recurra.data.known import Known
from recurra.data.labels import Labels
from recurra.data.marks import Marked, Marks
from recurra.data.outlook import outlook_of
from recurra.data.splits import Split, Splits, everything, split
from recurra.data.store import Ints, Store
from recurra.errors import InputError
from recurra.job.counts import counts_of
from recurra.job.covariates import companions_of
from recurra.job.elements import ELEMENTS
from recurra.model import device as devices
from recurra.resolved import Resolved


def stored(
    resolved: Resolved, source: Source[Any], vocabulary: Vocabulary[Any], known: bool
) -> Store:
    """Return the sequences of a source, encoded, with the columns that this task needs."""
    return build(source, vocabulary, **_how(resolved, known))


def read(
    resolved: Resolved, source: Source[Any], vocabulary: Vocabulary[Any], known: bool
) -> tuple[Source[Any], Store]:
    """Return the source that has read, and its sequences, as `stored`.

    Both are those of before where the same was read, and all reads once.
    """
    how = _how(resolved, known)

    def key() -> str:
        return key_of(Reading(source, vocabulary, **how))

    def anew() -> Store:
        return build(source, vocabulary, **how)

    return reads.shared(source, vocabulary, known, key, anew)


def _how(resolved: Resolved, known: bool) -> dict[str, Any]:
    """Return how a task reads: by whom, and which columns."""
    # The cache keeps what these two, in these versions, made of the same data.
    source_entry = resolved.parts["source"].entry
    vocabulary_entry = resolved.parts["vocabulary"].entry
    entries = (source_entry, vocabulary_entry)
    return {
        "identity": " ".join(f"{entry.qualified}@{entry.plugin.version}" for entry in entries),
        "owners": (source_entry.qualified, vocabulary_entry.qualified),
        "roles": resolved.needed,
        "known": known,
    }


def shortened(resolved: Resolved, store: Store) -> Store:
    """Return a store without the steps that a task leaves off.

    Raises `InputError` (RC031) where it is not of series of numbers that go on.
    """
    steps = resolved.task.sequence.leave_off
    if not steps:
        return store
    if resolved.target.asks != "input" or store.values.ndim == 1:
        fact = "leave_off is for series of numbers of which is asked what comes next"
        raise InputError.of("RC031", fact, key="sequence.leave_off", cure="leave leave_off out")
    return without_ends(store, steps)


def splits_of(resolved: Resolved, vocabulary: Vocabulary[Any], store: Store) -> Splits:
    """Return the splits of a store, as a task says. Raises `InputError` (RC041)."""
    target = resolved.target
    return split(
        store,
        resolved.task.sequence,
        target.reach,
        target.scope == "sequence",
        ELEMENTS[target.answers].by_class,
        _first_asked(target, vocabulary, store),
        target.at_once,
        target.ahead,
        target.last_origin,
    )


def all_of(target: Target[Any], vocabulary: Vocabulary[Any], store: Store) -> Split:
    """Return all of a store, as its splits would ask for it."""
    return everything(
        store,
        target.reach,
        target.scope == "sequence",
        _first_asked(target, vocabulary, store),
        target.at_once,
        target.ahead,
        target.last_origin,
    )


def _first_asked(target: Target[Any], vocabulary: Vocabulary[Any], store: Store) -> Ints | None:
    """Return where the answer of each sequence begins, where answers follow sequences."""
    if target.scope != "answer":
        return None
    return Marks.after(vocabulary.size).first_asked(store)


def answers_of(
    target: Target[Any], vocabulary: Vocabulary[Any], store: Store, train: Split, known: Known
) -> tuple[Vocabulary[Any], NDArray[np.int64] | None]:
    """Return what the answers are of, and those to whole sequences, as ids or scaled numbers.

    Where each element has a tag they are those of the tags that there are. They are known, or
    fitted on the training split; elsewhere a label that is not there is `UNSEEN`.
    """
    if target.asks == "input":
        return vocabulary, None
    if target.scope == "answer":
        return Marked(vocabulary), None
    if store.tags is not None:
        if isinstance(known.answers, Labels):
            return known.tagged(known.answers, store.tags, train)
        return tagged(store.tags, train)

    column, rows = store.columns[target.asks], store.sequence(train.begin)
    if known.answers is not None:
        return known.answered(known.answers, column, rows)
    return answered(target.answers, column, rows)


def reader_of(
    resolved: Resolved,
    vocabulary: Vocabulary[Any],
    store: Store,
    splits: Splits,
    known: Known,
    labels: NDArray[np.int64] | None,
    timeline: Timeline | None,
) -> Reader:
    """Return what cuts batches from a store, with what stands beside it, before any transform.

    Raises `InputError` (RC030, RC031, RC041, RC042) for covariates and counts that are none.
    """
    target = resolved.target
    return Reader(
        store=store,
        encode=vocabulary.encode,
        dtype=devices.DTYPES[resolved.task.device.precision],
        reach=target.reach,
        labels=labels,
        codes=None if store.tags is None else store.tags.codes,
        # Most targets leave it to score all.
        chosen=None if type(target).scored is Target.scored else target.scored,
        outlook=outlook_of(target, vocabulary, resolved.task.sequence.season),
        companions=companions_of(resolved, vocabulary, store, splits, known, timeline),
        counts=counts_of(resolved, vocabulary, store, splits),
    )
