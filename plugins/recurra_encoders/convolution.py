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
    """y_t = silu(W [v_{t-k+1}, ..., v_t] + b), with a vector v for each step.

    v is the numbers of the step, or the vector of its symbol. The convolution shows each step's
    near past at once, zeros before the start, and leaves what is further back to the cells. With
    its activation it is the short convolution that modern recurrent blocks begin with (Gu and Dao,
    arXiv:2312.00752).
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
        shape = (batch_size, self.options.width - 1, self.options.size)
        return Tail(torch.zeros(shape, device=device, dtype=dtype))

    def advance(
        self, x: Tensor, state: Tail, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Tail]:
        """Return `[B, T, D]` for ids `[B, T]` or numbers `[B, T, F]`, and the last inputs."""
        if x.is_floating_point():
            vectors = x @ self.weight
        else:
            vectors = nn.functional.embedding(x, self.weight)

        windows, tail = lagged(vectors, state.tail, reset, None)  # B T k D
        y = self.map(windows.flatten(2))
        return nn.functional.silu(y), Tail(tail)
