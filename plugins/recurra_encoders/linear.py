"""A linear map of numbers."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from recurra import Encoder
from recurra_encoders.options import LinearOptions


class Linear(Encoder[LinearOptions]):
    """A step's numbers become W x + b, drawn at the start as torch does."""

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("numbers",)

    def __init__(self, size: int, options: LinearOptions) -> None:
        super().__init__(size, options)
        self.output_size = options.size
        self.map = nn.Linear(size, options.size, bias=options.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, T, D]` for numbers `[B, T, F]`."""
        return self.map(x)  # type: ignore[no-any-return]  # B T D
