"""Numbers, scaled, and series by series made into what is easier to learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from recurra import Element, Field, InputError, Options, Transform, Vocabulary
from recurra_vocabularies.moments import Moments, ScaleKind
from recurra_vocabularies.power import Search, backward, forward
from recurra_vocabularies.ranks import Floats
from recurra_vocabularies.transforms import Difference, Rescale, SeriesChange, SeriesScale

LONGEST_SEASON = 10_000
LEAST_POWER = 0.01
"""Of a smaller one little is left of a number's digits."""


class NumericOptions(Options):
    """Options of numeric."""

    scale: ScaleKind | Literal["change"] = Field(
        "standard",
        description=(
            "change: by the mean change from one step to the next, of each series; max: by the"
            " largest magnitude; mean: by the mean magnitude; minmax: to 0..1; robust: to median 0,"
            " the middle half as wide as 1; standard: to mean 0, deviation 1; none"
        ),
    )
    scale_by: Literal["all", "series"] = Field(
        "all",
        description=(
            "series: each series by its own part in training, a new one by the rows that are given"
            " of it"
        ),
    )
    log: bool = Field(
        False, description="take logarithms first: for series whose swings grow with their level"
    )
    box_cox: Literal["none", "fit"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "none",
        description=(
            "take a power first, from 0.01 to 1, or 0, logarithms; fit: the likeliest of them in"
            " training"
        ),
    )
    difference: int = Field(
        0,
        ge=0,
        le=2,
        description="how many times a step stands for its distance from the one before",
    )
    seasonal_difference: int = Field(
        0,
        ge=0,
        le=LONGEST_SEASON,
        description="steps of a season: each step stands for its distance from a season ago",
    )

    @model_validator(mode="after")
    def _once(self) -> NumericOptions:
        if self.log and self.box_cox != "none":
            raise ValueError("log and box_cox both stand first: leave one of them out")
        if isinstance(self.box_cox, float) and 0 < self.box_cox < LEAST_POWER:
            raise ValueError("a power below 0.01 is hardly one: box_cox = 0 takes logarithms")
        if self.scale == "change" and self.scale_by == "all":
            raise ValueError(
                'scale = "change" is that of each series: set scale_by = "series", or take another'
                " scale"
            )
        if self.scale == "none" and self.scale_by == "series":
            raise ValueError(
                'scale = "none" scales no series: leave scale_by out, or take another scale'
            )
        return self


class Numeric(Vocabulary[NumericOptions]):
    """(x - shift) / scale by feature, from the training split alone.

    Where the scale would be 0, it is 1. With `log` or `box_cox`, x stands for its logarithm, or for
    its power, here and everywhere below.
    """

    reads: ClassVar[Element] = "numbers"
    yields: ClassVar[Literal["symbols", "numbers"]] = "numbers"
    unit: ClassVar[str] = "step"

    def __init__(self, options: NumericOptions) -> None:
        super().__init__(options)
        self.shift: Floats = np.zeros(0)
        self.scale: Floats = np.ones(0)
        power = 0.0 if options.log else options.box_cox
        self.power: Floats | None = None if isinstance(power, str) else np.array([power])
        self._transforms = _transforms(options)

    @property
    def size(self) -> int:
        """The number of features."""
        return len(self.shift)

    def fit(self, runs: Iterable[Floats]) -> None:
        """Learn shift and scale in one pass, and the power where it is to be learned."""
        kind = _of_all(self.options)
        if self.options.box_cox == "fit":
            self._fit_power(runs, kind)
            return

        moments = Moments(kind=kind)
        for run in runs:
            moments.add(self._powered(run))

        if moments.count:
            self.shift, self.scale = moments.scale()

    def _fit_power(self, runs: Iterable[Floats], kind: ScaleKind) -> None:
        """Learn the likeliest power, and shift and scale of what it gives."""
        search = Search(kind)
        for run in runs:
            search.add(self._positive(run))
        if search.logs.count:
            self.power = search.powers()
            self.shift, self.scale = search.scale(self.power)

    def encode(self, values: Floats) -> Floats:
        """Return scaled numbers `[n, F]`."""
        rows = np.asarray(values, np.float64).reshape(-1, max(self.size, 1))
        with np.errstate(over="ignore", invalid="ignore"):
            return (self._powered(rows) - self.shift) / self.scale

    def decode(self, ids: Floats) -> Floats:
        """Return numbers in the data's own units."""
        # What becomes infinite stays so: who reads it reports it.
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.asarray(ids, np.float64) * self.scale + self.shift
            return values if self.power is None else backward(values, self.power)

    def transforms(self) -> Sequence[Transform]:
        """Return differences and the scale that follows them, or a scale for each series."""
        return self._transforms

    def of_covariates(self) -> Numeric:
        """Return what scales alike, and does nothing else."""
        return Numeric(NumericOptions(scale=self.options.scale))

    def _powered(self, values: Floats) -> Floats:
        """Return what is scaled.

        Raises `InputError` (RC042) for a value that has no logarithm, and no power.
        """
        return values if self.power is None else forward(self._positive(values), self.power)

    def _positive(self, values: Floats) -> Floats:
        """Return the values. Raises `InputError` (RC042) where one is not above 0."""
        positive = values > 0
        if positive.all():
            return values

        first = values[~positive][0]
        key, what = "box_cox", "power of Box and Cox"
        if self.options.log:
            key, what = "log", "logarithm"
        fact = f"the value {first:g} has no {what}"
        cure = f"leave {key} out, or shift the data above 0"
        raise InputError.of("RC042", fact, key=f"vocabulary.{key}", cure=cure)

    def save(self) -> dict[str, Any]:
        """Return shift and scale, the powers that were learned, and what the transforms have."""
        saved: dict[str, Any] = {"shift": self.shift.tolist(), "scale": self.scale.tolist()}
        if self.options.box_cox == "fit" and self.power is not None:
            saved["power"] = self.power.tolist()
        if self._transforms:
            saved["transforms"] = [transform.save() for transform in self._transforms]
        return saved

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back what `save` gave.

        Raises `ValueError` if that is no shift and scale a feature.
        """
        shift = np.array(saved["shift"], np.float64)
        scale = np.array(saved["scale"], np.float64)
        if shift.ndim != 1 or shift.shape != scale.shape or not scale.all():
            raise ValueError(f"shift is {shift.tolist()} and scale {scale.tolist()}")
        self.shift, self.scale = shift, scale
        if "power" in saved:
            self.power = np.array(saved["power"])

        of_transforms = saved.get("transforms", ())
        for transform, own in zip(self._transforms, of_transforms, strict=True):
            transform.restore(own)


def _of_all(options: NumericOptions) -> ScaleKind:
    """Return the kind of scale that all series share."""
    if options.scale == "change" or options.scale_by == "series":
        return "none"
    return options.scale


def _transforms(options: NumericOptions) -> tuple[Transform, ...]:
    """Return what follows.

    It is a scale for each series, seasonal differences, those from step to step, and their scale.
    """
    transforms: list[Transform] = []
    if options.scale == "change":
        transforms.append(SeriesChange())
    elif options.scale_by == "series":
        transforms.append(SeriesScale(options.scale))

    lags = [1] * options.difference
    if options.seasonal_difference:
        lags = [options.seasonal_difference, *lags]
    transforms += [Difference(lag) for lag in lags]

    # Of what is scaled by its changes these are about 1 already.
    if lags and options.scale != "change" and options.scale != "none":
        transforms.append(Rescale(options.scale))
    return tuple(transforms)
