"""The contract of a metric: figures that know what is good, made of sums over what is scored."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.vocabulary import Vocabulary

Metrics: TypeAlias = dict[str, float]
"""Figures by their names."""

Scale: TypeAlias = NDArray[np.float64]
"""By what the error of each column is measured, `[F]`: that of the simplest rule in training."""


@dataclass(frozen=True)
class Figure:
    """One number that is said of a split.

    It has a name, may be better the higher it is, and lies between `least` and `most`. `title` is
    how a sentence calls it, where its name does not do. `absent` is why a split may have none.
    """

    name: str
    higher: bool = False
    least: float = 0.0
    most: float = math.inf
    title: str = ""
    absent: str = ""

    def cost(self, value: float) -> float:
        """Return what is to become small."""
        return -value if self.higher else value

    @property
    def called(self) -> str:
        """How a sentence calls it."""
        return self.title or self.name.replace("_", " ")


LOSS = Figure("loss", least=-math.inf)
"""What training makes small, whatever the loss is: the likelihood of a density may be above 1."""


class Sums(Protocol):
    """Sums of errors, of which figures are made."""

    def metrics(self) -> Metrics:
        """Return the figures."""
        ...


@runtime_checkable
class ColumnSums(Sums, Protocol):
    """Sums of errors of numbers, with those of each column, where there are several."""

    @property
    def columns(self) -> Sequence[Sums]:
        """Return the sums of each column."""
        ...


class Metric(ABC):
    """Figures that are made of the same sums over what is scored, in double precision.

    `vocabulary` is that of the answers: its size and its names, and for numbers their own units.
    One that is `free` measures answers that the network gives by itself, without being told what
    came: `add` then takes one answer `[n]` and the right one `[m]`, as ids, of which the last is
    the mark of its end; an answer that has none was given up.
    """

    free: ClassVar[bool] = False

    def __init__(self, vocabulary: Vocabulary[Any], scale: Scale | None = None) -> None:
        self.vocabulary = vocabulary

    @staticmethod
    @abstractmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return the figures that it gives for answers of a vocabulary."""

    @abstractmethod
    def add(self, output: Tensor, target: Tensor) -> None:
        """Add what is scored: predictions `[N, V]` or `[N, F]`, and the answers.

        The predictions are what the loss takes for them.
        """

    def add_at(self, output: Tensor, target: Tensor, places: Tensor) -> None:
        """Add what is scored of steps, at `places` `[N, 2]`: which sequence, and which step of it.

        In whatever order they come, the figures are the same. A metric that asks what stands beside
        an answer overrides it; by default no answer hangs on where it stands.
        """
        self.add(output, target)

    @abstractmethod
    def values(self) -> Metrics:
        """Return the figures, of at least one answer.

        One that cannot be made of these answers is left out.
        """

    def columns(self) -> Sequence[Sums]:
        """Return the errors of each column, where there are several."""
        return ()

    def detail(self) -> dict[str, Any]:
        """Return what is more than a number, as plain JSON by name: a confusion matrix."""
        return {}
