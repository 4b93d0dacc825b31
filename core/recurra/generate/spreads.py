"""Spreads of forecasts under a loss that says how the next numbers are distributed.

Where one step follows another, paths are drawn: each goes on from what it has drawn itself, and the
quantiles of a step are those of all paths there. Where all steps are told at once, each has a
distribution of its own, relative to what is known at the origin, and its quantiles are undone by
the transforms as the answer is. Quantiles of several steps are never added up.

Each series is read and drawn by a session of its own, in steps that no kernel makes: so what is
told of it is the same to the bit in any company.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra.contracts.distribution import Distribution
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.data.outlook import Outlook
from recurra.errors import RunError
from recurra.generate.abreast import Floats, Start
from recurra.generate.distributed import NEAR, lacks
from recurra.generate.session import Session
from recurra.model.network import Network
from recurra.model.stepper import plain

ALONE = "1"
"""What a series is called that has no name."""


@dataclass(frozen=True)
class _Told:
    """A network whose loss is a distribution, and what its numbers go through."""

    network: Network
    vocabulary: Vocabulary[Any]
    covariates: CovariateVocabulary | None

    @property
    def loss(self) -> Distribution[Any]:
        """The distribution."""
        loss = self.network.loss
        assert isinstance(loss, Distribution), "a spread is asked of a distribution"
        return loss

    def session(self, start: Start, **more: Any) -> Session:
        """Return a session that has read what precedes the forecast of a series."""
        named = start.name or ALONE
        session = start.session(
            self.network, self.vocabulary, self.covariates, series=named, **more
        )
        session.stepper = plain(self.network)
        return session.feed_ids(start.history, start.beside)


@dataclass(frozen=True)
class Paths(_Told):
    """The quantiles of `count` paths, drawn step by step from each series on.

    That of a chance p is the ((count + 1) p)-th smallest of the numbers at a step, between two of
    them what lies on their line; of counts it is the next greater one. So a further path lies below
    it with the chance p (type 6 of Hyndman & Fan 1996, doi:10.1080/00031305.1996.10473566).
    """

    seed: int
    count: int

    @property
    def steps(self) -> int:
        """No bound."""
        return 0

    def lacks(self, chance: float) -> str:
        """Return why so many paths have no such quantile."""
        tail = min(chance, 1 - chance)
        if tail * (self.count + 1) >= 1 - NEAR:
            return ""
        least = math.ceil(1 / tail - 1 - NEAR)
        return (
            f"{self.count:,} path{'s' * (self.count != 1)} tell less of what is rare;"
            f" generation.paths = {least} would"
        )

    def drawn(self, start: Start, steps: int) -> Floats:
        """Return the paths of a series in the data's units, `[count, steps, F]`.

        From the first step on at which one of them is beyond all numbers there is none.
        """
        session = self.session(start, seed=self.seed, streams=self.count)
        paths = np.full((self.count, steps, self.vocabulary.size), np.nan)
        with suppress(RunError):
            for step in range(steps):
                paths[:, step] = session.draw_step()
        return paths

    def quantiles(
        self, starts: Sequence[Start], points: Sequence[Floats], chances: Sequence[float]
    ) -> Iterator[Floats]:
        """Give the quantiles of each series, `[Q, H, F]`."""
        for start, own in zip(starts, points, strict=True):
            paths = np.sort(self.drawn(start, len(own)), axis=0)
            yield np.stack([self._at(paths, chance) for chance in chances])

    def _at(self, paths: Floats, chance: float) -> Floats:
        """Return the quantile of a chance of sorted paths, `[H, F]`."""
        place = min(max((self.count + 1) * chance - 1, 0.0), self.count - 1.0)
        if self.loss.counts:
            return np.asarray(paths[math.ceil(place - NEAR)])
        low = math.floor(place)
        high, part = min(low + 1, self.count - 1), place - low
        # Halves of two large numbers are no sum that is beyond all numbers.
        return np.asarray(paths[low] * (1 - part) + paths[high] * part)


@dataclass(frozen=True)
class Answers(_Told):
    """The quantiles of each of several steps that are told at once."""

    outlook: Outlook

    @property
    def steps(self) -> int:
        """As many as are told."""
        return self.outlook.steps

    def lacks(self, chance: float) -> str:
        """Return why the loss has no such quantile."""
        return lacks(self.loss, chance)

    def quantiles(
        self, starts: Sequence[Start], points: Sequence[Floats], chances: Sequence[float]
    ) -> Iterator[Floats]:
        """Give the quantiles of each series, `[Q, H, F]`."""
        for start, own in zip(starts, points, strict=True):
            bounds = np.full((len(chances), *own.shape), np.nan)
            with suppress(RunError):
                told = self.session(start, outlook=self.outlook).distribution(len(own))
                each = np.moveaxis(told.quantile(chances), -1, 0)
                whole = np.isfinite(each).all(axis=(0, 2))
                bounds[:, whole] = each[:, whole]
            yield bounds
