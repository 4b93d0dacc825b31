"""What a task file may set; this module imports no torch."""

from recurra import CellOptions, Field, Options, SymbolOptions


class EbbOptions(CellOptions):
    """Options of ebb."""

    leak: float = Field(
        0.5, gt=0, le=1, description="share of the state that each step may replace"
    )


class TurnsOptions(Options):
    """Options of turns."""

    size: int = Field(
        8, ge=2, le=1 << 12, multiple_of=2, description="width of each symbol's vector; even"
    )


class SmoothedOptions(Options):
    """Options of smoothed."""

    share: float = Field(
        0.1, ge=0, lt=1, description="share of each target that is spread over all symbols"
    )


class SumsOptions(Options):
    """Options of sums."""

    lines: int = Field(20, ge=1, description="how many sums there are, one a line")
    bound: int = Field(20, ge=1, le=1000, description="what each summand stays below")


class CommonOptions(SymbolOptions):
    """Options of common; unknown is there already."""

    max_size: int = Field(0, ge=0, description="keep only the most frequent characters; 0 is all")
