"""The series of a task as a backtest sees them: their numbers, and what each is called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.source import Piece, Source
from recurra.contracts.vocabulary import Element, Vocabulary
from recurra.data.companions import Companions
from recurra.data.covariate_vocabulary import CovariateVocabulary, Rows
from recurra.data.ends import lengths_of
from recurra.data.store import Covariates, Ints, Store
from recurra.errors import InputError
from recurra.job import frame
from recurra.job.clock import Clock
from recurra.job.elements import ELEMENTS
from recurra.job.reading import shortened, stored
from recurra.resolved import Resolved


@dataclass(frozen=True)
class Series:
    """All series, one after the other in a store, with a name each.

    `features` are those of the columns of numbers, where there are several; the clock tells their
    steps.
    """

    store: Store
    names: list[str]
    features: list[str]
    clock: Clock

    @property
    def lengths(self) -> Ints:
        """How many steps each has."""
        return lengths_of(self.store)

    @property
    def width(self) -> int:
        """How many numbers a step has."""
        return int(self.store.values.shape[1])

    def between(self, row: int, low: int, high: int) -> NDArray[np.float64]:
        """Return the steps of a series from one place in it up to another, `[n, F]`."""
        begin = int(self.store.starts[row])
        return np.asarray(self.store.values[begin + low : begin + high], np.float64)

    def beside(
        self, covariates: CovariateVocabulary | None, row: int, low: int, cutoff: int, horizon: int
    ) -> Rows | None:
        """Return the covariates of a series from a place up to a cutoff, and what is known ahead.

        It is nothing where there are none.
        """
        if covariates is None:
            return None
        if covariates.dated is not None:
            covariates = replace(covariates, dated=covariates.dated.on(self.clock.timeline))
        own = self.store.covariates or Covariates.none(len(self.store.starts))
        companions = Companions(covariates, own, self.store)
        begin, end = int(self.store.starts[row]), int(self.store.ends[row])
        stop = min(begin + cutoff + horizon, end)
        return companions.stretch(begin + low, begin + cutoff, stop)

    def unique_id(self, row: int, column: int) -> str:
        """Return the name of a column of a series: that of the series, where it has one column."""
        if self.width == 1:
            return self.names[row]
        series = self.names[row] if len(self.names) > 1 else ""
        return frame.unique_id(series, self.features, column)


def forecasts(resolved: Resolved) -> bool:
    """Tell whether a task forecasts numbers."""
    vocabulary: type[Vocabulary[Any]] = resolved.parts["vocabulary"].entry.target
    return resolved.target.generates and ELEMENTS[vocabulary.yields].forecast


def check_forecasts(resolved: Resolved, what: str = "a backtest") -> None:
    """Refuse a task that forecasts no numbers, where `what` is asked.

    Raises `InputError` (RC080).
    """
    if forecasts(resolved):
        return
    target = resolved.parts["target"].entry.component.name
    fact = f"target {target!r} answers each sequence"
    if resolved.target.generates:
        fact = f"vocabulary {resolved.parts['vocabulary'].entry.component.name!r} reads symbols"
    fact += f", and {what} is of forecasts: of series of numbers of which is asked what comes"
    cure = "`recurra evaluate` gives the figures of a run"
    raise InputError.of("RC080", fact, cure=cure)


def series_of(
    resolved: Resolved,
    vocabulary: Vocabulary[Any],
    known: bool,
    covariates: CovariateVocabulary | None = None,
) -> Series:
    """Return the series that a task reads; its vocabulary may be `known`, and its covariates.

    Raises `InputError` (RC040 to RC042).
    """
    with resolved.placing():
        made = resolved.source()
        made.categories = None if covariates is None else covariates.categories
        source = Noting(made)
        whole = stored(resolved, cast(Source[Any], source), vocabulary, known)
        names = _usable(source.names, len(whole.starts))
        store = shortened(resolved, whole)
        left = lengths_of(whole) > resolved.task.sequence.leave_off
        names = [name for name, stays in zip(names, left.tolist(), strict=True) if stays]
        clock = Clock(source.timeline(), store.columns.get("time", []))
        return Series(store, names, source.features(), clock)


class Noting:
    """A source that takes note of what each sequence is called that has an element."""

    def __init__(self, source: Source[Any]) -> None:
        self.source = source
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def read(self, element: Element) -> Iterator[Piece]:
        """Give what the source gives; the names are those of the last reading."""
        self.names.clear()
        name, begun = "", False
        for piece in self.source.read(element):
            if piece.start:
                name, begun = str(piece.columns.get("series", "")), False
            if len(piece.values) and not begun:
                self.names.append(name)
                begun = True
            yield piece


def _usable(names: list[str], count: int) -> list[str]:
    """Return what each of so many series is called: its number, where not each has a name."""
    if len(names) == count and all(names) and len(set(names)) == count:
        return names
    return [str(number) for number in range(1, count + 1)]
