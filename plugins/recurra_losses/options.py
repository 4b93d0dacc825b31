"""Options of the first-party losses; this module imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from recurra import Field, LossOptions, Options

Weight: TypeAlias = Annotated[float, Field(ge=1e-6, le=1e6)]
"""What a class weighs beside the others: as 1 to a million, or a million to 1, at most."""


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
