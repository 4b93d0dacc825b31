"""The contract of an encoder: what a step's symbol or numbers become before the first cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, Literal, TypeVar

from torch import nn

from recurra.contracts.options import Options
from recurra.shapes import Encoded, Inputs

O = TypeVar("O", bound=Options)  # noqa: E741


class Encoder(nn.Module, ABC, Generic[O]):
    """Maps inputs to vectors, step by step: each step's vector depends on that step alone.

    `reads` says what it takes: symbols (ids, `[B, T]`), numbers (`[B, T, F]`) or both. `size` is the number of symbols,
    or of features. A subclass sets `output_size`.
    """

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("symbols",)
    output_size: int

    def __init__(self, size: int, options: O) -> None:
        super().__init__()
        self.size = size
        self.options = options

    @abstractmethod
    def forward(self, x: Inputs) -> Encoded:
        """Return the vectors `[B, T, D]`."""
