"""Batches of new sequences, dealt out to several processes: each answers some, and all get them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from recurra.errors import RecurraError
from recurra.world import world

T = TypeVar("T")
R = TypeVar("R")


class _Outcome(NamedTuple):
    """What a process has made of its batch: a value, or what is wrong with it."""

    value: Any = None
    fault: tuple[type[RecurraError], Any] | None = None


def answered(
    batches: Iterable[list[T]], answer: Callable[[list[T]], R]
) -> Iterator[tuple[list[T], R]]:
    """Give batches in their order, each with what is answered to it.

    Every process reads all of them. Of several each answers one of as many as there are processes,
    which are held at a time; so all are to ask for the next. What is wrong with a batch is raised
    in all of them, once those before it were given, as in one process.
    """
    here, rest = world(), iter(batches)
    if here.size == 1:
        for batch in rest:
            yield batch, answer(batch)
        return

    more = True
    while more:
        some: list[list[T]] = []
        unread: RecurraError | None = None
        try:
            for batch in islice(rest, here.size):
                some.append(batch)
        except RecurraError as error:
            unread = error
        own: RecurraError | None = None

        def made(some: list[list[T]] = some) -> _Outcome:
            nonlocal own
            if here.rank >= len(some):
                return _Outcome()
            try:
                return _Outcome(answer(some[here.rank]))
            except RecurraError as error:
                own = error
                return _Outcome(fault=(type(error), error.problems))

        outcomes = here.gathered(here.together(made))
        for rank, (batch, outcome) in enumerate(zip(some, outcomes, strict=False)):
            if outcome.fault is None:
                yield batch, outcome.value
                continue
            if own is not None and rank == here.rank:
                raise own
            kind, problems = outcome.fault
            raise kind(problems)
        if unread is not None:
            raise unread
        more = len(some) == here.size
