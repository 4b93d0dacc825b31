"""Distributions of a form that is moved and stretched: a location and a scale for each number."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

from torch import Tensor
from torch.nn import functional

from recurra import Distribution
from recurra_losses.options import LocatedOptions

O = TypeVar("O", bound=LocatedOptions)  # noqa: E741


class Located(Distribution[O]):
    """y = location + scale z, of which z has a form of its own.

    The network gives F locations, then F numbers of which softplus makes the scales, in scaled
    units; none is below the option `least`, under which a density of one number that came is beyond
    all bounds. What more it gives, F at a time, is of the form. The best guess is the location.
    """

    PARTS = 2

    def __init__(self, size: int, options: O) -> None:
        super().__init__(size, options)
        self.output_size = self.PARTS * size

    def _parts(self, output: Tensor) -> list[Tensor]:
        """Return location and scale, and what more there is, each `[..., F]`."""
        location, raw, *form = output.chunk(self.PARTS, dim=-1)
        return [location, functional.softplus(raw) + self.options.least, *form]

    def _standard(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return targets as z, the scale, and what more there is."""
        location, scale, *form = self._parts(output)
        return (target - location) / scale, scale, form

    def point(self, output: Tensor) -> Tensor:
        """Return the location, `[..., F]`: the median, and the mean where there is one."""
        return output[..., : self.size]

    def mean(self, output: Tensor, scale: Tensor | None = None) -> Tensor | None:
        """Return the location."""
        return self.point(output).double()

    def log_prob(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return log p, `[..., F]`."""
        z, wide, form = self._standard(output, target)
        return self._log_form(z, *form) - wide.log()

    def cdf(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the chance of a number up to the target."""
        z, _, form = self._standard(output.double(), target.double())
        return self._below(z, *form)

    def icdf(self, output: Tensor, chance: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return quantiles."""
        location, wide, *form = self._parts(output.double())
        return location + wide * self._quantile(chance.double(), *form)

    def crps(self, output: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor | None:
        """Return the score in its closed form."""
        z, wide, form = self._standard(output.double(), target.double())
        return wide * self._score(z, *form)

    @abstractmethod
    def _log_form(self, z: Tensor, *form: Any) -> Tensor:
        """Return the log density of z."""

    @abstractmethod
    def _below(self, z: Tensor, *form: Any) -> Tensor:
        """Return the chance of no more than z."""

    @abstractmethod
    def _quantile(self, chance: Tensor, *form: Any) -> Tensor:
        """Return up to which z there is a chance."""

    @abstractmethod
    def _score(self, z: Tensor, *form: Any) -> Tensor:
        """Return the score of z: E|Z - z| - E|Z - Z'| / 2."""
