"""The contract of a loss: one number for each scored step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn


class Loss(nn.Module, ABC):
    """Compares predictions with targets, each scored step by itself.

    The core picks the scored steps before it calls, and takes the mean after: a step that is not scored has no gradient
    at all. `reads` says what the targets are: symbols (ids, `[N]`) or numbers (`[N, F]`).
    """

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("symbols",)

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    @abstractmethod
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N]` losses for predictions `[N, V]` and targets `[N]`, or for numbers `[N, F]` and `[N, F]`."""
