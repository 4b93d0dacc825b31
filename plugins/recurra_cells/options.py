"""Options of the first-party cells; this module imports no torch."""

from __future__ import annotations

from typing import Literal

from recurra import Field, GatedOptions


class RNNOptions(GatedOptions):
    """Options of the simple recurrent network."""

    nonlinearity: Literal["tanh", "relu"] = Field("tanh", description="what is applied to the sum of both maps")


class LSTMOptions(GatedOptions):
    """Options of the LSTM."""

    forget_bias: float = Field(
        0.0, description="added to the forget gate's bias at the start; 1 keeps memories early in training"
    )


class GRUOptions(GatedOptions):
    """Options of the GRU."""
