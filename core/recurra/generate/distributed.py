"""What a network says of how the next numbers are distributed, in the data's own units.

It says so of scaled numbers. In between lie transforms, each of which rises: so a quantile of a
number is that of the scaled one, undone, and a chance is the same. A density is the scaled one by
how far a scaled step goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.distribution import Distribution
from recurra.contracts.transform import Floats
from recurra.data.chain import Chain
from recurra.errors import InputError
from recurra.generate import arguments

NEAR = 1e-9
"""How far a level may lie from one that a loss has."""
STEP = 1e-3
"""Of a scaled unit: what a slope is looked for over."""
STRAIGHT = 1e-6
"""By what part of a unit the next may differ, where units are a multiple of scaled ones."""


@dataclass(frozen=True)
class Distributed:
    """The distribution of the next numbers, after all that a session has read.

    Of the next step alone its shapes have no step: `[F]`. Of several streams they begin with these,
    `[B, F]`, and of H steps ahead with these, `[H, F]`.
    """

    loss: Distribution[Any]
    chain: Chain
    output: Tensor  # N output_size
    origins: Floats  # N width F
    known: Floats  # N F: what is known beforehand, scaled
    one: bool

    def quantile(self, levels: Sequence[float]) -> NDArray[np.float64]:
        """Return the quantiles at levels between 0 and 1, `[..., F, L]`; they never cross.

        Raises `InputError` (RC080) for what is no level, and for a level that the loss was not
        trained on, where it has no other.
        """
        chances = [_chance(level) for level in levels]
        for chance in chances:
            if why := lacks(self.loss, chance):
                fact = f"there is no quantile at {chance:g}: {why}"
                raise InputError.of("RC080", fact, key="levels")
        with torch.no_grad():
            scaled = self.loss.quantile(self.output, chances, self._scale()).cpu().numpy()
        each = [self._own(scaled[..., place]) for place in range(len(chances))]
        if not each:
            return self._shaped(np.zeros((*self.known.shape, 0)))
        return self._shaped(np.stack(each, axis=-1))

    def cdf(self, values: Any) -> NDArray[np.float64]:
        """Return the chance of numbers up to `values`, in the data's units, `[..., F]`.

        Raises `InputError` (RC042, RC080) for values of another shape, or that have no scaled one.
        """
        with torch.no_grad():
            chance = self.loss.cdf(self.output, self._scaled(values), self._scale())
        return self._shaped(chance.cpu().numpy())

    def log_prob(self, values: Any) -> NDArray[np.float64]:
        """Return the log density of `values` in the data's units, in nats, `[..., F]`.

        Of counts it is the log of their chance. Raises `InputError` (RC042, RC080) as `cdf` does,
        and where the loss has no density.
        """
        if not self.loss.density:
            fact = "the loss of this run has quantiles, and no density"
            raise InputError.of("RC080", fact, cure="ask for cdf or quantile")
        scaled = self._scaled(values)
        with torch.no_grad():
            log = self.loss.log_prob(self.output.double(), scaled, self._scale()).cpu().numpy()
        if not self.loss.counts:
            with np.errstate(divide="ignore"):
                log = log - np.log(self._slope(scaled.cpu().numpy()))
        return self._shaped(log)

    def mean(self) -> NDArray[np.float64]:
        """Return the mean in the data's units, `[..., F]`.

        Raises `InputError` (RC080) where there is none: of quantiles, and where logarithms or
        powers are distributed, whose mean is not that of the numbers.
        """
        with torch.no_grad():
            mean = self.loss.mean(self.output, self._scale())
        cure = "ask for quantile([0.5]), or take the mean of many draws"
        if mean is None:
            raise InputError.of("RC080", "the loss of this run has no mean", cure=cure)
        at = [self._own(np.full_like(self.known, place)) for place in (-1.0, 0.0, 1.0)]
        unit, bend = (at[2] - at[0]) / 2, np.abs(at[2] + at[0] - 2 * at[1])
        rounding = 16 * np.finfo(np.float64).eps * np.abs(at[1])
        if not (bend <= STRAIGHT * np.abs(unit) + rounding).all():
            fact = (
                "logarithms or powers are distributed here: their mean is not that of the numbers"
            )
            raise InputError.of("RC080", fact, cure=cure)
        return self._shaped(self._own(mean.double().cpu().numpy()))

    def draw(self, uniforms: Floats) -> Floats:
        """Return a scaled number for each of `uniforms` `[N, F]`, as `Distribution.sample` does."""
        with torch.no_grad():
            given = torch.from_numpy(uniforms).to(self.output.device)
            scaled = self.loss.sample(self.output, given, self._scale())
        return np.asarray(scaled.double().cpu().numpy())

    def _own(self, scaled: Floats) -> Floats:
        """Return scaled numbers `[N, F]` in the data's own units."""
        with np.errstate(over="ignore", invalid="ignore"):
            own = self.chain.invert(np.asarray(scaled, np.float64) + self.known, self.origins)
        # A count is whole, whatever its scale.
        return np.rint(own) if self.loss.counts else own

    def _scale(self) -> Tensor | None:
        """Return what 1 is in counts, `[N, F]`, where the loss counts."""
        if not self.loss.counts:
            return None
        unit = self.chain.invert(np.ones_like(self.known), self.origins)
        return torch.from_numpy(np.array(unit, np.float64)).to(self.output.device)

    def _scaled(self, values: Any) -> Tensor:
        """Return values in the data's units as the loss is given them, `[N, F]`."""
        shape = self.known.shape[1:] if self.one else self.known.shape
        try:
            rows = np.broadcast_to(np.asarray(values, np.float64), shape)
        except (TypeError, ValueError) as error:
            fact = f"values must be numbers of the shape {list(shape)}"
            raise InputError.of("RC080", fact, got=arguments.shown(values)) from error
        if self.chain.lacks_ahead():
            fact = f"what a number becomes by {self.chain.lacks_ahead()} is not known"
            raise InputError.of("RC080", fact, cure="ask for quantile")
        rows = rows.reshape(self.known.shape)
        scaled = self.chain.against(self.chain.scaled(rows), self.origins) - self.known
        return torch.from_numpy(np.ascontiguousarray(scaled)).to(self.output.device)

    def _slope(self, scaled: Floats) -> Floats:
        """Return how far a number moves by a scaled unit, from four of them that lie near."""
        near, far = (
            self._own(scaled + part * STEP) - self._own(scaled - part * STEP) for part in (1, 2)
        )
        return np.abs(8 * near - far) / (12 * STEP)

    def _shaped(self, rows: Floats) -> NDArray[np.float64]:
        return np.asarray(rows[0] if self.one else rows, np.float64)


def lacks(loss: Distribution[Any], chance: float) -> str:
    """Return why a loss has no quantile of a chance; nothing where it has one."""
    if loss.density or any(abs(chance - level) < NEAR for level in loss.levels):
        return ""
    own = ", ".join(f"{level:g}" for level in loss.levels)
    return f"the loss was trained on the levels {own} alone (loss.levels)"


def _chance(level: Any) -> float:
    """Return a level between 0 and 1. Raises `InputError` (RC080)."""
    if isinstance(level, bool) or not isinstance(level, Real) or not 0 < float(level) < 1:
        fact = "a level of a quantile is a number between 0 and 1, both excluded"
        raise InputError.of("RC080", fact, got=arguments.shown(level), key="levels")
    return float(level)
