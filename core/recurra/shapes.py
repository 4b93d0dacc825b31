"""One legend of axes, and the aliases that signatures use.

    B  batch: rows that are computed side by side
    T  time: steps of a window
    V  symbols in the vocabulary; for numbers, F features
    D  width of what the encoder gives
    H  width of a cell's output
    N  scored steps of a batch, batch and time flattened

An alias says what a tensor holds and how its axes are called; a trailing `# B T H` marks a line
that changes a shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = "Tensor"

Inputs: TypeAlias = Annotated[Tensor, "B T (ids) or B T F (numbers)"]
Encoded: TypeAlias = Annotated[Tensor, "B T D"]
Hidden: TypeAlias = Annotated[Tensor, "B T H"]
StepInput: TypeAlias = Annotated[Tensor, "B D"]
StepOutput: TypeAlias = Annotated[Tensor, "B H"]
Logits: TypeAlias = Annotated[Tensor, "B T V"]
Flags: TypeAlias = Annotated[Tensor, "B T bool"]
Lengths: TypeAlias = Annotated[Tensor, "B int64"]
