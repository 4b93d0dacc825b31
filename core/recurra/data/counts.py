"""Answers that are counts: what a scaled 1 is in them, for a loss that counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recurra.contracts.transform import Floats
from recurra.data.blocks import blocks
from recurra.data.chain import Chain
from recurra.data.store import Array
from recurra.errors import InputError

TRIED = np.array([[1.0], [2.0], [4.0]])
"""A series of which a scale is made to see whether it is a multiple."""


@dataclass(frozen=True)
class Counts:
    """What brings scaled numbers back to counts: a multiple, of each column or of each series.

    `before` is how many rows stand before the origins of the transforms in what undoing takes.
    """

    chain: Chain
    before: int = 0

    def scale(self, answers: Tensor, undo: Tensor) -> Tensor:
        """Return what 1 is in counts for each of answers `[..., F]`, in their shape and type.

        `undo` is what undoing them takes, empty where only the vocabulary scales.
        """
        rows = answers.shape[:-1].numel()
        ones = np.ones((rows, answers.shape[-1]))
        if len(undo):
            each = undo.reshape(rows, *undo.shape[-2:]).double().numpy()
            unit = self.chain.invert(ones, each[:, self.before : -1])
        else:
            unit = np.broadcast_to(self.chain.vocabulary.decode(ones[:1]), ones.shape)
        return torch.from_numpy(np.array(unit, np.float64)).reshape(answers.shape).to(answers)

    def is_multiple(self) -> bool:
        """Tell whether 0 stands for 0, and twice a number for twice as much."""
        series = self.chain.scaled(np.repeat(TRIED, self.chain.vocabulary.size, axis=1))
        origins = np.zeros((len(series), 0, series.shape[1]))
        if self.chain:
            origins = self.chain.origins(series, self.chain.start(series))[1:]

        def own(value: float) -> Floats:
            return self.chain.invert(np.full_like(series, value), origins)

        return not own(0.0).any() and np.allclose(own(2.0), 2 * own(1.0), rtol=1e-9)


def check_counts(values: Array, place: Callable[[int], str]) -> None:
    """Refuse numbers `[n, F]` that are no counts. Raises `InputError` (RC042) with their place."""
    for span in blocks(0, len(values)):
        block = np.asarray(values[span], np.float64)
        wrong = (block < 0) | (block != np.floor(block))
        # What is missing is no number, and has not come.
        wrong &= ~np.isnan(block)
        if wrong.any():
            row, column = (int(at) for at in np.argwhere(wrong)[0])
            fact = f"{block[row, column]:g} is no count: {place(span.start + row)}"
            cure = 'counts are whole numbers from 0 on; for others take loss.kind = "student_t"'
            raise InputError.of("RC042", fact, key="loss.kind", cure=cure)
