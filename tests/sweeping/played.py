"""Sweeps whose trials are played: what comes of one is a figure of its values, in no time."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from trials import PROSE, write

import recurra
from recurra.sweeping import asking
from recurra.sweeping.results import Sweep
from recurra.trials.journal import Outcome
from recurra.trials.places import Opening
from recurra.trials.pool import Pool
from recurra.trials.trial import Judge, Trial

RATE = "training.optimizer.lr"
SPACE: dict[str, Any] = {
    "trials": 8,
    "space": {
        RATE: {"low": 1e-3, "high": 1.0, "log": True},
        "cell.hidden_size": {"low": 3, "high": 9},
    },
}
VALIDATIONS = 4


def figure(values: Mapping[str, Any]) -> float:
    """Return a figure of some values, good where the rate is 0.1 and the width 5."""
    rate = float(values.get(RATE, 0.1))
    return math.log10(rate * 10) ** 2 + abs(values.get("cell.hidden_size", 5) - 5) / 10


Play = Callable[[Trial], float]


def plainly(trial: Trial) -> float:
    """Return the figure of a trial, somewhat else in each seed."""
    return figure(trial.overrides) + trial.overrides["seed"] / 1000


class Player:
    """A place where trials are played; `made` has the name of each that came to its end.

    Its process is killed in the trials whose order is in `killed`, between two validations.
    """

    def __init__(self, play: Play = plainly, killed: frozenset[int] = frozenset()) -> None:
        self.play, self.killed = play, killed
        self.begun = 0
        self.made: list[str] = []
        self.reports: list[tuple[str, int]] = []
        self.judged: list[str] = []

    def make(self, trial: Trial, judge: Judge) -> Outcome:
        """Return what comes of a trial."""
        self.begun += 1
        value = self.play(trial)
        home = Path(trial.home) / "1"
        home.mkdir(parents=True, exist_ok=True)
        if trial.judged:
            self.judged.append(trial.name)
            result = {"metrics": {"loss": value + 1, "nats": value}, "split": "test", "verdict": ""}
            (home / "result.json").write_text(json.dumps(result))
            return {"state": "done"}
        for number in range(1, VALIDATIONS + 1):
            if self.begun in self.killed and number == 2:
                raise KeyboardInterrupt
            if trial.reports:
                self.reports.append((trial.name, number))
                last = number == VALIDATIONS
                metrics = {"loss": value + 1 / number}
                if judge({"number": number, "metrics": metrics, "last": last}):
                    self.made.append(trial.name)
                    return {"state": "pruned", "validations": number}
        self.made.append(trial.name)
        if math.isnan(value):
            return {"state": "failed", "why": "the loss became infinite"}
        metrics = {"loss": value + 1 / VALIDATIONS, "nats": -value}
        return {
            "state": "done",
            "metrics": metrics,
            "parameters": 10 * int(trial.overrides.get("cell.hidden_size", 1)),
            "seconds": 1.0,
            "validations": VALIDATIONS,
        }

    def terminate(self) -> None:
        """End at once."""

    def end(self, patience: float) -> None:
        """Be ended."""


HERE = threading.local()
"""The players of each thread, which stands for a process."""


def played(logs: Path, jobs: int | None, on: str) -> Opening:
    """Return what gives the players of this thread as places."""
    players: list[Player] = HERE.players
    return lambda most: Pool(players[:most])


@pytest.fixture(scope="module", autouse=True)
def playing() -> Iterator[None]:
    """Let trials be played; what is played is not to last through a loss of power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(asking, "opening", played)
        yield


def swept(
    home: Path, players: list[Player], space: Mapping[str, Any] | None = None, **more: Any
) -> Sweep:
    """Sweep prose, or go on, with trials that are played."""
    HERE.players = players
    if space is None:
        return recurra.sweep(home, jobs=len(players), **more)
    task = home / "task.toml"
    if not task.exists():
        write(home, PROSE)
    more = {"sweeps": home / "sweeps"} | more
    return recurra.sweep(task, space, jobs=len(players), **more)
