"""How answers are scored: step by step, and of numbers element by element where that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.loss import Loss


@dataclass(frozen=True)
class Scoring:
    """A loss, and which elements of an answer of numbers count, and how much.

    `weights` are those of the columns, of mean 1; without them all weigh the same. Where answers
    may be `partly` missing, what is no number has not come: it enters no sum, and has no gradient.
    The mean over what is scored is then sum w e / sum w over the elements e that came. Either takes
    a loss that scores elements by themselves; without both the loss is asked as it is. `scale`
    `[N, F]` is what 1 is in counts for the answers that are scored, where the loss counts.
    """

    loss: Loss[Any]
    weights: Sequence[float] = ()
    partly: bool = False
    scale: Tensor | None = None

    def counted(self, scale: Tensor | None) -> Scoring:
        """Return how answers are scored of which 1 is so much in counts, `[N, F]`."""
        return self if scale is None else replace(self, scale=scale)

    @property
    def by_element(self) -> bool:
        """Whether elements are scored by themselves."""
        return self.partly or bool(self.weights)

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the losses `[N]` of outputs `[N, output_size]` and answers `[N]` or `[N, F]`.

        Of elements it is the mean over all F of each one's loss times its weight, 0 where an
        element is missing.
        """
        scale = () if self.scale is None else (self.scale,)
        if not self.by_element:
            whole: Tensor = self.loss(output, target, *scale)
            return whole

        if not self.partly:
            return self._weighed(self.loss.elementwise(output, target, *scale)).mean(dim=-1)
        came = ~target.isnan()
        # What is missing is answered by the best guess, where every loss has a slope.
        answers = torch.where(came, target, self.loss.point(output).detach())
        each = self._weighed(self.loss.elementwise(output, answers, *scale))
        return torch.where(came, each, 0).mean(dim=-1)

    def _weighed(self, each: Tensor) -> Tensor:
        return each * each.new_tensor(self.weights) if self.weights else each

    def total(self, target: Tensor) -> float:
        """Return how many answers `[N, ...]` are scored; one that is partly missing counts less."""
        if not self.partly:
            return len(target)
        came = self._weighed((~target.isnan()).double())
        return float(came.sum()) / target.shape[-1]


def scores_elements(loss: Loss[Any]) -> bool:
    """Tell whether a loss gives each element of an answer a loss of its own."""
    return gives_elements(type(loss))


def gives_elements(kind: type[Loss[Any]]) -> bool:
    """Tell the same of the losses of a kind."""
    return kind.elementwise is not Loss.elementwise
