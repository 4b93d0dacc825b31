"""Options of the first-party targets; this module imports no torch."""

from __future__ import annotations

from typing import Literal

from recurra import Field, Options


class NextOptions(Options):
    """Options of next: none."""


class PooledOptions(Options):
    """What every target has that answers a sequence once."""

    pooling: Literal["last", "mean", "max", "attention"] = Field(
        "last",
        description=(
            "what a sequence is answered from: its last step, or mean, greatest or weighed sum"
            " of all"
        ),
    )


class LabelOptions(PooledOptions):
    """Options of label."""


class CompletionOptions(Options):
    """Options of completion."""

    longest: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description=(
            "symbols after which an answer that does not end is given up, and is wrong; 0 is twice"
            " those of the longest answer of training"
        ),
    )


class ValueOptions(PooledOptions):
    """Options of value."""
