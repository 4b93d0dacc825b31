"""What happens in training, and who watches it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from recurra.contracts.metric import Metrics
from recurra.runs.checkpoints import Checkpoint


class Observer(Protocol):
    """Whoever watches a run: a progress bar, plain lines, or nobody."""

    def started(self, total: int, done: int) -> None:
        """Training begins, or goes on after `done` of `total` updates."""

    def stepped(self, progress: Progress) -> None:
        """An update was made."""

    def validated(self, progress: Progress, metrics: Metrics, better: bool, sample: str) -> None:
        """The validation split was looked at, and a sample generated."""

    def finished(self, progress: Progress, why: str) -> None:
        """Training is over."""


@runtime_checkable
class Listener(Protocol):
    """An observer that takes what is to be said before training begins as well."""

    def told(self, lines: Sequence[str]) -> None:
        """Something is said, in lines: what changes in a run that goes on, or where one is from."""


@runtime_checkable
class Releasing(Protocol):
    """An observer that holds something while training goes on, as a terminal's line."""

    def released(self) -> None:
        """Nothing more is told of this training, whether it was finished, interrupted or failed."""


@runtime_checkable
class Ending(Protocol):
    """An observer that may ask for the end of training, as Ctrl-C does."""

    def enough(self) -> bool:
        """Tell, after an update, whether training is to end there, its state saved."""


@runtime_checkable
class Following(Protocol):
    """An observer that is told what a run is about, also where that is no event of training."""

    def entered(self, phase: str, step: int) -> None:
        """A phase begins after so many updates.

        It is `validation`, `sample`, `checkpoint`, then `training` again, and in the end
        `calibration`, `figures` and `result`.
        """


@dataclass
class Progress:
    """Where training stands."""

    step: int = 0
    total: int = 0
    epoch: int = 0
    # Batches of this epoch that are done.
    batch: int = 0
    # That of the last update.
    loss: float = math.nan
    rate: float = 0.0
    # That of the gradient of the last update, before it is clipped.
    norm: float = math.nan
    # Scored steps so far.
    tokens: int = 0
    # Spent in training so far, over all sessions.
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Scored steps a second."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds that the rest will take at this pace."""
        if not self.step:
            return math.nan
        pace = self.seconds / self.step
        return pace * (self.total - self.step)


@dataclass(frozen=True)
class Updated:
    """An update was made; `loss` is the mean since the last that was given, now and then."""

    progress: Progress
    loss: float | None


@dataclass(frozen=True)
class Validated:
    """The validation split was looked at; `better` says that it was never as good."""

    progress: Progress
    metrics: Metrics
    better: bool


@dataclass(frozen=True)
class Saved:
    """All that is needed to go on from here, to be kept; `best` says that it is the best so far.

    It is `rhythmic` if the steps alone have asked for it, no clock and no request to end, and the
    training is `over` with the last one.
    """

    checkpoint: Checkpoint
    best: bool
    rhythmic: bool = True
    over: bool = False


@dataclass(frozen=True)
class Ended:
    """Training is over, and why; it is not `done` where an end was asked for."""

    progress: Progress
    why: str
    done: bool


Event: TypeAlias = Updated | Validated | Saved | Ended
"""What happens in training. `progress` goes on: whoever keeps it copies it."""
