"""The contract of a transform: what scaled numbers go through further, and its undoing.

Each series goes through it by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


class Transform(ABC):
    """A step between the scaled numbers of a series and what the network reads.

    Its state goes along the series. The first `lag` rows of a series have no value: what `apply`
    gives for them is read as 0 and never asked for. `width` is how many numbers of each feature
    undoing a row takes: its origins, which hang on what came before that row alone. One that is
    `by_series` looks at known rows of each series before it begins.

    One that is about some of the features alone names their places: `features`. It is then given
    these columns of all rows, `[n, F]` with F as many as they are, and no others (came with API
    1.1). Rows without a value at the beginning are then as many as any feature lacks.

    Where several rows are answered at once, each is told by the last origins that are known: those
    of a row hang on nothing that came in the `period` before it, 1 by default, so that `period`
    of them are known ahead, which serve in turn. `against` then does what `apply` does, by origins.
    """

    by_series: ClassVar[bool] = False

    lag: int = 0
    width: int = 0
    period: int = 1
    features: Sequence[int] | None = None

    def __str__(self) -> str:
        """Return it as a person reads it."""
        return type(self).__name__

    def fit(self, runs: Iterable[Floats]) -> None:
        """Learn from the rows `[n, F]` of training, series after series, in blocks.

        By default there is nothing to learn.
        """
        return

    @abstractmethod
    def start(self, known: Floats) -> Floats:
        """Return the state `[S, F]` before the first row of a series.

        Of its rows, `known` `[n, F]` may be seen.
        """

    @abstractmethod
    def apply(self, values: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Return what becomes of the next rows `[n, F]`, and the state after them."""

    @abstractmethod
    def origins(self, values: Floats, state: Floats) -> Floats:
        """Return the origins `[n + 1, width, F]` of the next rows `[n, F]`, and of one more.

        That is the one that comes after them.
        """

    @abstractmethod
    def invert(self, values: Floats, origins: Floats) -> Floats:
        """Return what rows `[n, F]` were before `apply`, from their origins `[n, width, F]`."""

    def against(self, values: Floats, origins: Floats) -> Floats:
        """Return what becomes of rows `[n, F]` by their origins `[n, width, F]`.

        `invert` undoes it. By the origins of its own step a row becomes what `apply` makes of it.
        Without it no rows can be answered several at once.
        """
        raise NotImplementedError

    def origins_each(self, states: Floats) -> Floats:
        """Return the origins `[B, width, F]` of the next row of B series, each by its own state.

        The states are `[B, S, F]`. By default `origins` is asked for one after the other (both came
        with API 1.1).
        """
        none = np.zeros((0, states.shape[-1]))
        return np.stack([self.origins(none, state)[0] for state in states])

    def apply_each(self, values: Floats, states: Floats) -> tuple[Floats, Floats]:
        """Return what becomes of the next row of B series `[B, F]`, each by its own state.

        The states are `[B, S, F]`, as those after them, which come second.
        """
        pairs = zip(values, states, strict=True)
        each = [self.apply(row[None], state) for row, state in pairs]
        return np.concatenate([row for row, _ in each]), np.stack([state for _, state in each])

    def save(self) -> dict[str, Any]:
        """Return what `fit` has learned, as plain JSON."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back what `save` gave."""
        return
