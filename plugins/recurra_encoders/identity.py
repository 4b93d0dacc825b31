"""Numbers as they are."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from recurra import Encoder
from recurra_encoders.options import IdentityOptions


class Identity(Encoder[IdentityOptions]):
    """A step's numbers go to the first cell unchanged."""

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("numbers",)

    def __init__(self, size: int, options: IdentityOptions) -> None:
        super().__init__(size, options)
        self.output_size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers, `[B, T, F]`."""
        return x
