"""Options of the first-party losses; this module imports no torch."""

from __future__ import annotations

from recurra import Field, Options


class CrossEntropyOptions(Options):
    """Options of the cross-entropy."""

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target spread evenly over all symbols, in training alone"
    )


class MSEOptions(Options):
    """Options of the squared error: none."""


class MAEOptions(Options):
    """Options of the absolute error: none."""


class HuberOptions(Options):
    """Options of the Huber loss."""

    delta: float = Field(1.0, gt=0, description="where the squared error turns to absolute, in scaled units")
