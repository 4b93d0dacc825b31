"""Axes: which numbers lie where, and which of them are written beside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recurra.drawing.thinning import Numbers
from recurra.drawing.words import shortened

LONGEST = 22
"""Letters of a name beside an axis, at most."""
GREATEST = 299
"""The greatest power of ten that is written: the last between the next two."""
LEAST, MOST = 1e-300, 1e300
"""What is drawn as nothing: of still smaller numbers no quotient is sure; and what is too much."""


@dataclass(frozen=True)
class Axis:
    """What an axis is of, in which unit, and from where to where it goes.

    `names` are those of the places 0, 1, 2 and so on, where they are no numbers; with `whole` only
    whole numbers are written. What `low` and `high` leave open the data tells.
    """

    label: str = ""
    unit: str = ""
    scale: Literal["linear", "log"] = "linear"
    low: float | None = None
    high: float | None = None
    names: Sequence[str] | None = None
    whole: bool = False

    @property
    def heading(self) -> str:
        """The label, with the unit behind it where there is one."""
        if self.label and self.unit:
            return f"{self.label} ({self.unit})"
        return self.label or self.unit


@dataclass(frozen=True)
class Tick:
    """A place of an axis, and what is written there."""

    at: float
    text: str


class Scale:
    """An axis as it is drawn: from `low` to `high`, linear or by powers of ten."""

    def __init__(self, axis: Axis, values: Numbers, room: float = 0.0) -> None:
        """Take in the values that lie along an axis, with `room`, a share, on either side.

        A logarithm has no place for what is not above 0, nor for the ends of what a computer knows:
        such values are no part of it.
        """
        self.axis = axis
        self.log = axis.scale == "log"
        finite = values[np.isfinite(values)]
        if self.log:
            finite = finite[(finite > LEAST) & (finite < MOST)]
        low = float(finite.min()) if len(finite) else math.nan
        high = float(finite.max()) if len(finite) else math.nan

        self.empty = not len(finite) and (axis.low is None or axis.high is None)
        low, high = _between(axis, low, high, self.log)
        low, high = self._bent(low), self._bent(high)
        if high - low <= max(1e-12 * max(abs(low), abs(high)), LEAST):
            about = 0.5 if self.log or axis.whole or abs(low) <= LEAST else abs(low) * 0.1
            low, high = low - about, high + about
        margin = (high - low) * room
        self.low = low - margin * (axis.low is None)
        self.high = high + margin * (axis.high is None)

    def _bent(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def share(self, values: Numbers) -> Numbers:
        """Return how far along the axis values lie, from 0 to 1; NaN where they have no place."""
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                known = (values > LEAST) & (values < MOST)
                values = np.where(known, np.log10(values), np.nan)
        return (values - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[Tick]:
        """Return at most about so many places that are round, and what is written there."""
        if self.axis.names is not None:
            return self._named(most)
        return self._decades(most) if self.log else self._round(most)

    def _named(self, most: int) -> list[Tick]:
        names = self.axis.names or ()
        every = max(math.ceil(len(names) / max(most, 1)), 1)
        inside = [n for n in range(0, len(names), every) if self.low <= n <= self.high]
        return [Tick(n, shortened(names[n], LONGEST)) for n in inside]

    def _round(self, most: int) -> list[Tick]:
        step = _step((self.high - self.low) / max(most, 1), self.axis.whole)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        if last < first:
            # No round number lies within: one that is less round does.
            return self._round(2 * most)
        greatest = max(abs(first), abs(last)) * step
        return [Tick(n * step, written(n * step, step, greatest)) for n in range(first, last + 1)]

    def _decades(self, most: int) -> list[Tick]:
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        if last - first < 1:
            return self._within_a_decade(most)
        every = max(math.ceil((last - first + 1) / max(most, 1)), 1)
        powers = range(first, last + 1, every)
        # Of an axis of very small or large numbers a margin goes beyond all that there are.
        known = [power for power in powers if -GREATEST <= power <= GREATEST]
        return [Tick(10.0**power, power_of_ten(power)) for power in known]

    def _within_a_decade(self, most: int) -> list[Tick]:
        """Give 1, 2 and 5 of each decade, and where they are too few, round numbers."""
        first = math.floor(self.low)
        candidates = [m * 10.0**p for p in range(first, first + 3) for m in (1, 2, 5)]
        inside = [v for v in candidates if self.low - 1e-9 <= math.log10(v) <= self.high + 1e-9]
        if len(inside) < 2:
            low, high = 10.0**self.low, 10.0**self.high
            step = _step((high - low) / max(most, 1), False)
            counts = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
            return [Tick(n * step, written(n * step, step, high)) for n in counts if n > 0]
        return [Tick(v, f"{v:g}") for v in inside[:most]]


def _between(axis: Axis, low: float, high: float, log: bool) -> tuple[float, float]:
    """Return where an axis begins and ends, by what is asked of it, and by the values."""
    if axis.low is not None:
        low = axis.low
        high = max(high, low) if math.isfinite(high) else math.nan
    if axis.high is not None:
        high = axis.high
        low = min(low, high) if math.isfinite(low) else math.nan
    if axis.names is not None:
        return -0.5, max(len(axis.names), 1) - 0.5
    if math.isnan(low) and math.isnan(high):
        return (1.0, 10.0) if log else (0.0, 1.0)
    if math.isnan(low):
        low = high
    if math.isnan(high):
        high = low
    return low, high


def _step(least: float, whole: bool) -> float:
    """Return the smallest of 1, 2, 5, 10 and so on that is no smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))
    return max(step, 1.0) if whole else step


def power_of_ten(power: int) -> str:
    """Return a power of ten as it is written beside an axis."""
    if -3 <= power <= 3:
        return f"{10.0**power:g}"
    return {4: "10k", 5: "100k", 6: "1M", 7: "10M", 8: "100M"}.get(power, f"1e{power}")


def written(value: float, step: float, greatest: float) -> str:
    """Return a number beside an axis, where neighbours are a `step` apart: as short as it may be.

    All of an axis are written in one way, which the `greatest` tells.
    """
    if not round(value / step):
        return "0"
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if greatest >= unit * (10 if letter == "k" else 1) and greatest < 1e13:
            return f"{value / unit:.{_decimals(step / unit)}f}{letter}"
    if greatest >= 1e13 or greatest < 1e-3:
        digits = max(math.floor(math.log10(abs(value))) - math.floor(math.log10(step)), 0)
        mantissa, _, power = f"{value:.{digits}e}".partition("e")
        return f"{mantissa}e{int(power)}"
    return f"{value:.{_decimals(step)}f}"


def _decimals(step: float) -> int:
    """Return how many digits behind the point tell neighbours that are a step apart."""
    return max(-math.floor(math.log10(step) + 1e-9), 0)
