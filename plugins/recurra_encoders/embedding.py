"""Learned vectors of symbols."""

from __future__ import annotations

from torch import Tensor, nn

from recurra import Encoder
from recurra_encoders.options import EmbeddingOptions


class Embedding(Encoder[EmbeddingOptions]):
    """Symbol i becomes row i of a learned matrix, drawn from a normal distribution at the start, as torch does."""

    def __init__(self, size: int, options: EmbeddingOptions) -> None:
        super().__init__(size, options)
        self.output_size = options.size
        self.table = nn.Embedding(size, options.size)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, T, D]` for ids `[B, T]`."""
        return self.table(x)  # type: ignore[no-any-return]  # B T D
