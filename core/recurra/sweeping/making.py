"""The trials of a sweep, made to the last beside other processes that do the same."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from recurra.errors import Interrupted
from recurra.sweeping.claims import MOST, Claims
from recurra.sweeping.folder import SweepFolder
from recurra.sweeping.space import Spaced
from recurra.sweeping.study import Study
from recurra.trials.journal import Outcome
from recurra.trials.places import Opening
from recurra.trials.pool import Pool
from recurra.trials.trial import Report, Trial

Telling = Callable[[Sequence[str]], None]
LOOK = 0.5
"""Seconds between two looks at trials that other processes make."""
PRUNED = "pruned"
"""After which validation a trial was pruned."""
BY_VALIDATIONS = ("asha", "median")
"""What prunes by validations of the first seed; what prunes otherwise goes by seeds."""


class Sweeping:
    """Makes the trials of a sweep that are not finished, beside other processes that do the same.

    Each seed of a trial is a run; the next one begins when the one before it is done.
    """

    def __init__(
        self, folder: SweepFolder, study: Study, spaced: Spaced, opening: Opening, tell: Telling
    ) -> None:
        self.folder, self.study, self.space = folder, study, spaced.space
        self.opening, self.tell = opening, tell
        self.metrics = folder.plan.metrics
        self.first = next(iter(self.metrics))
        self.claims = Claims(folder, study)
        self.ahead: deque[Trial] = deque()
        """Seeds of trials that have begun, which come before new trials."""
        self.places: dict[str, tuple[int, int]] = {}
        """By the name of a run its trial and its seed."""

    def made(self) -> None:
        """Make all trials to the last. Raises `Interrupted` with what is done."""
        try:
            with self.opening(self.folder.plan.trials) as pool:
                self._make(pool)
        except (KeyboardInterrupt, Interrupted) as error:
            done = self._finished()
            fact = f"interrupted; {done} trials are finished, the others go on from where they are"
            cure = f"`recurra sweep {self.folder.path}` goes on"
            raise Interrupted.because(error, fact, cure) from None
        finally:
            self.claims.close()

    def _make(self, pool: Pool) -> None:
        waiting = False
        while True:
            for trial, outcome in pool.each(self._trials(), self._judged):
                self._take(trial, outcome)
            left = [number for number in self.study.running() if number < self.folder.plan.trials]
            if not left and len(self.study.trials()) >= self.folder.plan.trials:
                return
            if not waiting:
                waiting = True
                self.tell([f"waiting for {len(left)} trials that other processes make"])
            time.sleep(LOOK)

    def _trials(self) -> Iterator[Trial]:
        """Give runs to make, as long as there are any."""
        while True:
            if self.ahead:
                yield self.ahead.popleft()
                continue
            claim = self.claims.next()
            if claim is None:
                return
            if claim.begun >= MOST:
                why = f"{MOST} processes that made it were gone before it came any further"
                self._finish(claim.number, {"state": "failed", "why": why})
                continue
            trial = self._following(claim.number)
            if trial is not None:
                yield trial

    def _following(self, number: int) -> Trial | None:
        """Return the next run of a trial; nothing where it is finished, by what it has."""
        known = self.study.get(number).user_attrs
        done = 0
        while f"seed-{done}" in known:
            done += 1
        if PRUNED in known:
            self._finish(number, {"state": "pruned", "validations": known[PRUNED]})
        elif done == len(self.folder.plan.seeds):
            self._complete(number)
        elif done and self.space.pruner.kind == "wilcoxon" and self._is_worse(number, done - 1):
            self._finish(number, {"state": "pruned", "seeds": done})
        else:
            return self.trial(number, done)
        return None

    def _is_worse(self, number: int, index: int) -> bool:
        """Report a seed of a trial; tell whether the seeds so far are worse than others'."""
        told = self._told(self.study.get(number).user_attrs[f"seed-{index}"])[0]
        return told is not None and self.study.report(number, index, told)

    def trial(self, number: int, index: int, judged: bool = False) -> Trial:
        """Return the run of a trial in one of its seeds."""
        home = self.folder.path.absolute() / "trials" / str(number) / f"seed-{index}"
        name = f"{number}/seed-{index}"
        self.places[name] = number, index
        return Trial(
            name,
            str(self.folder.task.absolute()),
            str(home),
            {**self.study.values(number), "seed": self.folder.plan.seeds[index]},
            judged=judged,
            drawn=True,
            reports=not index and self.space.pruner.kind in BY_VALIDATIONS and not judged,
        )

    def _judged(self, trial: Trial, report: Report) -> bool:
        """Tell whether a trial is pruned by what a validation has measured.

        After the last one nothing is left to be spared.
        """
        number, _ = self.places[trial.name]
        value = self._told(report["metrics"])[0]
        if value is None or not self.study.report(number, report["number"], value):
            return False
        if report["last"]:
            return False
        self.study.note(number, PRUNED, report["number"])
        return True

    def _told(self, figures: dict[str, Any]) -> list[float | None]:
        """Return the figures of the metrics as the study takes them, nothing for one that is none.

        What is to be near an aim is told as its distance.
        """
        told: list[float | None] = []
        for name, direction in self.metrics.items():
            value = figures.get(name)
            number = float(value) if isinstance(value, int | float) else math.nan
            if direction.aim is not None:
                number = abs(number - direction.aim)
            told.append(number if math.isfinite(number) else None)
        return told

    def _take(self, trial: Trial, outcome: Outcome) -> None:
        """Take what came of a run."""
        number, index = self.places[trial.name]
        if outcome["state"] != "done":
            self._finish(number, outcome)
            return
        costs = {name: outcome[name] for name in ("parameters", "seconds")}
        figures = {**costs, **outcome["metrics"]}
        kept = {name: figures.get(name) for name in self.metrics}
        lacking = [
            name for name, value in zip(kept, self._told(figures), strict=True) if value is None
        ]
        if lacking:
            why = f"validation gives no {', '.join(lacking)}"
            self._finish(number, {"state": "failed", "why": why})
            return
        self.study.note(number, f"seed-{index}", kept | {"validations": outcome["validations"]})
        following = self._following(number)
        if following is not None:
            self.ahead.append(following)

    def _complete(self, number: int) -> None:
        """Finish a trial all of whose runs are made, with the means of their figures."""
        trial = self.study.get(number)
        each = [trial.user_attrs[f"seed-{index}"] for index in range(len(self.folder.plan.seeds))]
        means = {name: math.fsum(one[name] for one in each) / len(each) for name in self.metrics}
        if self.space.pruner.kind == "wilcoxon":
            self._is_worse(number, len(each) - 1)
        values = [value for value in self._told(means) if value is not None]
        self._finish(number, {"state": "done", "figures": means}, values)

    def _finish(self, number: int, outcome: Outcome, values: Sequence[float] | None = None) -> None:
        self.study.finish(number, outcome, values)
        self.claims.release(number)
        drawn = ", ".join(
            f"{key}={_short(value)}" for key, value in self.study.values(number).items()
        )
        came = outcome["state"]
        if came == "done":
            came = ", ".join(f"{name} {value:.4g}" for name, value in outcome["figures"].items())
        elif came == "failed":
            came = f"failed: {outcome['why']}"
        total = self.folder.plan.trials
        self.tell([f"trial {number}: {drawn}: {came} ({self._finished()} of {total} finished)"])

    def _finished(self) -> int:
        """Return how many trials are finished, whoever has made them."""
        trials = self.study.trials()[: self.folder.plan.trials]
        return sum(each.state.is_finished() for each in trials)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
