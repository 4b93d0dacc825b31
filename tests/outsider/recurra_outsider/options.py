"""What a task file may set; this module imports no torch."""

from recurra import CellOptions, Field, Options


class LeakyOptions(CellOptions):
    """Options of the leaky integrator."""

    leak: float = Field(0.5, gt=0, le=1, description="share of the state that each step replaces")


class WavesOptions(Options):
    """Options of the code of waves."""

    size: int = Field(
        16, ge=2, le=1 << 16, multiple_of=2, description="width of each symbol's vector; even"
    )


class RecallOptions(Options):
    """Options of recall."""

    mark: str = Field(
        "?", min_length=1, description="symbol at which the label of the sequence is asked for"
    )
