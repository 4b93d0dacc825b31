"""Options of the first-party cells; this module imports no torch."""

from __future__ import annotations

from typing import Literal

from recurra import CellOptions, Field


class InitOptions(CellOptions):
    """How the weights begin."""

    init: Literal["uniform", "orthogonal", "xavier", "identity"] = Field(
        "uniform",
        description="uniform: torch's own, within 1/sqrt(hidden_size); orthogonal: recurrent map orthogonal, input map "
        "xavier; xavier: both xavier; identity: recurrent map the identity, input map xavier (biases 0 in all three)",
    )


class RNNOptions(InitOptions):
    """Options of the simple recurrent network."""

    nonlinearity: Literal["tanh", "relu"] = Field("tanh", description="what is applied to the sum of both maps")


class LSTMOptions(InitOptions):
    """Options of the LSTM."""

    forget_bias: float = Field(
        0.0, description="added to the forget gate's bias at the start; 1 keeps memories early in training"
    )


class GRUOptions(InitOptions):
    """Options of the GRU."""
