"""Whether the answers of a task can be counted, where its loss counts."""

from __future__ import annotations

from functools import partial
from typing import Any

from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Chain
from recurra.data.counts import Counts, check_counts
from recurra.data.splits import Split, SplitName, place_of
from recurra.data.store import Store
from recurra.errors import InputError
from recurra.resolved import Resolved


def counts_of(
    resolved: Resolved, vocabulary: Vocabulary[Any], store: Store, splits: dict[SplitName, Split]
) -> Counts | None:
    """Return what brings answers back to counts; nothing where the loss does not count.

    Raises `InputError` (RC031, RC042) where what is answered is no multiple of a count, and for
    data that are none.
    """
    entry, target = resolved.parts["loss"].entry, resolved.target
    if not entry.target.counts:
        return None
    name = entry.component.name
    if target.asks != "input":
        fact = (
            f"loss {name!r} counts, and the answers of a column of their own are scaled to mean 0"
        )
        cure = 'another loss, or target.kind = "next" or "horizon"'
        raise InputError.of("RC031", fact, key="loss.kind", cure=cure)
    if target.added:
        fact = f"loss {name!r} counts, and what is added to a forecast known beforehand is no count"
        raise InputError.of("RC031", fact, key="target.residual", cure="leave residual out")

    counts = Counts(Chain(vocabulary), 1 if target.ahead else 0)
    if not counts.is_multiple():
        fact = f"loss {name!r} counts, and what is scaled here is no multiple of a count"
        cure = (
            'vocabulary.scale = "mean", "max" or "none", with scale_by = "series" or without; leave'
            " difference, seasonal_difference, log and box_cox out"
        )
        raise InputError.of("RC031", fact, key="vocabulary", cure=cure)
    check_counts(store.values, partial(place_of, store, splits))
    return counts
