"""Numbers of which some are missing: what is known of them, and who can read them."""

from __future__ import annotations

from typing import Any

import numpy as np

from recurra.contracts.source import Source
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import missing
from recurra.data.blocks import of_spans
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.data.splits import Split
from recurra.data.store import Store
from recurra.errors import InputError
from recurra.model.scoring import gives_elements
from recurra.resolved import Resolved


def lacking(
    resolved: Resolved,
    source: Source[Any],
    vocabulary: Vocabulary[Any],
    store: Store,
    train: Split,
    owner: str,
) -> bool:
    """Return whether a store lacks any number, and let its vocabulary know which columns do.

    They are those that lack one in training; a vocabulary that a run has learned, the `owner`,
    knows its own. Raises `InputError` (RC030, RC031, RC041) where what is missing cannot be read.
    """
    if not source.keeps_missing:
        return False
    anywhere = missing.lacking(store)
    if owner:
        if anywhere.any() and vocabulary.missing is None:
            fact = f"{owner} was trained on data in which nothing may be missing, and this lacks"
            fact += " numbers"
            cure = "fill them in, or train with source.missing as it is here"
            raise InputError.of("RC030", fact, key="source.missing", cure=cure)
    else:
        _learn(resolved, source, vocabulary, store, train)
    if anywhere.any():
        _check_loss(resolved, store)
    return bool(anywhere.any())


def told(
    source: Source[Any], vocabulary: Vocabulary[Any], covariates: CovariateVocabulary | None
) -> list[str]:
    """Return what the report says of the columns that lack numbers in training."""
    names = source.features()
    listed = [names[at] if names else str(at) for at in vocabulary.missing or ()]
    for table in covariates.tables.values() if covariates else ():
        listed += [column.name for column in table.columns if column.flagged]
    fact = "observed, a number more for each column that lacks some in training"
    return [f"{fact}: {', '.join(listed)}"] if listed else []


def _learn(
    resolved: Resolved, source: Source[Any], vocabulary: Vocabulary[Any], store: Store, train: Split
) -> None:
    """Let a vocabulary know which columns lack numbers in training."""
    if not vocabulary.takes_missing:
        name = resolved.parts["vocabulary"].entry.component.name
        fact = f"vocabulary {name!r} reads no numbers of which some are missing"
        cure = 'let source.missing fill them, or take vocabulary.kind = "numeric"'
        raise InputError.of("RC030", fact, key="source.missing", cure=cure)
    vocabulary.missing = tuple(np.flatnonzero(missing.lacking(store, train)).tolist())

    came = np.zeros(store.values.shape[1], bool)
    for rows in of_spans(train.low, train.high):
        came |= ~np.isnan(store.values[rows]).all(axis=0)
        if came.all():
            return
    empty = int(np.flatnonzero(~came)[0])
    names = source.features()
    column = repr(names[empty]) if names else str(empty)
    fact = f"training holds no number of column {column}: there is nothing to learn of it"
    raise InputError.of("RC041", fact, key="source.columns", cure="leave it out, or give some")


def _check_loss(resolved: Resolved, store: Store) -> None:
    """Refuse a loss that gives a step one number where a row is partly missing."""
    entry = resolved.parts["loss"].entry
    at = missing.partly(store)
    if resolved.target.asks != "input" or at < 0 or gives_elements(entry.target):
        return
    row = ", ".join("nothing" if number != number else f"{number:g}" for number in store.values[at])
    fact = f"loss {entry.component.name!r} gives a step one number, and some steps are partly"
    fact += f" missing, as that at position {at}: {row}"
    cure = "take a loss that scores each element, as mse, mae or huber, or fill what is missing"
    raise InputError.of("RC031", fact, key="loss.kind", cure=cure)
