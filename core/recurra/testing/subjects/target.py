"""What a check of a target is given, and what a target gives, looked at before it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast, get_args

import torch
from torch import Tensor

from recurra.contracts.metric import LOSS, Figure, Metric, Metrics
from recurra.contracts.target import Elements, Examples, Target, Window
from recurra.errors import InputError
from recurra.testing.answers import demand
from recurra.testing.questions import Case, case
from recurra.testing.subjects.subject import Subject

ELEMENTS: tuple[Elements, ...] = get_args(Elements)


class TargetSubject(Subject):
    """A target under one set of options."""

    def target(self) -> Target[Any]:
        """Return the target."""
        return cast(Target[Any], self.build())

    @property
    def by_sequence(self) -> bool:
        """Whether a sequence is answered once."""
        return bool(self.entry.target.scope == "sequence")

    def cases(self, width: int = 2) -> Iterator[Case]:
        """Give sequences of symbols, and of numbers, where the target measures the answers to them.

        What it cannot measure it refuses by `InputError`. Raises `Broken` if that is everything.
        """
        asks, refusals = self.entry.target.asks, []
        for reads in ELEMENTS:
            found = case(reads, asks, width)
            try:
                self.metrics(self.target(), found)
            except InputError as error:
                refusals.append(str(error))
                continue
            yield found
        demand(len(refusals) < len(ELEMENTS), f"it measures no answers: {refusals[:1]}")

    @staticmethod
    def metrics(target: Target[Any], case: Case) -> list[type[Metric]]:
        """Return what is measured of the answers. Raises `Broken` if these are no metrics."""
        found = target.metrics(case.kind)
        several = isinstance(found, Sequence) and not isinstance(found, str) and len(found) > 0
        classes = several and all(isinstance(each, type) for each in found)
        demand(
            classes and all(issubclass(each, Metric) for each in found),
            f"metrics of {case.kind} gives {found!r:.60}, not classes of metrics",
        )
        return list(found)

    def figures(self, target: Target[Any], case: Case) -> dict[str, Figure]:
        """Return all figures that are made of the answers, by name."""
        measured = [self.figures_of(metric, case) for metric in self.metrics(target, case)]
        return {figure.name: figure for figures in [(LOSS,), *measured] for figure in figures}

    @staticmethod
    def figures_of(metric: type[Metric], case: Case) -> tuple[Figure, ...]:
        """Return the figures of a metric. Raises `Broken` if these are none."""
        found = metric.figures(type(case.answers))
        several = isinstance(found, tuple) and len(found) > 0
        demand(
            several and all(isinstance(each, Figure) for each in found),
            f"figures of {metric.__name__} gives {found!r:.60}, not figures",
        )
        for figure in found:
            named = isinstance(figure.name, str) and figure.name.strip() == figure.name != ""
            sound = named and isinstance(figure.higher, bool)
            demand(sound, f"{metric.__name__} gives {figure!r:.80}")
            demand(
                figure.least < figure.most,
                f"{figure.name} lies between {figure.least} and {figure.most}",
            )
        return found

    @staticmethod
    def filled(metric: type[Metric], case: Case, *pairs: tuple[Tensor, Tensor]) -> Metric:
        """Return the sums of a metric over copies of outputs and answers."""
        sums = metric(case.answers, case.scale)
        for output, answer in pairs:
            sums.add(output.clone(), answer.clone())
        return sums

    @staticmethod
    def values(sums: Any, what: str) -> Metrics:
        """Return figures. Raises `Broken` if these are no numbers by their names."""
        return numbers(sums.values(), what)

    @staticmethod
    def scored(target: Target[Any], window: Window) -> Tensor:
        """Return which steps `[B, T]` are scored. Raises `Broken` if these are no flags."""
        shape = window.x.shape[:2]
        found: Any = target.scored(window)
        if found is None:
            return torch.ones(shape, dtype=torch.bool, device=window.x.device)
        demand(isinstance(found, Tensor), f"scored gives {type(found).__name__}, not flags")
        right = found.shape == shape and found.dtype == torch.bool
        demand(right, f"scored gives {found.dtype} {list(found.shape)}, not bool {list(shape)}")
        demand(
            found.device == window.x.device,
            f"scored gives flags on {found.device} for a window elsewhere",
        )
        return cast(Tensor, found)

    @staticmethod
    def rules(target: Target[Any], train: Examples, held: Examples) -> dict[str, Metrics]:
        """Return the figures of each simple rule. Raises `Broken` if these are none."""
        found = target.baselines(train, held)
        demand(isinstance(found, Mapping), f"baselines gives {type(found).__name__}, not a table")
        for rule in found:
            demand(isinstance(rule, str) and bool(rule.strip()), f"a rule is called {rule!r:.40}")
        return {rule: _row(rule, given) for rule, given in found.items()}


def _row(rule: str, given: Any) -> Metrics:
    """Return the figures of a rule, which are given as they are, or as sums."""
    plain = isinstance(given, dict)
    sums = hasattr(given, "metrics")
    demand(plain or sums, f"rule {rule!r} has {type(given).__name__}, not figures")
    return numbers(given if plain else given.metrics(), f"rule {rule!r}")


def numbers(found: Any, what: str) -> Metrics:
    """Return figures. Raises `Broken` if these are no numbers by their names."""
    demand(isinstance(found, dict), f"{what} gives {type(found).__name__}, not figures")
    for name, value in found.items():
        number = isinstance(value, float | int) and not isinstance(value, bool)
        shown = f"{name!r:.40} = {value!r:.40}"
        demand(number and isinstance(name, str), f"{what} gives {shown}, which is no number")
    return cast(Metrics, found)
