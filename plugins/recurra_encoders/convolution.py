"""A short causal convolution over the steps, before the first cell."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from recurra import StatefulEncoder, lagged
from recurra_encoders.options import ConvolutionOptions


class Tail(NamedTuple):
    """tail: the last inputs of the convolution, [B, width - 1, D], the oldest first."""

    tail: Tensor


class Convolution(StatefulEncoder[ConvolutionOptions]):
    """y_t = silu(W [v_{t-k+1}, ..., v_t] + b), v = the numbers of a step, or the vector of its
    symbol.

    It shows each step's near past at once, zeros before the start, and leaves what is further back
    to the cells. With its activation it is the short convolution that modern recurrent blocks begin
    with (Gu and Dao, arXiv:2312.00752).
    """

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("symbols", "numbers")

    def __init__(self, size: int, options: ConvolutionOptions) -> None:
        super().__init__(size, options)
        self.output_size = options.size
        self.weight = nn.Parameter(torch.randn(size, options.size))
        self.map = nn.Linear(options.width * options.size, options.size)

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        position: Tensor | None = None,
    ) -> Tail:
        """Return zeros."""
        return Tail(
            torch.zeros(
                batch_size, self.options.width - 1, self.options.size, device=device, dtype=dtype
            )
        )

    def advance(
        self, x: Tensor, state: Tail, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Tail]:
        """Return `[B, T, D]` for ids `[B, T]` or numbers `[B, T, F]`, and the last inputs."""
        vectors = (
            x @ self.weight if x.is_floating_point() else nn.functional.embedding(x, self.weight)
        )
        windows, tail = lagged(vectors, state.tail, reset, None)  # B T k D
        return nn.functional.silu(self.map(windows.flatten(2))), Tail(tail)
