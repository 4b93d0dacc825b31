"""Options of the first-party encoders; this module imports no torch."""

from __future__ import annotations

from recurra import Field, Options


class OneHotOptions(Options):
    """Options of one_hot: none."""


class EmbeddingOptions(Options):
    """Options of the embedding."""

    size: int = Field(64, ge=1, le=1 << 16, description="width of each symbol's vector")


class LinearOptions(Options):
    """Options of the linear map."""

    size: int = Field(64, ge=1, le=1 << 16, description="width of the vector of a step")
    bias: bool = Field(True, description="whether the map has a bias")


class IdentityOptions(Options):
    """Options of identity: none."""
