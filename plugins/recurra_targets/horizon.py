"""The next steps of a series, all at once: a forecast that reads none of its own answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recurra import (
    Distance,
    Elements,
    Examples,
    Figure,
    Metric,
    Metrics,
    Past,
    Role,
    SeriesScales,
    Sums,
    Target,
    Vocabulary,
    ahead_rules,
)
from recurra_targets.horizon_rules import RESIDUALS, SEASONAL, mean_of
from recurra_targets.next import judged
from recurra_targets.options import HorizonOptions


class Horizon(Target[HorizonOptions]):
    """The numbers of the next `length` steps, from the state that a step has left."""

    asks: ClassVar[Role] = "input"
    reach: ClassVar[int] = 1
    generates: ClassVar[bool] = True
    takes: ClassVar[tuple[Elements, ...]] = ("numbers",)

    @property
    def ahead(self) -> int:
        """How many steps are answered at once."""
        return self.options.length

    @property
    def conformal(self) -> Literal["none", "split", "adaptive"]:
        """Whether forecasts have intervals as wide as what earlier ones missed by."""
        return self.options.conformal

    @property
    def decoder(self) -> Literal["linear", "cell"]:
        """What gives the answers."""
        return self.options.decoder

    @property
    def last_origin(self) -> bool:
        """Whether each sequence has one origin."""
        return self.options.origin == "last"

    @property
    def seasonal(self) -> bool:
        """Whether what is known beforehand is that of a season ago."""
        return self.options.residual in SEASONAL

    @property
    def added(self) -> bool:
        """Whether the network's answer is added to anything."""
        return self.options.residual in RESIDUALS

    def base(self, past: Past) -> NDArray[np.float64]:
        """Return what the residual is of."""
        return RESIDUALS[self.options.residual](past)

    def metrics(self, elements: Elements) -> Sequence[type[Metric]]:
        """Return the distance of all answers from what came, and of each step ahead."""
        return (Ahead,)

    def judged(self, elements: Elements, rows: Sequence[Metrics], columns: int) -> str:
        """Return the error, as that of `next` is."""
        return judged(elements, rows, columns)

    def baselines(self, train: Examples, held: Examples) -> Mapping[str, Metrics | Sums]:
        """Return the mean of training, and the rules of series from each origin.

        Seasonal ones are there where all origins know enough.
        """
        first = np.maximum(held.low, held.begin + max(1, held.lag))
        if self.last_origin:
            first = np.maximum(first, held.high - self.ahead)
        known = (first - held.begin)[held.high > first]
        short = int(known.min(initial=held.season))
        rules = {
            name.replace("_", " "): rule
            for name, rule in RESIDUALS.items()
            if name not in SEASONAL or (held.season and short >= held.season)
        }
        if (train.high > train.low).any():
            rules = {"mean": mean_of(train)} | rules
        return ahead_rules(held, rules, self.ahead, self.last_origin)


class Ahead(Distance):
    """How far answers lie from what came, as a whole and by how many steps ahead they are."""

    def __init__(
        self, vocabulary: Vocabulary[Any], scale: NDArray[np.float64] | None = None
    ) -> None:
        super().__init__(vocabulary, scale)
        self.scale = scale
        self.scales: SeriesScales | None = None
        self.steps: dict[int, Distance] = {}

    def by_series(self, scales: SeriesScales) -> None:
        """Measure the errors of each series by its own scale."""
        super().by_series(scales)
        self.scales = scales

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return the figures of all answers."""
        return Distance.figures(vocabulary)

    def add_at(self, output: Tensor, target: Tensor, places: Tensor) -> None:
        """Add answers `[N, F]` at `places` `[N, 3]`, of which the last is the step ahead."""
        super().add_at(output, target, places)
        ahead = places[:, -1]
        for step in np.unique(ahead.cpu().numpy()).tolist():
            some = ahead == step
            if step not in self.steps:
                self.steps[step] = Distance(self.vocabulary, self.scale)
                if self.scales is not None:
                    self.steps[step].by_series(self.scales)
            self.steps[step].add_at(output[some], target[some], places[some])

    def merge(self, other: Self) -> None:
        """Add the sums of others, those of each step too."""
        super().merge(other)
        for step, more in other.steps.items():
            if step in self.steps:
                self.steps[step].merge(more)
            else:
                self.steps[step] = more

    def detail(self) -> dict[str, Any]:
        """Return the figures of each step ahead, to which those of baselines are added."""
        rows = [
            {"ahead": step, "metrics": self.steps[step].values(), "baselines": {}}
            for step in sorted(self.steps)
        ]
        return {"by_step": rows} if rows else {}
