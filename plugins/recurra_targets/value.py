"""One row of numbers a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from recurra import Elements, Examples, Metric, Metrics, Role, Sums, Target
from recurra_targets.deviation import Deviation
from recurra_targets.options import ValueOptions
from recurra_targets.value_rules import value_rules


class Value(Target[ValueOptions]):
    """A sequence is answered once, from all its steps, by a number, or one for each column."""

    asks: ClassVar[Role] = "label"
    answers: ClassVar[Elements] = "numbers"
    scope: ClassVar[Literal["step", "sequence"]] = "sequence"

    @property
    def pooling(self) -> Literal["last", "mean", "max", "attention"]:
        """From what a sequence is answered."""
        return self.options.pooling

    def metrics(self, elements: Elements) -> Sequence[type[Metric]]:
        """Return how far answers lie from what came."""
        return (Deviation,)

    def judged(self, elements: Elements, rows: Sequence[Metrics], columns: int) -> str:
        """Return rmse; of several columns, which have units of their own, R² where all have it."""
        return "r2" if columns > 1 and all("r2" in row for row in rows) else "rmse"

    def baselines(self, train: Examples, held: Examples) -> Mapping[str, Sums]:
        """Return the mean of training, ridge and 1-NN."""
        return value_rules(train, held)
