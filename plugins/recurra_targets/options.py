"""Options of the first-party targets; this module imports no torch."""

from __future__ import annotations

from typing import Literal

from recurra import Field, Options


class ForecastOptions(Options):
    """What every target has whose answers are a forecast."""

    conformal: Literal["none", "split", "adaptive"] = Field(
        "none",
        description=(
            "split: forecasts of numbers have intervals as wide as what a model of the same recipe,"
            " trained without the end of training, misses by there; adaptive: the level is moved"
            " too, by what was missed so far"
        ),
    )


class NextOptions(ForecastOptions):
    """Options of next."""


class HorizonOptions(ForecastOptions):
    """Options of horizon."""

    length: int = Field(ge=1, le=10_000, description="how many steps are answered at once")
    origin: Literal["each", "last"] = Field(
        "each",
        description=(
            "each: every step is answered by those after it; last: of each series, or part of one,"
            " only the last that has `length` steps after it"
        ),
    )
    residual: Literal["none", "naive", "drift", "seasonal_naive", "seasonal_drift"] = Field(
        "none",
        description=(
            "what the network's answer is added to, from the past alone: nothing, the last number,"
            " the line from the first to it, the last season (`sequence.season`), or that with what"
            " a season has brought on the mean"
        ),
    )
    decoder: Literal["linear", "cell"] = Field(
        "linear",
        description=(
            "linear: one linear map of the state that an origin has left gives all steps; cell: a"
            " cell of the kind of the last layer goes on from it step by step, and each is read"
        ),
    )


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


class TagsOptions(Options):
    """Options of tags."""

    causal: bool = Field(
        True,
        description=(
            "whether a step may see only what came before it; false allows cells that read both"
            " ways, and each sequence is then read in one window"
        ),
    )
    scheme: Literal["BIO", "BIOES"] | None = Field(
        None,
        description=(
            "how tags mark spans, as B-PER I-PER O: then span F1, precision and recall are figures"
            " too"
        ),
    )


class ValueOptions(PooledOptions):
    """Options of value."""
