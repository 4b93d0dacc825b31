"""Three honest paths, and a clock that the test sets: what laws of a choice begin from.

Files that need `cache` and `clock` make fixtures of them.
"""

from __future__ import annotations

import os
from pathlib import Path as File

import torch

from recurra.engine import eager, measure, paths, proof, race, timings
from recurra.engine.paths import Path
from recurra.engine.race import Lap
from recurra.engine.recurrence import map_state


def first(cell, x, state, reset, lengths):
    return eager.run(cell, x, state, reset, lengths)


def second(cell, x, state, reset, lengths):
    return eager.run(cell, x, state, reset, lengths)


def lies(cell, x, state, reset, lengths):
    y, final = eager.run(cell, x, state, reset, lengths)
    return y + 1e-6, map_state(lambda field: field + 1e-6, final)


def cache(tmp_path, monkeypatch) -> File:
    """Nothing proved or measured, three honest paths; the folder in which timings are kept."""
    monkeypatch.delenv("RECURRA_MEASURE")
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())
    honest = {"first": Path(first), "second": Path(second), "eager": Path(eager.run)}
    monkeypatch.setattr(paths, "PATHS", honest)
    forget(monkeypatch)
    return File(os.environ["RECURRA_CACHE"]) / "paths"


def forget(monkeypatch) -> None:
    """Be as a process that has just begun."""
    monkeypatch.setattr(timings, "TIMINGS", timings.KnownTimings())
    monkeypatch.setattr("recurra.cache._told", set())


def clock(monkeypatch, cache):
    """A machine on which a step of each path takes what the test says; the runs that were timed."""

    class Clock:
        steps = {"first": 3e-4, "second": 1e-4, "eager": 9e-4}
        runs: list[tuple[str, int, int]] = []
        foreign = 0.0
        waits = 1.0

    def timed(cell, window, draw, name, batch, steps):
        Clock.runs.append((name, batch, steps))
        seconds = Clock.steps[name] * steps
        return Lap(Clock.waits * seconds, seconds)

    class Others:
        def foreign(self):
            return Clock.foreign

    Clock.runs = []
    monkeypatch.setattr(measure, "_timed", timed)
    monkeypatch.setattr(race, "Load", Others)
    monkeypatch.setattr("recurra.engine.load.now", lambda: Clock.foreign)
    return Clock


def window(batch: int = 2, steps: int = 5) -> torch.Tensor:
    return torch.randn(batch, steps, 3, dtype=torch.float64)
