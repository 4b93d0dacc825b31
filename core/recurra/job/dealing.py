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
        broken: BaseException | None = None
        try:
            for batch in islice(rest, here.size):
                some.append(batch)
        except RecurraError as error:
            unread = error
        except BaseException as error:
            broken = error
        own: RecurraError | None = None

        def made(some: list[list[T]] = some, broken: BaseException | None = broken) -> _Outcome:
            nonlocal own
            if broken is not None:
                raise broken
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


def given(rows: Iterator[T], write: Callable[[Iterator[T]], int]) -> int:
    """Return how many rows are written, by the first process alone; the others come by them.

    The rows are made of what `answered` gives. Where the first cannot write, the others, who may
    be waiting for it in the midst of the rows, raise its error too.
    """
    here = world()
    if here.size == 1:
        return write(rows)

    asked = _Asked(rows)
    error: BaseException | None = None
    count = 0
    try:
        count = write(asked) if here.first else sum(1 for _ in asked)
    except BaseException as raised:
        if asked.failed:
            # It is raised in all of them.
            raise
        error = raised

    def ended() -> int:
        if error is not None:
            raise error
        return count

    # Those that wait in the midst of the rows do so in `together` as well.
    return here.together(ended)


class _Asked(Iterator[T]):
    """Rows, and whether one of them could not be given."""

    def __init__(self, rows: Iterator[T]) -> None:
        self.rows = rows
        self.failed = False

    def __next__(self) -> T:
        try:
            return next(self.rows)
        except StopIteration:
            raise
        except BaseException:
            self.failed = True
            raise
