"""What a vocabulary makes of symbols that are added to those that it has learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recurra.contracts.vocabulary import Values, Vocabulary
from recurra.testing.answers import demand
from recurra.testing.check import NotApplicable, check
from recurra.testing.checks.vocabulary.encoding import FEW, same
from recurra.testing.hard_data import KNOWN, STRANGE
from recurra.testing.subjects.vocabulary import VocabularySubject

TIMES = 12
"""How often new symbols come: some options leave out what is rare."""


@check("V16", "what is added moves nothing", "vocabulary", firm=True, since="1.1")
def added(subject: VocabularySubject) -> None:
    """`add` puts the symbols that it lacks behind those that it has, and tells how often each
    comes; what was known keeps its id.

    A run that begins from another has the weights of the old ids. One symbol for all unknown ones
    may stay the last. What was added is known from then on: it is encoded, saved, and added no
    second time; of twice the runs each symbol comes twice as often. To mend it: append to the
    table, and count in one pass over an iterator. Without `add` new symbols are refused.
    """
    subject.writing()
    known = KNOWN[subject.reads]
    runs = [*STRANGE[subject.reads]] * TIMES
    vocabulary = subject.vocabulary(known)
    size = subject.size(vocabulary)
    if not size:
        raise NotApplicable("under these options it keeps no symbol of what it is fitted on")
    names = [vocabulary.symbol(index) for index in range(min(size, FEW))]
    ids = subject.encoded(vocabulary, known)
    new = _added(vocabulary, runs)

    grown = subject.size(vocabulary)
    fact = f"{len(new)} symbols are told to be new, and the size goes from {size} to {grown}"
    demand(grown - size == len(new), fact)
    _stays(vocabulary, names, grown)
    expected = ids
    if len(names) == size and vocabulary.symbol(size - 1) != names[-1]:
        expected = np.where(ids == size - 1, grown - 1, ids)
    demand(same(subject.encoded(vocabulary, known), expected), "what was known has other ids")

    _is_known(subject, vocabulary, runs)
    twice = _added(subject.vocabulary(known), runs * 2)
    right = all(twice.get(name) == 2 * count for name, count in new.items())
    demand(right, f"twice the runs give {twice}, and once {new}")


def _added(vocabulary: Vocabulary[Any], runs: list[Values]) -> Mapping[str, int]:
    """Return what is told of new symbols. Raises `NotApplicable` where none can be added."""
    try:
        new = vocabulary.add(iter(runs))
    except NotImplementedError as error:
        raise NotApplicable("it takes no symbols in") from error
    told = isinstance(new, Mapping) and all(
        isinstance(name, str) and isinstance(count, int) and count > 0
        for name, count in new.items()
    )
    demand(told, f"add gives {new!r:.60}, and no table of how often each name comes")
    return new


def _stays(vocabulary: Vocabulary[Any], names: list[str], grown: int) -> None:
    """Raise `Broken` unless symbols are where they were, or the last of them is the last now."""
    for place, name in enumerate(names):
        found = vocabulary.symbol(place)
        last = place == len(names) - 1 and vocabulary.symbol(grown - 1) == name
        demand(found == name or last, f"symbol {place} was {name!r}, and is {found!r}")


def _is_known(subject: VocabularySubject, vocabulary: Vocabulary[Any], runs: list[Values]) -> None:
    """Raise `Broken` unless what was added comes back, and is saved, and is not new once more."""
    again = subject.restored(subject.vocabulary(), vocabulary.save())
    for values in runs[: len(STRANGE[subject.reads])]:
        ids = subject.encoded(vocabulary, values)
        demand(same(subject.encoded(again, values), ids), "what was added is not saved")
        if vocabulary.lossless:
            back = vocabulary.decode(ids)
            demand(same(back, values), f"{values!r} was added, and comes back as {back!r}")
    demand(not _added(vocabulary, runs), "what was added is added a second time")
