"""The contract of a metric: figures that know what is good, made of sums over what is scored."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.vocabulary import Vocabulary

Metrics: TypeAlias = dict[str, float]
"""Figures by their names."""

Scale: TypeAlias = NDArray[np.float64]
"""By what the error of each column is measured, `[F]`: that of the simplest rule in training."""
NAUGHT = 1e-140
"""A number no larger than this counts as 0: an error divided by it may be beyond all numbers."""


def measurable(scale: Scale) -> NDArray[np.bool_]:
    """Tell by which scales an error can be measured: not by 0, and by no infinite one."""
    return np.asarray(np.isfinite(scale) & (scale > NAUGHT))


@dataclass(frozen=True)
class SeriesScales:
    """By what the errors of each of several series are measured.

    `each` `[S, F]` are the scales of the series that begin at `starts` `[S]` of the data, in order;
    not a number where a series has none.
    """

    starts: NDArray[np.int64]
    each: Scale

    def rows(self, begin: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which of them the series are that begin at some places, all of them here."""
        return np.searchsorted(self.starts, begin).astype(np.int64)

    def moved(self, shift: int) -> SeriesScales:
        """Return the scales of the same series that stand elsewhere."""
        return SeriesScales(self.starts + shift, self.each)

    def column(self, index: int) -> SeriesScales:
        """Return the scales of one column alone."""
        return SeriesScales(self.starts, np.ascontiguousarray(self.each[:, index : index + 1]))

    def undefined(self, begin: NDArray[np.int64]) -> int:
        """Return how many of some series have a column whose errors nothing measures."""
        return int((~measurable(self.each[self.rows(begin)])).any(axis=1).sum())


@dataclass(frozen=True)
class Figure:
    """One number that is said of a split.

    It has a name, may be better the higher it is, and lies between `least` and `most`. `title` is
    how a sentence calls it, where its name does not do. `absent` is why a split may have none. One
    that has an `aim` is the better the nearer it is to that.
    """

    name: str
    higher: bool = False
    least: float = 0.0
    most: float = math.inf
    title: str = ""
    absent: str = ""
    aim: float | None = None

    def cost(self, value: float) -> float:
        """Return what is to become small."""
        if self.aim is not None:
            return abs(value - self.aim)
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


@runtime_checkable
class StepSums(Sums, Protocol):
    """Sums of errors of several steps ahead, with those of each step by itself, from 1."""

    @property
    def steps(self) -> Mapping[int, Sums]:
        """Return the sums of each step."""
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

    def by_series(self, scales: SeriesScales) -> None:
        """Take by what the errors of each of several series are measured, before anything is added.

        A metric that has a use for it learns of `add_at` which series a step is of.
        """
        return

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
        """Add what is scored of steps, at `places` `[N, 2]`.

        They are the position at which the sequence of each begins, and which step of it that is;
        where a step is answered by several elements ahead, `[N, 3]`, which of them too, from 1.
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

    def merge(self, other: Self) -> None:
        """Add what another of this class, made alike, has measured of other answers.

        So evaluation is shared out over several processes: each measures its part, and what it has
        added up goes to the others by pickle, the vocabulary and the scales apart, which all have.
        Where a metric has no such method, the first process measures everything alone.
        """
        raise NotImplementedError


def merges(metric: type[Metric]) -> bool:
    """Tell whether what several of a class have measured can be put together.

    One that adds up in a way of its own must merge in a way of its own: that of a class above it
    knows nothing of the sums that it adds.
    """
    order = metric.__mro__

    def depth(name: str) -> int:
        return next(place for place, each in enumerate(order) if name in vars(each))

    merge = depth("merge")
    adding = min(depth(name) for name in ("__init__", "add", "add_at"))
    return order[merge] is not Metric and merge <= adding
