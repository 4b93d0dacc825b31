"""Options of the first-party encoders; this module imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from recurra import Field, FilePath, Options


class OneHotOptions(Options):
    """Options of one_hot: none."""


class EmbeddingOptions(Options):
    """Options of the embedding."""

    size: int = Field(64, ge=1, le=1 << 16, description="width of each symbol's vector")
    vectors: FilePath | None = Field(
        None, description="a safetensors file with one matrix [rows, size] to start from"
    )
    frozen: bool = Field(False, description="keep the vectors as they are given; needs `vectors`")
    tied: bool = Field(
        False,
        description="give the head these very vectors for its weight: what is read is what is said",
    )

    @model_validator(mode="after")
    def _frozen_vectors_are_given(self) -> EmbeddingOptions:
        if self.frozen and self.vectors is None:
            raise ValueError("frozen: there are no vectors to keep; give a file in `vectors`")
        return self


class ConvolutionOptions(Options):
    """Options of the short causal convolution."""

    size: int = Field(64, ge=1, le=1 << 16, description="width of the vector of a step")
    width: int = Field(
        4, ge=1, le=256, description="steps that it looks over, the present one with them"
    )


class CalendarOptions(Options):
    """Options of the calendar."""

    periods: list[Annotated[float, Field(gt=1, le=1e9)]] = Field(
        min_length=1,
        max_length=64,
        description="lengths of the cycles in steps: [24, 168] for days and weeks of hours",
    )
    harmonics: int = Field(
        1,
        ge=1,
        le=64,
        description=(
            "waves in each cycle: 1 is a single one, more are finer, up to half the shortest period"
        ),
    )

    @model_validator(mode="after")
    def _each_wave_is_another(self) -> CalendarOptions:
        if len(set(self.periods)) < len(self.periods):
            raise ValueError("periods: a period stands there twice")

        half = min(self.periods) / 2
        if self.harmonics > max(1, half):
            raise ValueError(f"harmonics: above half a period, here {half:g}, the waves repeat")
        return self


class LinearOptions(Options):
    """Options of the linear map."""

    size: int = Field(64, ge=1, le=1 << 16, description="width of the vector of a step")
    bias: bool = Field(True, description="whether the map has a bias")


class IdentityOptions(Options):
    """Options of identity: none."""
