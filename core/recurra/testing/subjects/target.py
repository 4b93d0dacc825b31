"""What a check of a target is given, and what a target gives, looked at before it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.metric import LOSS, Figure, Metric, Metrics
from recurra.contracts.source import Role
from recurra.contracts.target import Examples, Target, Window
from recurra.errors import InputError
from recurra.testing.answers import demand
from recurra.testing.questions import Case, case, freely
from recurra.testing.subjects.subject import Subject


class TargetSubject(Subject[Target[Any]]):
    """A target under one set of options."""

    def target(self) -> Target[Any]:
        """Return the target."""
        return self.build()

    @property
    def by_sequence(self) -> bool:
        """Whether a sequence is answered once."""
        return bool(self.entry.target.scope == "sequence")

    @property
    def follows(self) -> bool:
        """Whether answers follow sequences."""
        return bool(self.entry.target.scope == "answer")

    def cases(self, width: int = 2) -> Iterator[Case]:
        """Give sequences of symbols, and of numbers, where the target measures the answers to them.

        What it cannot measure it refuses by `InputError`. Raises `Broken` if that is everything.
        """
        kind = self.entry.target
        asks: Role = "answer" if self.follows else kind.asks
        refusals = []
        for reads in kind.takes:
            sequences = case(reads, asks, width, kind.answers)
            try:
                self.metrics(self.target(), sequences)
            except InputError as error:
                refusals.append(str(error))
                continue
            yield sequences
        fact = f"it measures no answers: {refusals[:1]}"
        demand(len(refusals) < len(kind.takes), fact)

    @staticmethod
    def metrics(target: Target[Any], case: Case) -> list[type[Metric]]:
        """Return what is measured of the answers. Raises `Broken` if these are no metrics."""
        metrics = target.metrics(case.kind)
        several = (
            isinstance(metrics, Sequence) and not isinstance(metrics, str) and len(metrics) > 0
        )
        classes = several and all(isinstance(each, type) for each in metrics)
        sound = classes and all(issubclass(each, Metric) for each in metrics)
        demand(sound, f"metrics of {case.kind} gives {metrics!r:.60}, not classes of metrics")
        free = [metric.__name__ for metric in metrics if metric.free]
        fact = f"{free[:1]} measures answers that follow, and there is none"
        demand(not free or case.asked is not None or case.kind == "numbers", fact)
        return list(metrics)

    def figures(self, target: Target[Any], case: Case) -> dict[str, Figure]:
        """Return all figures that are made of the answers, by name."""
        figures = {LOSS.name: LOSS}
        for metric in self.metrics(target, case):
            for figure in self.figures_of(metric, case):
                figures[figure.name] = figure
        return figures

    @staticmethod
    def figures_of(metric: type[Metric], case: Case) -> tuple[Figure, ...]:
        """Return the figures of a metric. Raises `Broken` if these are none."""
        name = metric.__name__
        figures = metric.figures(type(case.answers))
        several = isinstance(figures, tuple) and len(figures) > 0
        sound = several and all(isinstance(each, Figure) for each in figures)
        demand(sound, f"figures of {name} gives {figures!r:.60}, not figures")

        for figure in figures:
            named = isinstance(figure.name, str) and figure.name.strip() == figure.name != ""
            sound = named and isinstance(figure.higher, bool)
            demand(sound, f"{name} gives {figure!r:.80}")
            fact = f"{figure.name} lies between {figure.least} and {figure.most}"
            demand(figure.least < figure.most, fact)
        return figures

    @staticmethod
    def filled(metric: type[Metric], case: Case, *pairs: tuple[Tensor, Tensor]) -> Metric:
        """Return the sums of a metric over copies of outputs and answers."""
        sums = metric(case.answers, case.scale)
        for output, answer in pairs:
            TargetSubject.add(sums, case, output.clone(), answer.clone())
        return sums

    @staticmethod
    def add(sums: Metric, case: Case, output: Tensor, answers: Tensor) -> None:
        """Add outputs and answers `[N]`, one by one where they were given freely."""
        if not sums.free:
            sums.add(output, answers)
            return
        for said, came in freely(case, output, answers):
            sums.add(said, came)

    @staticmethod
    def values(sums: Metric, what: str) -> Metrics:
        """Return figures. Raises `Broken` if these are no numbers by their names."""
        return numbers(sums.values(), what)

    @staticmethod
    def scored(target: Target[Any], window: Window) -> Tensor:
        """Return which steps `[B, T]` are scored. Raises `Broken` if these are no flags."""
        shape = window.x.shape[:2]
        device = window.x.device
        flags = target.scored(window)
        if flags is None:
            return torch.ones(shape, dtype=torch.bool, device=device)

        demand(isinstance(flags, Tensor), f"scored gives {type(flags).__name__}, not flags")
        sound = flags.shape == shape and flags.dtype == torch.bool
        fact = f"scored gives {flags.dtype} {list(flags.shape)}, not bool {list(shape)}"
        demand(sound, fact)
        fact = f"scored gives flags on {flags.device} for a window elsewhere"
        demand(flags.device == device, fact)
        return flags

    @staticmethod
    def rules(target: Target[Any], train: Examples, held_out: Examples) -> dict[str, Metrics]:
        """Return the figures of each simple rule. Raises `Broken` if these are none."""
        rules = target.baselines(train, held_out)
        demand(isinstance(rules, Mapping), f"baselines gives {type(rules).__name__}, not a table")
        for rule in rules:
            fact = f"a rule is called {rule!r:.40}"
            demand(isinstance(rule, str) and bool(rule.strip()), fact)
        return {rule: _row(rule, answer) for rule, answer in rules.items()}


def _row(rule: str, answer: Any) -> Metrics:
    """Return the figures of a rule, which are given as they are, or as sums."""
    plain = isinstance(answer, dict)
    sums = hasattr(answer, "metrics")
    fact = f"rule {rule!r} has {type(answer).__name__}, not figures"
    demand(plain or sums, fact)
    figures = answer if plain else answer.metrics()
    return numbers(figures, f"rule {rule!r}")


def numbers(figures: Metrics, what: str) -> Metrics:
    """Return figures. Raises `Broken` if these are no numbers by their names."""
    fact = f"{what} gives {type(figures).__name__}, not figures"
    demand(isinstance(figures, dict), fact)
    for name, value in figures.items():
        number = isinstance(value, float | int) and not isinstance(value, bool)
        pair = f"{name!r:.40} = {value!r:.40}"
        fact = f"{what} gives {pair}, which is no number"
        demand(number and isinstance(name, str), fact)
    return figures
