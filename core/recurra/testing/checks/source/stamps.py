"""Checks of the time stamps of a source."""

from __future__ import annotations

import json
from typing import Any

from recurra.contracts.source import Piece, Role
from recurra.contracts.timeline import Timeline
from recurra.testing.answers import demand
from recurra.testing.check import Broken, NotApplicable, check
from recurra.testing.subjects.source import SourceSubject

TIME: Role = "time"


@check("S13", "stamps go on from the first", "source", firm=True, since="1.1")
def timed(subject: SourceSubject) -> None:
    """Where `columns` names `time`, each piece that starts a sequence has the stamp of its first
    element, and no other; `timeline`, once the data was read, tells those of all that follow.

    It reads each of these stamps, is the same for every instance, and is nothing but a `Timeline`
    that comes back from its `record`. Where it knows how far stamps are apart, no step is left out
    between two others: `gaps` is empty. A forecast is dated by it, calendars are made of it, and
    new data is held to it; a step that lacks moves the date of each that follows, and nothing shows
    it. Whoever names no `time` has no timeline. To mend it: give the stamp as a text, with the
    first piece alone, fill gaps or refuse them by `InputError` (RC042) with the rows, or say that
    the distance is not known.
    """
    named = TIME in subject.columns(subject.source())
    for element, pieces in subject.given():
        later = [piece for piece in pieces if not piece.start and TIME in piece.columns]
        demand(not later, f"{element}: a time stamp stands in the midst of its sequence")

        source = subject.source()
        subject.pieces(source, element)
        timeline: Any = source.timeline()
        stamps = [piece.columns.get(TIME) for piece in pieces if piece.start]
        if not named:
            demand(
                not any(stamps), f"{element}: a sequence has a time stamp, and columns names none"
            )
            demand(timeline is None, f"{element}: there is a timeline, and columns names no time")
            continue
        fact = f"{element}: once it was read, timeline gives {type(timeline).__name__}"
        demand(isinstance(timeline, Timeline), fact)
        _comes_back(timeline)
        other = subject.source()
        subject.pieces(other, element)
        demand(other.timeline() == timeline, "another instance has another timeline")
        for first, length in zip(stamps, _lengths(pieces), strict=True):
            _goes_on(timeline, first, length)

        gaps = source.gaps() if timeline.frequency is not None else []
        fact = f"a stamp comes every {timeline.frequency}, and {len(gaps)} rows are left out"
        demand(not gaps, f"{element}: {fact} between others, the first {gaps[:1]}")
    if not named:
        raise NotApplicable("it gives no time stamps")


def _comes_back(timeline: Timeline) -> None:
    """Raise `Broken` unless a timeline is what it says of itself, as a run writes it."""
    try:
        again = Timeline.of(json.loads(json.dumps(timeline.record())))
    except (TypeError, ValueError) as error:
        raise Broken(f"the timeline cannot be written by a run: {error!s:.100}") from error
    fact = f"the timeline comes back from its record as {again}, and was {timeline}"
    demand(again == timeline, fact)


def _lengths(pieces: list[Piece]) -> list[int]:
    """Return how many elements each sequence has."""
    lengths: list[int] = []
    for piece in pieces:
        if piece.start:
            lengths.append(0)
        lengths[-1] += len(piece.values)
    return lengths


def _goes_on(timeline: Timeline, first: Any, length: int) -> None:
    """Raise `Broken` unless a timeline reads the first stamp of a sequence, and goes on from it."""
    if not isinstance(first, str) or not first.strip():
        raise Broken(f"a sequence has the time stamp {first!r:.60}")
    try:
        stamp = timeline.read(first)
        if timeline.frequency is None or length < 2:
            return
        (last,) = timeline.after(first, [length - 1])
        counted = timeline.frequency.steps(stamp, timeline.read(last))
    except ValueError as error:
        raise Broken(f"the timeline does not go on from {first!r:.60}: {error!s:.100}") from error
    fact = f"the timeline takes {last!r} for {counted} steps after {first!r}, of {length - 1}"
    demand(counted == length - 1, fact)
