"""The contract of a loss: one number for each scored step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, Literal, TypeVar

from torch import Tensor, nn

from recurra.contracts.options import Options

O = TypeVar("O", bound=Options)  # noqa: E741


class Loss(nn.Module, ABC, Generic[O]):
    """Compares predictions with targets, each scored step by itself.

    The core picks the scored steps before it calls, and takes the mean after: a step that is not scored has no gradient
    at all. `reads` says what the targets are: symbols (ids, `[N]`) or numbers (`[N, F]`); `size` is the number of
    symbols, or of features. A loss that needs more than `size` numbers a step from the network, as one of a whole
    distribution does, says so in `output_size` and gives its best guess in `point`. It is a part of the network, on
    whose device and in whose mode it stands, and has no parameters; its buffers are not saved.
    """

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("symbols",)

    def __init__(self, size: int, options: O) -> None:
        super().__init__()
        self.size = size
        self.output_size = size
        self.options = options

    @abstractmethod
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N]` losses for outputs `[N, output_size]` and targets `[N]`, or for numbers `[N, F]`."""

    def point(self, output: Tensor) -> Tensor:
        """Return logits `[..., V]`, or predicted numbers `[..., F]`, for outputs `[..., output_size]`."""
        return output
