"""Options of the first-party losses; this module imports no torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, TypeAlias

from pydantic import field_validator

from recurra import Field, LossOptions, Options

Weight: TypeAlias = Annotated[float, Field(ge=1e-6, le=1e6)]
"""What a class weighs beside the others: as 1 to a million, or a million to 1, at most."""

Level: TypeAlias = Annotated[float, Field(ge=1e-6, le=1 - 1e-6)]
"""A chance at which there is a quantile."""


class CrossEntropyOptions(Options):
    """Options of the cross-entropy."""

    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the target spread evenly over all symbols, in training alone",
    )
    class_weights: Literal["balanced"] | dict[str, Weight] | None = Field(
        None,
        description=(
            "what each class weighs: a table by name, 1 where one is not named, or balanced: by how"
            " rare it is in training; scaled to a mean of 1 over the training answers"
        ),
    )
    focal: float = Field(
        0.0,
        ge=0,
        le=100,
        description=(
            "gamma of the focal loss: (1 - p)^gamma makes what is easy count less; 0 is none"
        ),
    )


class MSEOptions(LossOptions):
    """Options of the squared error: none of its own."""


class MAEOptions(LossOptions):
    """Options of the absolute error: none of its own."""


class HuberOptions(LossOptions):
    """Options of the Huber loss."""

    delta: float = Field(
        1.0, gt=0, description="where the squared error turns to absolute, in scaled units"
    )


class LocatedOptions(LossOptions):
    """Options of a distribution that has a location and a scale."""

    least: float = Field(
        1e-3,
        ge=1e-9,
        le=1,
        description="the smallest scale of the distribution, in scaled units",
    )


class GaussianNLLOptions(LocatedOptions):
    """Options of the normal distribution."""


class LaplaceNLLOptions(LocatedOptions):
    """Options of the Laplace distribution."""


class StudentTOptions(LocatedOptions):
    """Options of Student's t distribution."""


class PoissonOptions(LossOptions):
    """Options of the Poisson distribution: none of its own."""


class NegativeBinomialOptions(LossOptions):
    """Options of the negative binomial distribution: none of its own."""


class QuantileOptions(LossOptions):
    """Options of the quantiles."""

    levels: list[Level] = Field(
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        min_length=1,
        max_length=199,
        description="of which chances quantiles are learned, from the least to the greatest",
    )

    @field_validator("levels")
    @classmethod
    def _in_order(cls, levels: list[float]) -> list[float]:
        if any(low >= high for low, high in pairwise(levels)):
            raise ValueError("each level must be above the one before it")
        if not levels[0] <= 0.5 <= levels[-1]:
            raise ValueError(
                "0.5 must be one of the levels, or lie between two: the median is the best guess"
            )
        return levels
