"""The draws of generation: which symbol comes, given the chances of each."""

from __future__ import annotations

import copy
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.randomness import SCHEME, derive, torch_stream, uniforms

BLOCK = 1 << 14
"""Random numbers that are made at a time."""


class Draws(Protocol):
    """Picks symbols by their chances; a copy picks what the original would."""

    def pick(self, chances: Tensor) -> Tensor:
        """Return one id a stream, `[B]`, for chances `[B, V]` that add up to about 1."""
        ...

    def copy(self) -> Draws:
        """Return draws that stand at the same place, and go on by themselves."""
        ...

    def state(self) -> Tensor:
        """Return where the draws stand, as `restored` takes it back."""
        ...


class PlacedDraws:
    """Draws of which each hangs on the key, the stream and the number of the draw alone.

    So the first of four streams draws what it would draw alone, and a compiled loop can draw the
    same.
    """

    def __init__(self, key: int, step: int = 0) -> None:
        self.key, self.step = key, step
        self.first = step
        # Of the steps from `first` on, and each stream.
        self.numbers: NDArray[np.float64] = np.zeros((0, 0))

    def pick(self, chances: Tensor) -> Tensor:
        """Return the first id of each stream whose chances, added up to it, are above the stream's
        number.
        """
        sums = chances.cpu().numpy().cumsum(axis=-1, dtype=np.float64)  # B V
        bounds = self._next(len(sums)) * sums[:, -1]
        if len(sums) == 1:
            ids = sums[0].searchsorted(bounds, side="right")
        else:
            ids = (sums <= bounds[:, None]).sum(axis=-1)
        return torch.from_numpy(ids).to(chances.device)

    def _next(self, streams: int) -> NDArray[np.float64]:
        """Return the number of each stream at this step, and go on to the next."""
        place = self.step - self.first
        if streams != self.numbers.shape[1] or not 0 <= place < len(self.numbers):
            self.numbers = uniforms(
                self.key, self.step, max(1, min(256, BLOCK // streams)), streams
            )
            self.first, place = self.step, 0
        self.step += 1
        numbers: NDArray[np.float64] = self.numbers[place]
        return numbers

    def copy(self) -> PlacedDraws:
        """Return draws that stand at the same place, and go on by themselves."""
        return copy.copy(self)  # the numbers are never written to

    def state(self) -> Tensor:
        """Return the key and the number of draws so far."""
        return torch.tensor([self.key, self.step])


class FlowingDraws:
    """The draws of scheme 1: all of one generator, from number to number, whatever the stream."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def pick(self, chances: Tensor) -> Tensor:
        """Return what torch draws."""
        return (
            torch.multinomial(chances.cpu(), 1, generator=self.generator)
            .squeeze(-1)
            .to(chances.device)
        )

    def copy(self) -> FlowingDraws:
        """Return draws that stand at the same place, and go on by themselves."""
        return FlowingDraws(torch.Generator().set_state(self.generator.get_state()))

    def state(self) -> Tensor:
        """Return where the generator stands."""
        return self.generator.get_state()


def begun(seed: int, scheme: int = SCHEME) -> Draws:
    """Return the draws of a seed under a scheme, at their beginning."""
    return (
        FlowingDraws(torch_stream(seed, "sampling"))
        if scheme == 1
        else PlacedDraws(derive(seed, "sampling"))
    )


def restored(state: Tensor) -> Draws:
    """Return the draws whose `state` was saved. Raises any error if it is none."""
    if state.dtype != torch.int64:
        return FlowingDraws(torch.Generator().set_state(state))
    key, step = state.tolist()
    if key < 0 or not 0 <= step < 1 << 62:
        raise ValueError(f"key = {key}, step = {step}")
    return PlacedDraws(key, step)
