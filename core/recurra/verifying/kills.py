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

    Each stage gets its turn; within a stage every instant is as likely as any other.
    """
    spans: dict[str, list[tuple[Moment | None, float]]] = {}
    ends = [mark.at for mark in marks[1:]] + [ended]
    spans["start"] = [(None, (marks[0].at if marks else ended) - born)]
    for mark, end in zip(marks, ends, strict=True):
        spans.setdefault(stage(mark), []).append((mark.moment, end - mark.at))

    random = numpy_stream(seed, "kills")
    turns = [turn for turn in TURNS if turn in spans]
    kills: list[Kill] = []
    for index in range(count):
        parts = spans[turns[index % len(turns)]]
        place = float(random.random()) * sum(length for _, length in parts)
        for moment, length in parts:
            if place <= length:
                break
            place -= length
        kills.append(Kill(moment, min(place, length)))

    begun = sorted((kill for kill in kills if kill.after), key=lambda kill: (kill.after, kill.seconds))
    early = [kill for kill in kills if not kill.after]
    # The first falls before anything is saved, the others wherever a process begins again.
    places = sorted(int(random.integers(0, len(begun) + 1)) for _ in early[1:])
    for behind, kill in zip(reversed(places), reversed(early[1:]), strict=True):
        begun.insert(behind, kill)
    return early[:1] + begun
