"""The contract of an encoder: what a step's symbol or numbers become before the first cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from recurra.contracts.options import Options
from recurra.shapes import Encoded, Flags, Inputs

O = TypeVar("O", bound=Options)  # noqa: E741


class Encoder(nn.Module, ABC, Generic[O]):
    """Maps inputs to vectors, step by step: each step's vector depends on that step alone.

    `reads` says what it takes: symbols (ids, `[B, T]`), numbers (`[B, T, F]`) or both. `size` is
    the number of symbols, or of features. A subclass sets `output_size`. An encoder that looks
    further than its step is a `StatefulEncoder`.
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

    def head_weight(self) -> nn.Parameter | None:
        """Return the weight `[size, output_size]` that the head is to have as its own, if any.

        It is a parameter of the encoder, always the same. By default the head has a weight of its
        own. It came with API 1.1.
        """
        return None

    def symbol_vectors(self) -> Tensor | None:
        """Return the vectors `[size, output_size]` of all symbols, if `forward` looks them up.

        It then gives `symbol_vectors()[x]` and nothing else, and may not be called: what a cell
        does to a vector is done once for a symbol, not for each step. By default there is no table.
        It came with API 1.1.
        """
        return None

    def prepare(self, names: Sequence[str]) -> None:
        """Take what is given from outside, such as vectors of a file, once, before training.

        Loading a run skips this. `names` are those of the symbols in the order of their ids, or of
        the features. May raise `InputError`.
        """


class StatefulEncoder(Encoder[O]):
    """An encoder whose vectors depend on earlier steps too: a causal convolution, a clock.

    What it remembers is a state as a cell's: a NamedTuple of `[B, ...]` tensors, carried, reset,
    saved and restored with those of the cells.
    """

    @abstractmethod
    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        position: Tensor | None = None,
    ) -> Any:
        """Return the state before the first step.

        That step stands at `position` `[B]` of its sequence (0 where None).
        """

    @abstractmethod
    def advance(self, x: Inputs, state: Any, *, reset: Flags | None = None) -> tuple[Encoded, Any]:
        """Return the vectors `[B, T, D]` and the state after them.

        `reset` marks where a row starts afresh, at 0.
        """

    def forward(self, x: Inputs) -> Encoded:
        """Return the vectors `[B, T, D]` of windows that stand at the start of their sequences."""
        own = next((p.dtype for p in self.parameters()), torch.get_default_dtype())
        dtype = x.dtype if x.is_floating_point() else own
        return self.advance(x, self.initial_state(x.shape[0], device=x.device, dtype=dtype))[0]
