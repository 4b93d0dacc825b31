"""What comes next: the element after each step, from those up to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from recurra import (
    Accuracy,
    Distance,
    Elements,
    Examples,
    Likelihood,
    Metric,
    Metrics,
    Role,
    Sums,
    Target,
    ngram_rules,
    series_rules,
)
from recurra_targets.options import NextOptions

MEASURED: dict[Elements, tuple[type[Metric], ...]] = {
    "symbols": (Likelihood, Accuracy),
    "numbers": (Distance,),
}
RULES: dict[Elements, Callable[[Examples, Examples], Mapping[str, Metrics | Sums]]] = {
    "symbols": ngram_rules,
    "numbers": series_rules,
}


def judged(elements: Elements, rows: Sequence[Metrics], columns: int) -> str:
    """Return nats; of numbers the error, scaled where several columns have their own units."""
    if elements == "symbols":
        return "nats"
    scaled = columns > 1 and all("mase" in row for row in rows)
    return "mase" if scaled else "mae"


class Next(Target[NextOptions]):
    """Each element is answered by the next, which can be read in its turn: text, or a forecast."""

    asks: ClassVar[Role] = "input"
    reach: ClassVar[int] = 1
    generates: ClassVar[bool] = True

    @property
    def conformal(self) -> Literal["none", "split", "adaptive"]:
        """Whether forecasts have intervals as wide as what earlier ones missed by."""
        return self.options.conformal

    def metrics(self, elements: Elements) -> Sequence[type[Metric]]:
        """Return the chance given to what came, or the distance from it."""
        return MEASURED[elements]

    def judged(self, elements: Elements, rows: Sequence[Metrics], columns: int) -> str:
        """Return nats, or the error of numbers."""
        return judged(elements, rows, columns)

    def baselines(self, train: Examples, held: Examples) -> Mapping[str, Metrics | Sums]:
        """Return n-grams, or the rules of series one step ahead."""
        return RULES[held.elements](train, held)
