"""Numbers, scaled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from recurra import Element, Field, InputError, Options, Vocabulary

Floats = NDArray[np.float64]


class NumericOptions(Options):
    """Options of numeric."""

    scale: Literal["max", "minmax", "standard", "none"] = Field(
        "standard",
        description="max: by the largest magnitude; minmax: to 0..1; standard: to mean 0, deviation 1; none",
    )
    log: bool = Field(False, description="take logarithms first: for series whose swings grow with their level")


class Numeric(Vocabulary[NumericOptions]):
    """(x - shift) / scale by feature, from the training split alone; where the scale would be 0, it is 1.

    With `log`, x stands for its logarithm here and everywhere below.
    """

    reads: ClassVar[Element] = "numbers"
    yields: ClassVar[Literal["symbols", "numbers"]] = "numbers"
    unit: ClassVar[str] = "step"

    def __init__(self, options: NumericOptions) -> None:
        super().__init__(options)
        self.shift: Floats = np.zeros(0)
        self.scale: Floats = np.ones(0)

    @property
    def size(self) -> int:
        """The number of features."""
        return len(self.shift)

    def fit(self, runs: Iterable[Floats]) -> None:
        """Learn shift and scale in one pass, merging the moments of each run (Chan et al. 1983)."""
        count, mean, squares = 0, np.zeros(1), np.zeros(1)
        low, high = np.array([np.inf]), np.array([-np.inf])
        for run in runs:
            if not len(run):
                continue
            run = self._logged(run)
            delta = run.mean(axis=0) - mean
            total = count + len(run)
            squares = squares + run.var(axis=0) * len(run) + delta**2 * (count * len(run) / total)
            mean = mean + delta * (len(run) / total)
            low, high = np.minimum(low, run.min(axis=0)), np.maximum(high, run.max(axis=0))
            count = total
        if not count:
            return
        zero, changes = np.zeros_like(mean), high > low  # rounding alone gives a constant feature some variance
        shift, scale = {
            "max": (zero, np.maximum(np.abs(low), np.abs(high))),
            "minmax": (low, high - low),
            "standard": (np.where(changes, mean, low), np.where(changes, np.sqrt(squares / count), 0.0)),
            "none": (zero, np.ones_like(mean)),
        }[self.options.scale]
        self.shift, self.scale = shift, np.where(scale > 0, scale, 1.0)

    def encode(self, values: Floats) -> Floats:
        """Return scaled numbers `[n, F]`."""
        rows = np.asarray(values, np.float64).reshape(-1, max(self.size, 1))
        with np.errstate(over="ignore", invalid="ignore"):
            return (self._logged(rows) - self.shift) / self.scale

    def decode(self, ids: Floats) -> Floats:
        """Return numbers in the data's own units."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinite is what it is, and told by who reads it
            values = np.asarray(ids, np.float64) * self.scale + self.shift
            return np.exp(values) if self.options.log else values

    def _logged(self, values: Floats) -> Floats:
        """Return what is scaled. Raises `InputError` (RC042) for a value that has no logarithm."""
        if not self.options.log:
            return values
        if not (values > 0).all():
            fact = f"the value {values[~(values > 0)][0]:g} has no logarithm"
            raise InputError.of("RC042", fact, key="vocabulary.log", cure="leave log out, or shift the data above 0")
        return np.log(values)

    def save(self) -> dict[str, Any]:
        """Return shift and scale."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back shift and scale."""
        self.shift, self.scale = np.array(saved["shift"]), np.array(saved["scale"])
