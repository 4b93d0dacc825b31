"""What simple rules reach where each step is answered by several elements: from every origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from recurra.contracts.target import Examples, Past
from recurra.contracts.transform import Floats
from recurra.data.missing import observed
from recurra.data.store import Ints
from recurra.train.errors import Errors, terms

BLOCK = 1 << 14
"""Origins that are looked at at a time."""

Rule: TypeAlias = Callable[[Past], Floats]
"""Says what follows some origins, `[N, H, F]`, from their past alone."""


@dataclass
class AheadErrors(Errors):
    """Sums of the errors of all steps ahead, and of each by itself: the first is step 1."""

    steps: dict[int, Errors] = field(default_factory=dict)

    def add_ahead(self, predicted: Floats, actual: Floats, series: Ints, ahead: Ints) -> None:
        """Add predictions and what came, `[N, F]`, so many steps ahead `[N]` of their origins."""
        each = terms(predicted, actual)
        self.add_terms(each, series)
        for step in np.unique(ahead).tolist():
            some = ahead == step
            own = self.steps.setdefault(step, Errors(self.scale, self.scales))
            own.add_terms(each[:, some], series[some])


def ahead_rules(
    held: Examples, rules: Mapping[str, Rule], steps: int, last: bool = False
) -> dict[str, AheadErrors]:
    """Return the errors of each rule on the `steps` after each origin of a split, or the `last`.

    Origins and answers are those that a network is asked for that looks so many steps ahead; what
    rules are shown is in the data's own units.
    """
    origins, begin, stop = _origins(held, steps, last)
    errors = {name: AheadErrors(held.scale, held.scales) for name in rules}
    ahead = np.arange(1, steps + 1)

    def read(places: Ints) -> Floats:
        return observed(held.values, held.begin, places)

    for start in range(0, len(origins), BLOCK):
        some = slice(start, start + BLOCK)
        at = origins[some]
        answers = at[:, None] + ahead  # N H
        asked = answers < stop[some, None]
        actual = held.values[answers[asked]]
        series = np.broadcast_to(begin[some, None], asked.shape)[asked]
        step = np.broadcast_to(ahead, asked.shape)[asked]
        past = Past(read, begin[some], at, steps, held.season)
        for name, rule in rules.items():
            errors[name].add_ahead(np.asarray(rule(past))[asked], actual, series, step)
    return errors if len(origins) else {}


def _origins(held: Examples, steps: int, last: bool) -> tuple[Ints, Ints, Ints]:
    """Return the origins of a split, where the series of each begins, and where its answers end."""
    first = np.maximum(held.low, held.begin + max(1, held.lag))
    stops = held.high
    if last:
        first = np.maximum(first, held.high - steps)
        stops = np.minimum(held.high, first + 1)
    counts = np.maximum(stops - first, 0)

    # Spans of 2 and 3 origins: `owner` is 0 0 1 1 1, and `inside` 0 1 0 1 2.
    owner = np.repeat(np.arange(len(counts)), counts)
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return first[owner] + inside - 1, held.begin[owner], held.high[owner]
