"""The trials of a sweep in Optuna's journal, which several processes and machines share."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from recurra.errors import InputError, RunError
from recurra.runs import files
from recurra.sweeping.domains import Domain
from recurra.sweeping.samplers import distribution, external, pruner_of, sampler_of
from recurra.sweeping.space import Space
from recurra.trials.journal import Outcome

STATES = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
OUTCOME, SEAL = "outcome", "seal"


class Study:
    """The trials of a sweep, each by its number, from 0.

    Every method raises `RunError` (RC052) where the storage is damaged.
    """

    def __init__(
        self, path: Path, name: str, directions: Sequence[str], space: Space, domains: list[Domain]
    ) -> None:
        self.path, self.domains = path, domains
        self._lock = threading.Lock()
        place = str(path.absolute())
        # A link, as Optuna makes by default, leads nowhere on a machine with other paths.
        lock = JournalFileOpenLock(place)
        with self._reading():
            _mended(path, lock)
            self._storage = JournalStorage(JournalFileBackend(place, lock))
            names = [each.study_name for each in self._storage.get_all_studies()]
            if names and names != [name]:
                fact = f"{path} is the storage of another study, {names[0]}"
                cure = "name another folder, or bring back the storage of this sweep"
                raise InputError.of("RC080", fact, cure=cure)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=list(directions),
                sampler=sampler_of(space, domains),
                pruner=pruner_of(space),
                load_if_exists=True,
            )
            self._id = self._storage.get_study_id_from_name(name)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with self._lock, _quiet():
                yield
        except (OSError, MemoryError) as error:
            raise RunError.of("RC053", f"{self.path} cannot be used: {error}") from error
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            line = _damaged_line(self.path)
            where = f"line {line}" if line else f"{type(error).__name__}: {error}"
            fact = f"{self.path} is damaged: {where}"
            cure = "bring back the file as it was, or begin another sweep"
            raise RunError.of("RC052", fact, cure=cure) from error

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, in the order of their numbers."""
        with self._reading():
            return self._study.get_trials(deepcopy=False)

    def running(self) -> list[int]:
        """Return the numbers of trials that are not finished, whoever has them."""
        return [each.number for each in self.trials() if not each.state.is_finished()]

    def ask(self) -> int:
        """Begin a trial; return its number."""
        with self._reading():
            return self._study.ask().number

    def values(self, number: int) -> dict[str, Any]:
        """Return the values of a trial by their keys: those that it has, or else drawn now."""
        with self._reading():
            trial = optuna.trial.Trial(self._study, self._of(number))
            values: dict[str, Any] = {}
            for domain in self.domains:
                if domain.is_there(values):
                    values[domain.name] = external(domain, _drawn(trial, domain))
            return values

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the values that a trial has, by their keys."""
        known = {domain.name: domain for domain in self.domains}
        with self._reading():
            return {name: external(known[name], value) for name, value in trial.params.items()}

    def get(self, number: int) -> FrozenTrial:
        """Return all that is known of a trial."""
        with self._reading():
            return self._storage.get_trial(self._of(number))

    def note(self, number: int, key: str, value: Any) -> None:
        """Keep something of a trial that is not finished."""
        with self._reading():
            self._storage.set_trial_user_attr(self._of(number), key, files.finite(value))

    def report(self, number: int, step: int, value: float) -> bool:
        """Take a figure of a trial at a step; tell whether the trial is to be pruned there."""
        with self._reading():
            at = self._of(number)
            self._storage.set_trial_intermediate_value(at, step, value)
            return bool(self._study.pruner.prune(self._study, self._storage.get_trial(at)))

    def finish(self, number: int, outcome: Outcome, values: Sequence[float] | None = None) -> None:
        """Finish a trial; of one that was finished before nothing changes."""
        trial = self.get(number)
        if trial.state.is_finished():
            return
        outcome = files.finite(outcome)
        seal = _sealed(trial, outcome, values)
        self.note(number, OUTCOME, outcome)
        self.note(number, SEAL, seal)
        with self._reading():
            state = STATES[outcome["state"]]
            told = None if values is None else list(values)
            self._study.tell(number, told, state, skip_if_finished=True)

    def checked(self) -> list[FrozenTrial]:
        """Return all trials; those that are finished have not been changed since.

        Raises `RunError` (RC052).
        """
        trials = self.trials()
        for trial in trials:
            if not trial.state.is_finished():
                continue
            outcome = trial.user_attrs.get(OUTCOME)
            values = trial.values if trial.state == TrialState.COMPLETE else None
            if not isinstance(outcome, dict) or STATES.get(outcome.get("state", "")) != trial.state:
                seal = None
            else:
                seal = _sealed(trial, outcome, values)
            if seal is None or seal != trial.user_attrs.get(SEAL):
                fact = f"{self.path} was changed: trial {trial.number} is not as it was finished"
                cure = "bring back the file as it was, or begin another sweep"
                raise RunError.of("RC052", fact, cure=cure)
        return trials

    def front(self, figures: Sequence[Sequence[float]]) -> list[int]:
        """Return which rows of figures no other is better than in all, each made small."""
        return [
            at
            for at, row in enumerate(figures)
            if not any(_dominates(other, row) for other in figures)
        ]

    def _of(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Optuna logs meanwhile: it is told in other words."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _drawn(trial: optuna.trial.Trial, domain: Domain) -> Any:
    """Return Optuna's value of a key in a trial."""
    match distribution(domain):
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(domain.name, choices)
        case IntDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_int(domain.name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_float(domain.name, low, high, step=step, log=log)
    raise AssertionError("a domain is one of three distributions")


def _sealed(trial: FrozenTrial, outcome: Mapping[str, Any], values: Any) -> str:
    """Return the hash of all that counts of a trial that is finished."""
    told = None if values is None else [float(value) for value in values]
    text = json.dumps([trial.number, trial.params, outcome, told], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _mended(path: Path, lock: JournalFileOpenLock) -> None:
    """Take away a last line that was cut off: what it began to say was never said."""
    if not path.exists() or _whole(path) == path.stat().st_size:
        return
    lock.acquire()
    try:
        # Whoever was writing it has written it now, or is gone.
        with path.open("r+b") as file:
            file.truncate(_whole(path))
    finally:
        lock.release()


def _whole(path: Path) -> int:
    """Return how many bytes of a file are whole lines."""
    return path.read_bytes().rfind(b"\n") + 1


def _damaged_line(path: Path) -> int:
    """Return the number of the first line that is no record, or 0."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return 0
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line) if line or number < len(lines) else {"op_code": 0}
        except ValueError:
            return number
        if not isinstance(record, dict) or "op_code" not in record:
            return number
    return 0


def finite(values: Sequence[float | None]) -> bool:
    """Tell whether all figures of a trial are numbers."""
    return all(value is not None and math.isfinite(value) for value in values)
