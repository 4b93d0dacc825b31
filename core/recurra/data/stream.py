"""One series on its way through a chain of transforms, step by step, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.contracts.transform import Floats
from recurra.data.chain import Chain, States, scaled_at
from recurra.data.store import Array

BEYOND = 1 << 62
"""What no number of steps in a saved state reaches."""


class Stream:
    """One series on its way through a chain: its rows as they come, then those of the network.

    Its `history` before it begins, in the data's own units, is what is known of it: the rows that
    are read first, if nothing else.
    """

    def __init__(self, chain: Chain, history: Array | None = None) -> None:
        self.chain = chain
        self.states: States | None = None
        if history is not None and chain:
            self.states = chain.start(chain.scaled(history))
        self.count = 0
        # The scaled rows that were read last, nothing missing.
        self.rows: Floats = np.zeros((0, chain.vocabulary.size))

    def read(self, values: Array) -> Floats:
        """Return what the network reads for rows `[n, F]` in the data's own units, `[n, F + M]`.

        Whether those of M columns came that may be missing stands behind the numbers.
        Raises `InputError` for one that the vocabulary refuses, and names it; then none of them is
        taken.
        """
        rows = scaled_at(self.chain, values, lambda at: f"step {at} of the prompt", self.count)
        self.rows = rows
        if not self.chain:
            return rows
        if self.states is None:
            self.states = self.chain.start(rows)
        self.rows = self.chain.carried(rows, self.states)
        if not self.chain.flags:
            return self._moved(rows)
        flags = self.chain.flagged(self.chain.came(rows, self.states))
        return np.concatenate([self._moved(rows), flags], axis=1)

    def fed_back(self, x: Tensor) -> Tensor:
        """Return what the network reads of numbers `[B, F]` that it has said itself."""
        flags = x.new_ones(len(x), len(self.chain.flags))
        return torch.cat([x, flags], dim=1) if self.chain.flags else x

    @property
    def at_once(self) -> int:
        """How many rows must come together: by one alone, no series can be scaled."""
        return 2 if self.chain.by_series and self.states is None else 1

    def _moved(self, rows: Floats) -> Floats:
        """Return what the network reads for scaled rows, which have come now."""
        states = self.chain.start(rows) if self.states is None else self.states
        read, self.states = self.chain.apply(rows, states, self.count)
        self.count += len(rows)
        return read

    def undo(self, row: Floats) -> Floats:
        """Return a row `[F]` of the network in the data's own units: the next of the series."""
        scaled = row[None]
        if self.chain:
            assert self.states is not None, "nothing goes on from nothing"
            origins = self.chain.origins(scaled[:0], self.states)
            scaled = self.chain.undone(scaled, origins)
            self._moved(scaled)
        number: Floats = np.asarray(self.chain.vocabulary.decode(scaled[0]), np.float64)
        return number

    def origins(self) -> Floats:
        """Return what undoing the next row of the series takes, `[1, width, F]`."""
        none = np.zeros((0, self.chain.vocabulary.size))
        return self.chain.origins(none, self.states or []) if self.chain else none[None]

    @property
    def missing(self) -> int:
        """How many rows must come before anything can be said of the next."""
        return max(0, self.chain.lag + 1 - self.count) if self.chain else 0

    def tensors(self) -> dict[str, Tensor]:
        """Return all that there is of it, by name; nothing where there are no transforms."""
        if self.states is None:
            return {}
        tensors: dict[str, Tensor] = {}
        for index, state in enumerate(self.states):
            tensors[f"{index}"] = torch.from_numpy(np.ascontiguousarray(state))
        tensors["count"] = torch.tensor(self.count)
        return tensors

    def restored(self, tensors: dict[str, Tensor]) -> Stream:
        """Return a stream that goes on from what `tensors` gave.

        Raises any error if it is not of this chain.
        """
        other = Stream(self.chain)
        if not tensors:
            return other

        # Of a series of which nothing is known: the forms of its states are those of any.
        fresh = self.chain.start(np.zeros((0, self.chain.vocabulary.size)))
        states = [tensors[f"{index}"].numpy() for index in range(len(fresh))]
        count = whole(tensors, "count", least=1)
        if forms(states) != forms(fresh) or len(tensors) != len(fresh) + 1:
            raise ValueError("its transforms are not those of the vocabulary")

        other.states = states
        other.count = count
        return other


def whole(tensors: Mapping[str, Tensor], name: str, least: int = 0) -> int:
    """Return the number that a tensor of a saved state holds. Raises any error if it is none."""
    tensor = tensors[name]
    if tensor.dtype != torch.int64 or tensor.dim():
        raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, not a whole number")
    number = int(tensor)
    if not least <= number < BEYOND:
        raise ValueError(f"{name} = {number:,}, and it is {least} to {BEYOND - 1:,}")
    return number


def forms(states: States) -> list[tuple[Any, ...]]:
    """Return the shape and the type of each state."""
    return [(state.shape, state.dtype) for state in states]
