"""Options of the first-party cells whose recurrence is linear in the state.

This module imports no torch.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import model_validator

from recurra import CellOptions, Field

_CANDIDATE = (
    "applied to the candidate; g: the paper's, x + 0.5 from 0 on and sigmoid(x) below; identity:"
    " nothing"
)


class MinGRUOptions(CellOptions):
    """Options of the minGRU."""

    activation: Literal["g", "identity"] = Field("g", description=_CANDIDATE)


class MinLSTMOptions(CellOptions):
    """Options of the minLSTM."""

    activation: Literal["g", "identity"] = Field("g", description=_CANDIDATE)


class LRUOptions(CellOptions):
    """Options of the linear recurrent unit: the ring on which its eigenvalues begin."""

    r_min: float = Field(0.0, ge=0, lt=1, description="least modulus of an eigenvalue at the start")
    r_max: float = Field(
        1.0, gt=0, le=1, description="greatest modulus of an eigenvalue at the start"
    )
    max_phase: float = Field(
        math.tau,
        gt=0,
        le=math.tau,
        description="greatest phase at the start, in radians; a small one suits long series",
    )

    @model_validator(mode="after")
    def _ring_is_open(self) -> LRUOptions:
        if self.r_min >= self.r_max:
            raise ValueError(f"r_min: {self.r_min:g} must be below r_max, which is {self.r_max:g}")
        return self


class RGLRUOptions(CellOptions):
    """Options of the real-gated linear recurrent unit."""

    heads: int = Field(
        1, ge=1, le=1024, description="blocks of the gates' maps; must divide hidden_size"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> RGLRUOptions:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"heads: {self.heads} heads do not divide a hidden_size of {self.hidden_size}"
            )
        return self


class SRUOptions(CellOptions):
    """Options of the simple recurrent unit."""

    activation: Literal["tanh", "relu", "identity"] = Field(
        "tanh", description="what is applied to the memory where it is read"
    )


class QRNNOptions(CellOptions):
    """Options of the quasi-recurrent network."""

    window: int = Field(
        2, ge=1, le=1024, description="steps that the convolution looks over, this one among them"
    )
    pooling: Literal["f", "fo", "ifo"] = Field(
        "fo",
        description=(
            "gates of the recurrence: f: forget; o: output as well; i: input as well, in place of"
            " 1 - f"
        ),
    )
