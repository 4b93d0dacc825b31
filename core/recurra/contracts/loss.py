"""The contract of a loss: one number for each scored step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from recurra.contracts.head import Head, in_rows
from recurra.contracts.options import Options

O = TypeVar("O", bound=Options)  # noqa: E741


class Loss(nn.Module, ABC, Generic[O]):
    """Compares predictions with targets, each scored step by itself.

    The core picks the scored steps before it calls, and takes the mean after: a step that is not
    scored has no gradient at all. `reads` says what the targets are: symbols (ids, `[N]`) or
    numbers (`[N, F]`); `size` is the number of symbols, or of features. A loss that needs more than
    `size` numbers a step from the network, as one of a whole distribution does, says so in
    `output_size` and gives its best guess in `point`. It is a part of the network, on whose device
    and in whose mode it stands, and has no parameters; its buffers are not saved.

    A loss may learn of the answers before training, as what each class weighs: `prepare` takes
    what is known of them, and `save` gives all that `restore` needs, as plain JSON, which the run
    keeps. A loss that has nothing to learn overrides none of the three (they came with API 1.1).

    A loss of numbers may say what each element costs, in `elementwise` (API 1.1): the core then
    leaves out elements that are missing, and weighs columns as a task says.

    One whose answers are `counts` is told what 1 is in counts, as `Distribution` says (API 1.1).

    Outputs for many steps and a large vocabulary are more than a memory holds. A loss that
    `takes_hidden` is then given what the head would read, by `through` (API 1.1 too); for any other
    the outputs are made as a whole.
    """

    reads: ClassVar[tuple[Literal["symbols", "numbers"], ...]] = ("symbols",)
    takes_hidden: ClassVar[bool] = False
    counts: ClassVar[bool] = False

    def __init__(self, size: int, options: O) -> None:
        super().__init__()
        self.size = size
        self.output_size = size
        self.options = options

    @abstractmethod
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return `[N]` losses for outputs `[N, output_size]` and targets `[N]`.

        For numbers the targets are `[N, F]`.
        """

    def elementwise(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the losses `[N, F]` of the elements of numbers `[N, F]`, each of its column alone.

        Their mean over the features is what `forward` gives. It is called where a loss overrides
        it, and an answer may be missing in part or columns have weights of their own; a loss that
        does not is refused there.
        """
        raise NotImplementedError(f"{type(self).__name__} gives a step one number")

    def through(self, hidden: Tensor, head: Head, target: Tensor, rows: int) -> Tensor:
        """Return what `forward` gives for the outputs of `head`, `[N]`, and never hold them all.

        `hidden` is `[N, H]`, and `rows` is for how many vectors outputs may be held at a time. It
        is called where the loss says `takes_hidden`, in training and with gradients, whenever
        there are many outputs. By default `forward` is called for `rows` of them at a time, on the
        way back once more.
        """
        return in_rows(self, hidden, head, target, rows)

    def point(self, output: Tensor) -> Tensor:
        """Return logits `[..., V]`, or predicted numbers `[..., F]`.

        The outputs are `[..., output_size]`.
        """
        return output

    def prepare(self, names: Sequence[str], counts: NDArray[np.int64]) -> None:
        """Take what is known of the answers of the training split, once, before training.

        `names` are those of the classes in the order of their ids, and `counts` `[size]` says how
        often each is the answer, 0 where it never is; one that cannot be, as the mark at which an
        answer begins, has an empty name. It is called where answers are symbols; loading a run
        skips this and calls `restore`. May raise `InputError`.
        """

    def save(self) -> dict[str, Any]:
        """Return what `prepare` learned, as plain JSON; an empty table where that is nothing."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back what `save` gave, in place of whatever was learned before."""
