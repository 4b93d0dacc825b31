"""Options of the first-party cells of gates; this module imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationInfo, field_validator

from recurra import Field, GatedOptions


def dividing(heads: int, info: ValidationInfo) -> int:
    """Return a number of heads that divides the hidden size. Raises `ValueError`."""
    hidden = info.data.get("hidden_size")
    if hidden is not None and hidden % heads:
        raise ValueError(f"heads must divide hidden_size; got {heads} with hidden_size = {hidden}")
    return heads


class RNNOptions(GatedOptions):
    """Options of the simple recurrent network."""

    nonlinearity: Literal["tanh", "relu"] = Field(
        "tanh", description="what is applied to the sum of both maps"
    )


class LSTMOptions(GatedOptions):
    """Options of the LSTM."""

    forget_bias: float = Field(
        0.0,
        description=(
            "added to the forget gate's bias at the start; 1 keeps memories early in training"
        ),
    )
    peephole: bool = Field(
        False, description="let the gates see the memory cell, each unit its own"
    )
    layer_norm: bool = Field(
        False, description="normalise what both maps give, and the memory cell before its tanh"
    )
    projection: int = Field(
        0,
        ge=0,
        le=1 << 20,
        description="width of the output, a linear map of the hidden units; 0 for no such map",
    )
    coupled: bool = Field(
        False, description="let in what is forgotten: the input gate is 1 - the forget gate"
    )

    @field_validator("projection")
    @classmethod
    def _narrower(cls, projection: int, info: ValidationInfo) -> int:
        hidden = info.data.get("hidden_size")
        if hidden is not None and projection >= hidden:
            raise ValueError(
                f"projection must be less than hidden_size; got {projection} with hidden_size ="
                f" {hidden}"
            )
        return projection


class GRUOptions(GatedOptions):
    """Options of the GRU."""

    reset: Literal["after", "before"] = Field(
        "after",
        description=(
            "when the reset gate acts: after the recurrent product, as torch has it, or before, as"
            " the paper"
        ),
    )


class MGUOptions(GatedOptions):
    """Options of the minimal gated unit."""


class IndRNNOptions(GatedOptions):
    """Options of the independently recurrent network."""

    init: Literal["uniform", "xavier"] = Field(
        "uniform",
        description=(
            "uniform: input map and bias within 1/sqrt(hidden_size); xavier: input map xavier, bias"
            " 0 (the recurrent weights begin as recurrent_bound says)"
        ),
    )
    nonlinearity: Literal["relu", "tanh"] = Field("relu", description="what is applied to the sum")
    recurrent_bound: float = Field(
        1.0,
        gt=0,
        le=2,
        description=(
            "the recurrent weights begin uniformly between 0 and this; the paper's bound for"
            " sequences of T steps is 2 ** (1 / T)"
        ),
    )


class LiGRUOptions(GatedOptions):
    """Options of the light gated recurrent unit."""

    layer_norm: bool = Field(
        False,
        description=(
            "normalise the input's share of each gate, in the place of the paper's batch"
            " normalisation"
        ),
    )


class SLSTMOptions(GatedOptions):
    """Options of the sLSTM."""

    heads: int = Field(
        1,
        ge=1,
        le=1 << 20,
        description="blocks of the recurrent map; a unit sees those of its own block alone",
    )
    forget: Literal["sigmoid", "exp"] = Field(
        "sigmoid", description="what makes the forget gate of its sum"
    )
    forget_bias: float = Field(
        0.0,
        description=(
            "added to the forget gate's bias at the start; 1 keeps memories early in training"
        ),
    )

    _heads_divide = field_validator("heads")(dividing)
