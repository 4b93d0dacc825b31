"""What a check of a loss is given."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.errors import InputError
from recurra.testing.answers import tensor, through_json
from recurra.testing.subjects.reader import SIZE, Reader, Reads
from recurra.testing.subjects.subject import SEED


class LossSubject(Reader[Loss[Any]]):
    """A loss under one set of options."""

    def loss(
        self, size: int = SIZE, dtype: torch.dtype = torch.float64, training: bool = False
    ) -> Loss[Any]:
        """Return the loss, prepared, in evaluation mode unless it is asked for in training."""
        return self.prepared(self.unprepared(size, dtype, training))

    def unprepared(
        self, size: int = SIZE, dtype: torch.dtype = torch.float64, training: bool = False
    ) -> Loss[Any]:
        """Return the loss as it is when a run is loaded, before it takes back what it learned."""
        return self.built(size, dtype, SEED).train(training)

    def prepared(self, loss: Loss[Any], salt: int = 0) -> Loss[Any]:
        """Prepare a loss as for a new run: a class may never come.

        One that finds no name of its own stays as it is.
        """
        if "symbols" in self.reads:
            with suppress(InputError):
                loss.prepare(*self.answers(loss.size, salt))
        return loss

    @staticmethod
    def answers(size: int, salt: int = 0) -> tuple[list[str], NDArray[np.int64]]:
        """Return the names of the classes, and how often each comes: 4, 0, 3, 6, 2 of five."""
        names = [chr(ord("a") + index) for index in range(size)]
        counts = (np.arange(size) * 3 + 4 + salt) % 7
        return names, counts

    @staticmethod
    def restored(loss: Loss[Any], saved: object) -> Loss[Any]:
        """Return a loss after it took back, by way of JSON, what another one saved.

        Raises `Broken` where that is no JSON.
        """
        loss.restore(through_json(saved))
        return loss

    def pair(
        self,
        loss: Loss[Any],
        kind: Reads,
        steps: int = 7,
        dtype: torch.dtype = torch.float64,
        salt: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Return outputs `[N, output_size]` drawn from N(0, 1), and targets.

        Those that are counts are small whole numbers.
        """
        draw = self.generator(salt)
        output = torch.randn(steps, loss.output_size, generator=draw, dtype=torch.float64)
        target = self.drawn(kind, (steps,), loss.size, dtype, salt + 1)
        if loss.counts:
            target = target.abs().mul(1.5).round()
        return output.to(dtype), target

    @staticmethod
    def run(loss: Loss[Any], output: Tensor, target: Tensor) -> Tensor:
        """Return what the loss gives for copies of outputs and targets."""
        return tensor(loss(output.clone(), target.clone()), "what forward gives")

    @staticmethod
    def point(loss: Loss[Any], output: Tensor) -> Tensor:
        """Return the best guess of the loss for these very outputs."""
        return tensor(loss.point(output), "what point gives")
