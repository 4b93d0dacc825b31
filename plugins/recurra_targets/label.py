"""One class a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from recurra import Accuracy, Elements, Examples, Metric, Metrics, Role, Target
from recurra_targets.measured import Confusion, LogLoss
from recurra_targets.options import LabelOptions
from recurra_targets.rules import label_rules


class Label(Target[LabelOptions]):
    """A sequence is answered once, from all its steps, by one of the classes of training."""

    asks: ClassVar[Role] = "label"
    scope: ClassVar[Literal["step", "sequence"]] = "sequence"

    @property
    def pooling(self) -> Literal["last", "mean", "max", "attention"]:
        """From what a sequence is answered."""
        return self.options.pooling

    def metrics(self, elements: Elements) -> Sequence[type[Metric]]:
        """Return how often the answer was right, of all and by class, and its chance."""
        return Accuracy, Confusion, LogLoss

    def judged(self, elements: Elements, rows: Sequence[Metrics], columns: int) -> str:
        """Return accuracy, which every rule has."""
        return "accuracy"

    def baselines(self, train: Examples, held: Examples) -> Mapping[str, Metrics]:
        """Return majority; of numbers 1-NN and ridge, of symbols naive Bayes."""
        return label_rules(train, held)
