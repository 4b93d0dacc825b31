"""Series without their ends: what comes after is not there, so nothing can have seen it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from recurra.contracts.source import FUTURE, Piece
from recurra.data.blocks import blocks
from recurra.data.corpus import collected
from recurra.data.store import Covariates, Ints, Store
from recurra.errors import InputError


def lengths_of(store: Store) -> Ints:
    """Return how many steps each series has."""
    lengths: Ints = store.ends - store.starts
    return lengths


def without_ends(store: Store, steps: int) -> Store:
    """Return the numbers of a store without the last `steps` of each series.

    A series that has no more than these is not there; the others keep their order. Raises
    `InputError` (RC041) where nothing is left.
    """
    if not steps:
        return store
    if not (lengths_of(store) > steps).any():
        longest = int(lengths_of(store).max())
        fact = (
            f"without its last {steps:,} steps no series has any: the longest has {longest:,} steps"
        )
        raise InputError.of("RC041", fact, key="sequence.leave_off", cure="leave fewer off")
    left = collected(_rows(store, steps))
    if store.covariates is None:
        return left
    covariates = _covariates(store, store.covariates, steps)
    digest = hashlib.sha256(left.fingerprint.encode() + covariates.static.tobytes())
    if covariates.steps is not None:
        digest.update(covariates.steps.fingerprint.encode())
    return replace(left, covariates=covariates, fingerprint=digest.hexdigest())


def _covariates(store: Store, own: Covariates, steps: int) -> Covariates:
    """Return the covariates of what stays, those of the future that are left off known ahead."""
    stays = np.flatnonzero(lengths_of(store) > steps)
    if own.steps is None:
        return replace(own, static=own.static[stays], ahead={})

    kept = collected(_rows(replace(own.steps, columns={}), steps))
    ahead, future = {}, own.part(FUTURE)
    for place, row in enumerate(stays.tolist()):
        end = int(store.ends[row])
        later = np.asarray(own.steps.values[end - steps : end, future])
        ahead[place] = np.concatenate([later, *([own.ahead[row]] if row in own.ahead else [])])
    known = ahead if own.of(FUTURE) else {}
    return Covariates(own.columns, kept, own.static[stays], known)


def _rows(store: Store, steps: int) -> Iterator[Piece]:
    """Give the rows that stay, series after series in blocks; what is said of each stays too."""
    spans = zip(store.starts.tolist(), (store.ends - steps).tolist(), strict=True)
    for row, (begin, end) in enumerate(spans):
        columns = {role: values[row] for role, values in store.columns.items()}
        for rows in blocks(begin, end):
            start = rows.start == begin
            yield Piece(np.asarray(store.values[rows]), start, columns if start else {})
