"""How a generation begins: with a prompt, with what a run recorded of its data, or with both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import Vocabulary
from recurra.data.covariate_vocabulary import Rows
from recurra.data.dated import Since
from recurra.errors import InputError
from recurra.generate.elements import ELEMENTS
from recurra.generate.session import Session
from recurra.runs.folder import RunFolder
from recurra.runs.records import reading


def begun(
    make: Callable[[int], Session],
    folder: RunFolder,
    prompt: Any,
    position: int,
    warm: bool,
    covariates: Mapping[str, Any] | None = None,
) -> Session:
    """Return a session that has read a prompt, or the opening where there is none.

    `covariates` stand beside the prompt; those of the opening are recorded. One that is `warm` has
    read an ending before. `make` gives a session whose first element stands at a position. The
    ending is the last text of training; the opening of a series is its own end, which is thus read
    once. Raises `InputError` (RC043, RC080), and `RunError` (RC052) if what the run recorded cannot
    be read.
    """
    if prompt is not None and not warm:
        return make(position).feed(prompt, covariates)

    vocabulary = make(0).vocabulary
    ends = warm and ELEMENTS[vocabulary.yields].ended
    if warm:
        _check(folder, ends, position)

    data = folder.records.data()
    if ends:
        session = make(data.ending_position)
        session.feed_ids(recorded(vocabulary, folder, "ending"))
    else:
        session = make(data.opening_position)
        beside = None if session.companion is None else recorded_covariates(folder)
        session.feed_ids(recorded(vocabulary, folder, "opening"), beside)
    if warm:
        # A penalty of repetition is for what the reader sees.
        session.seen.zero_()

    if prompt is not None:
        session.feed(prompt, covariates)
    elif ends:
        session.feed_ids(recorded(vocabulary, folder, "opening"))
    return session


def _check(folder: RunFolder, ends: bool, position: int) -> None:
    """Check that a warm generation can begin. Raises `InputError` (RC080)."""
    if position:
        fact = f"position = {position}: a warm prompt stands after what is read before it"
        cure = "leave position or warm out"
        raise InputError.of("RC080", fact, key="generation.position", cure=cure)
    if ends and folder.records.data().ending is None:
        fact = f"{folder.path} was made by a version that recorded no text to read before a prompt"
        cure = "leave warm out, and give a longer prompt"
        raise InputError.of("RC080", fact, key="generation.warm", cure=cure)


def recorded_covariates(folder: RunFolder) -> Rows:
    """Return what data.json records beside the opening. Raises `RunError` (RC052)."""
    saved = folder.records.data().opening_covariates
    with reading(folder.path / "data.json"):
        if saved is None:
            raise ValueError("the covariates of its end are gone")
        count = max(len(saved.past), len(saved.future))
        past, future = (
            np.array(part, np.float64).reshape(len(part) or count, -1)
            for part in (saved.past, saved.future)
        )
        since = None if saved.since is None else Since.restored(saved.since)
        before = None
        if saved.before is not None:
            last, coming = (np.array(row, np.float64) for row in saved.before)
            if (len(last), len(coming)) != (past.shape[1], future.shape[1]):
                raise ValueError("what came before it is not of its covariates")
            before = last, coming
        return Rows(past, future, np.array(saved.static, np.float64), since, before)


def recorded(
    vocabulary: Vocabulary[Any], folder: RunFolder, name: Literal["opening", "ending"]
) -> NDArray[Any]:
    """Return what data.json records, ids or numbers in the data's units, as the network reads it.

    Raises `RunError` (RC052).
    """
    values = getattr(folder.records.data(), name)
    with reading(folder.path / "data.json"):
        return ELEMENTS[vocabulary.yields].recorded(vocabulary, values, name)
