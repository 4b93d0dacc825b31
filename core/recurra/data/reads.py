"""What was read of a source, kept for whoever reads the same again within one piece of work.

Variants, seeds and folds read the same data. A corpus is never changed once it is made, so that
they can share it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from recurra.contracts.source import Source
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.corpus import learned_in
from recurra.data.store import Learned, Store

P = ParamSpec("P")
T = TypeVar("T")

MOST = 4
"""Corpora that are kept, each of which is in memory only where it is small."""


class Read(NamedTuple):
    """A corpus, the source that has read it, and what its vocabulary has learned of it."""

    source: Source[Any]
    store: Store
    learned: Learned


_READ: ContextVar[OrderedDict[str, Read] | None] = ContextVar("read", default=None)
"""What was read, by its key, in the order of its last use; nothing where nothing is kept."""


@contextmanager
def once() -> Iterator[None]:
    """Read the same data once while this is entered, as long as it does not change.

    Whether it has changed is asked of the source each time. Within another, that one decides.
    """
    if _READ.get() is not None:
        yield
        return
    token = _READ.set(OrderedDict())
    try:
        yield
    finally:
        _READ.reset(token)


def reading_once(call: Callable[P, T]) -> Callable[P, T]:
    """Return a function that reads the same data `once`."""

    # Not by the context manager itself, whose frame would be taken for the caller's (`warn`).
    @wraps(call)
    def sharing(*arguments: P.args, **options: P.kwargs) -> T:
        with once():
            return call(*arguments, **options)

    return sharing


def shared(
    source: Source[Any],
    vocabulary: Vocabulary[Any],
    known: bool,
    key: Callable[[], str],
    read: Callable[[], Store],
) -> tuple[Source[Any], Store]:
    """Return a corpus and the source that has read it: what has the same `key`, else `read` now.

    A vocabulary that is not `known` takes what was learned. A key hangs on all that is read, the
    state of the data included.
    """
    kept = _READ.get()
    if kept is None:
        return source, read()
    before = key()
    found = kept.get(before)
    if found is None:
        store = read()
        found = Read(source, store, None if known else learned_in(vocabulary))
        # Data that changed meanwhile has another key.
        if key() == before:
            kept[before] = found
            while len(kept) > MOST:
                kept.popitem(last=False)
        return source, store
    kept.move_to_end(before)
    if found.learned is not None:
        vocabulary.restore(found.learned)
    return found.source, found.store
