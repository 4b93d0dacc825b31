"""When a run is killed: moments drawn from a seed over the time that it takes when left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recurra.randomness import numpy_stream
from recurra.verifying.phases import Mark, Moment

STAGES = {
    "updated": "training",
    "training": "training",
    "validation": "validation",
    "sample": "validation",
    "checkpoint": "checkpoint",
    "calibration": "end",
    "figures": "end",
    "result": "end",
}
"""The stage of a process to which a phase counts; what precedes its first phase is its start."""
TURNS = ("checkpoint", "training", "start", "end", "validation")
"""The stages in the order in which they get a kill each, over and over."""
BRIEF = ("checkpoint",)
"""Stages that are over in milliseconds: a kill in one falls within the shortest of them."""
WORDS = {
    "start": "at its start",
    "training": "between two updates",
    "validation": "in a validation",
    "sample": "while a sample was generated",
    "checkpoint": "while a checkpoint was written",
    "calibration": "in the calibration",
    "figures": "in the final figures",
    "result": "while the result was written",
}
"""Where a kill fell, in words."""


@dataclass(frozen=True)
class Kill:
    """When to kill: so many seconds after a moment, or after the birth of the process."""

    after: Moment | None
    seconds: float


def stage(mark: Mark) -> str:
    """Return the stage that begins with a mark."""
    return STAGES[mark.moment.phase]


def drawn(marks: Sequence[Mark], born: float, ended: float, count: int, seed: int) -> list[Kill]:
    """Draw moments from the life of a process, in the order in which one run can meet them.

    Each stage gets its turn; within a stage every instant is as likely as any other. All but those
    at a start fall after the first checkpoint, so that there is something to go on from.
    """
    spans: dict[str, list[tuple[Moment | None, float]]] = {}
    ends = [mark.at for mark in marks[1:]] + [ended]
    spans["start"] = [(None, (marks[0].at if marks else ended) - born)]
    saved = (mark.moment for mark in marks if mark.moment.phase == "checkpoint")
    first = next(saved, Moment(0, 0, 0))
    lengths = [end - mark.at for mark, end in zip(marks, ends, strict=True)]
    shortest: dict[str, float] = {}
    for mark, length in zip(marks, lengths, strict=True):
        phase = mark.moment.phase
        shortest[phase] = min(length, shortest.get(phase, length))
    for mark, length in zip(marks, lengths, strict=True):
        if stage(mark) in BRIEF:
            # A busy machine makes some last far longer: a kill in these would often come late.
            length = shortest[mark.moment.phase]
        if mark.moment > first:
            spans.setdefault(stage(mark), []).append((mark.moment, length))

    random = numpy_stream(seed, "kills")
    turns = [turn for turn in TURNS if turn in spans]
    kills: list[Kill] = []
    for index in range(count):
        parts = spans[turns[index % len(turns)]]
        place = float(random.random()) * sum(length for _, length in parts)
        kills.append(_at(parts, place))

    begun = sorted(
        (kill for kill in kills if kill.after), key=lambda kill: (kill.after, kill.seconds)
    )
    early = [kill for kill in kills if not kill.after]
    # The first falls before anything is saved, the others wherever a process begins again.
    places = sorted(int(random.integers(0, len(begun) + 1)) for _ in early[1:])
    for behind, kill in zip(reversed(places), reversed(early[1:]), strict=True):
        begun.insert(behind, kill)
    return early[:1] + begun


def _at(parts: Sequence[tuple[Moment | None, float]], place: float) -> Kill:
    """Return the moment that lies so many seconds inside spans of time that are laid end to end."""
    for moment, length in parts:
        if place <= length:
            return Kill(moment, place)
        place -= length
    # Sums round.
    moment, length = parts[-1]
    return Kill(moment, length)
