"""How values are drawn, and when a trial is pruned: Optuna's own, each draw by its trial's number.

What a trial draws so depends on its number and on what is finished, and on no process that was
killed meanwhile, nor on how many there are.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from torch.quasirandom import SobolEngine

from recurra.spec.document import same
from recurra.sweeping.domains import Choices, Domain
from recurra.sweeping.space import Asha, Median, Space, Tpe, Wilcoxon


def distribution(domain: Domain) -> BaseDistribution:
    """Return a domain as Optuna knows it; a choice by how its values are written."""
    model = domain.model
    if isinstance(model, Choices):
        return CategoricalDistribution(domain.labels)
    if model.whole:
        # Optuna itself leaves out what no step reaches, with a warning.
        top = int(model.low + (model.count - 1) * (model.step or 1))
        return IntDistribution(int(model.low), top, model.log, int(model.step or 1))
    if model.step is not None:
        # By their numbers, which are exact.
        return IntDistribution(0, int(model.count) - 1)
    return FloatDistribution(float(model.low), float(model.high), model.log)


def external(domain: Domain, value: Any) -> Any:
    """Return the value of the task that Optuna's value stands for."""
    if isinstance(domain.model, Choices):
        return domain.model.choices[domain.labels.index(value)]
    if domain.model.step is not None and not domain.model.whole:
        return domain.nth(value)
    return value


def internal(domain: Domain, value: Any) -> Any:
    """Return Optuna's value for one of the task."""
    if isinstance(domain.model, Choices):
        choices = domain.model.choices
        return domain.labels[next(at for at, each in enumerate(choices) if same(each, value))]
    if domain.model.step is not None and not domain.model.whole:
        return round((value - domain.model.low) / domain.model.step)
    return value


def assignments(domains: Sequence[Domain]) -> Iterator[dict[str, Any]]:
    """Give every combination of values once; what is not there in one is left out of it."""
    seen = set()
    ranges = [range(int(domain.count)) for domain in domains]
    for numbers in product(*ranges):
        values = {
            domain.name: domain.nth(number) for domain, number in zip(domains, numbers, strict=True)
        }
        there = {each.name: values[each.name] for each in domains if each.is_there(values)}
        key = repr(there)
        if key not in seen:
            seen.add(key)
            yield there


def drawn_by(seed: int, number: int) -> int:
    """Return the seed with which the trial of a number draws."""
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


class Counted(BaseSampler):
    """A sampler whose trials each have their point, by their number: of a grid, or a sequence."""

    def __init__(self, space: Space, domains: Sequence[Domain]) -> None:
        self.space, self.domains = space, {domain.name: domain for domain in domains}

    @cached_property
    def grid(self) -> list[dict[str, Any]]:
        """Every point of a grid."""
        return list(assignments(list(self.domains.values())))

    def point(self, number: int) -> Mapping[str, Any]:
        """Return the values of a trial, by the names of their keys."""
        domains = list(self.domains.values())
        if self.space.sampler.kind == "grid":
            # Beyond the last point there is none to draw: such a trial is never made.
            return self.grid[number] if number < len(self.grid) else {}
        engine: Any = SobolEngine(len(domains), True, self.space.seed)
        if number:
            engine.fast_forward(number)
        shares = engine.draw(1, dtype=torch.float64)[0].tolist()
        return {each.name: each.at_share(at) for each, at in zip(domains, shares, strict=True)}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return all that there is."""
        return {name: distribution(domain) for name, domain in self.domains.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the point of the trial's number."""
        point = self.point(trial.number)
        return {name: internal(self.domains[name], value) for name, value in point.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return a value of a key that the point of a trial beyond the last does not have."""
        return internal(self.domains[param_name], self.domains[param_name].tried()[0])


class Numbered(BaseSampler):
    """Draws by a sampler of each trial's own, whose seed is that of its number."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.of: dict[int, BaseSampler] = {}

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number not in self.of:
            self.of[trial.number] = self._made(drawn_by(self.space.seed, trial.number))
        return self.of[trial.number]

    def _made(self, seed: int) -> BaseSampler:
        sampler = self.space.sampler
        if not isinstance(sampler, Tpe):
            return RandomSampler(seed=seed)
        return TPESampler(n_startup_trials=sampler.startup, multivariate=True, seed=seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what is drawn together."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return values that are drawn together."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return a value that is drawn by itself."""
        sampler = self._of(trial)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Forget the sampler of a trial that is finished."""
        sampler = self.of.pop(trial.number, None)
        if sampler is not None:
            sampler.after_trial(study, trial, state, values)


def sampler_of(space: Space, domains: Sequence[Domain]) -> BaseSampler:
    """Return what draws the values of trials."""
    if space.sampler.kind in ("grid", "qmc"):
        return Counted(space, domains)
    return Numbered(space)


def pruner_of(space: Space) -> BasePruner:
    """Return what tells whether a trial is pruned, by its reports."""
    match space.pruner:
        case Asha(first=first, factor=factor):
            return SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)
        case Median(startup=startup, first=first):
            return MedianPruner(startup, first)
        case Wilcoxon(p=p, startup=startup):
            with warnings.catch_warnings():
                # That its interface may change is told to those who call it.
                warnings.simplefilter("ignore", ExperimentalWarning)
                return WilcoxonPruner(p_threshold=p, n_startup_steps=startup)
    return NopPruner()
