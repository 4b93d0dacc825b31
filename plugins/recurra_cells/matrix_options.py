"""Options of the cells whose state is a matrix; this module imports no torch."""

from __future__ import annotations

from pydantic import field_validator

from recurra import CellOptions, Field
from recurra_cells.options import dividing


class MatrixOptions(CellOptions):
    """What every cell has that keeps one matrix a head."""

    heads: int = Field(
        4,
        ge=1,
        le=1 << 20,
        validate_default=True,
        description="matrices side by side, each hidden_size/heads square; 1 is the widest memory",
    )

    _heads_divide = field_validator("heads")(dividing)


class MLSTMOptions(MatrixOptions):
    """Options of the mLSTM."""


class GatedDeltaOptions(MatrixOptions):
    """Options of the delta rule."""

    gated: bool = Field(
        True,
        description="let each head's matrix decay by a gate; false: none, DeltaNet's delta rule",
    )
