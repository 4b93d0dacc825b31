"""Readers of what transforms make of numbers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from recurra.contracts.source import Piece
from recurra.data.batches import Reader
from recurra.data.chain import Chain, in_training, transformed
from recurra.data.corpus import collected
from recurra.data.missing import carried
from recurra.data.splits import Split, SplitName, place_of
from recurra.data.store import Store
from recurra.errors import InputError
from recurra.job.refusals import check_ahead, check_series
from recurra.resolved import Resolved


def transformed_splits(
    resolved: Resolved, chain: Chain, reader: Reader, splits: dict[SplitName, Split]
) -> tuple[Reader, dict[SplitName, Split]]:
    """Return a reader of what transforms make of numbers, and the splits of what has a value.

    Raises `InputError` (RC031, RC041) where an answer could not be undone by what is known when it
    is made, or where a series must be known, and training sees nothing of it.
    """
    target, store, train = resolved.target, reader.store, splits["train"]
    if target.asks == "input" and target.reach != 1 and chain.steps:
        name = resolved.parts["target"].entry.qualified
        fact = (
            f"the answers of target {name} lie {target.reach} steps ahead, and what is read is"
            " undone one step ahead"
        )
        cure = 'leave difference and seasonal_difference out, and scale_by = "series"'
        raise InputError.of("RC031", fact, key="vocabulary", cure=cure)
    check_ahead(resolved, chain)
    if chain.by_series and not train.whole:
        check_series(store, splits)

    lag = chain.lag if target.asks == "input" else 0
    place = partial(place_of, store, splits)
    rows = transformed(chain, store, in_training(store, train), place)
    splits = {name: replace(part, lag=lag) for name, part in splits.items()}
    return transformed_reader(reader, chain, rows, lag), splits


def transformed_reader(reader: Reader, chain: Chain, rows: Store, lag: int) -> Reader:
    """Return a reader of the `rows` that transforms make of numbers."""
    reader = replace(reader, rows=rows, origins=chain.width, lag=lag, flags=chain.flags)
    if not chain.carries:
        return reader
    nothing = np.asarray(chain.vocabulary.decode(np.zeros((1, chain.vocabulary.size))))[0]
    pieces = (Piece(rows, start) for rows, start in carried(reader.store, nothing))
    return replace(reader, carried=collected(pieces))
