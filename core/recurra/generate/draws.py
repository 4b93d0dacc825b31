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
    """Picks symbols by how likely each is to come; a copy picks what the original would."""

    def pick(self, chances: Tensor) -> Tensor:
        """Return one id a stream, `[B]`, for how likely each symbol is to come, `[B, V]`."""
        ...

    def uniforms(self, streams: int) -> NDArray[np.float64]:
        """Return a number of each stream from [0, 1), in multiples of 2^-52, and go on."""
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
        # Numbers are made for many steps at a time: `[steps, streams]`, from the step `first` on.
        self.first = step
        self.numbers: NDArray[np.float64] = np.zeros((0, 0))

    def pick(self, chances: Tensor) -> Tensor:
        """Return of each stream the first id up to which the chances add up to above its number.

        With the chances 0.2, 0.5, 0.3 the sums are 0.2, 0.7, 1.0, and 0.6 picks the second.
        """
        sums = chances.cpu().numpy().cumsum(axis=-1, dtype=np.float64)  # B V
        bounds = self.uniforms(len(sums)) * sums[:, -1]

        # One stream can be looked up; of several the sums are compared.
        if len(sums) == 1:
            ids = sums[0].searchsorted(bounds, side="right")
        else:
            ids = (sums <= bounds[:, None]).sum(axis=-1)
        return torch.from_numpy(ids).to(chances.device)

    def uniforms(self, streams: int) -> NDArray[np.float64]:
        """Return the number of each stream at this step, `[streams]`, and go on to the next.

        They are not to be written to.
        """
        place = self.step - self.first
        if streams != self.numbers.shape[1] or not 0 <= place < len(self.numbers):
            steps = max(1, min(256, BLOCK // streams))
            self.numbers = uniforms(self.key, self.step, steps, streams)
            self.first, place = self.step, 0
        self.step += 1
        numbers: NDArray[np.float64] = self.numbers[place]
        return numbers

    def copy(self) -> PlacedDraws:
        """Return draws that stand at the same place, and go on by themselves."""
        # The two share their numbers, which are never written to.
        return copy.copy(self)

    def state(self) -> Tensor:
        """Return the key and the number of draws so far."""
        return torch.tensor([self.key, self.step])


class FlowingDraws:
    """The draws of scheme 1: all of one generator, from number to number, whatever the stream."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    @classmethod
    def at(cls, state: Tensor) -> FlowingDraws:
        """Return the draws of a generator in this state."""
        return cls(torch.Generator().set_state(state))

    def pick(self, chances: Tensor) -> Tensor:
        """Return what torch draws."""
        ids = torch.multinomial(chances.cpu().float(), 1, generator=self.generator)
        return ids.squeeze(-1).to(chances.device)

    def uniforms(self, streams: int) -> NDArray[np.float64]:
        """Return what torch draws, for sessions that were saved under this scheme."""
        bits = torch.randint(1 << 52, (streams,), generator=self.generator)
        return np.asarray(bits.double().numpy() * 2.0**-52)

    def copy(self) -> FlowingDraws:
        """Return draws that stand at the same place, and go on by themselves."""
        return FlowingDraws.at(self.generator.get_state())

    def state(self) -> Tensor:
        """Return where the generator stands."""
        return self.generator.get_state()


def begun(seed: int, scheme: int = SCHEME) -> Draws:
    """Return the draws of a seed under a scheme, at their beginning."""
    if scheme == 1:
        return FlowingDraws(torch_stream(seed, "sampling"))
    return PlacedDraws(derive(seed, "sampling"))


def of_paths(seed: int, series: str) -> PlacedDraws:
    """Return the draws of the paths of a series, at their beginning."""
    return PlacedDraws(derive(seed, "paths", series))


def restored(state: Tensor) -> Draws:
    """Return the draws whose `state` was saved. Raises any error if it is none."""
    # That of a generator is bytes.
    if state.dtype != torch.int64:
        return FlowingDraws.at(state)
    key, step = state.tolist()
    if key < 0 or not 0 <= step < 1 << 62:
        raise ValueError(f"key = {key}, step = {step}")
    return PlacedDraws(key, step)
