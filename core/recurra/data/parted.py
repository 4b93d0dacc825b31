"""One series that goes on in several ways: each step by step through a chain, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recurra.contracts.transform import Floats
from recurra.data.chain import Chain, States, scaled_at
from recurra.data.store import Array
from recurra.data.stream import Stream, forms, whole


class Parted:
    """The B ways on which a series goes on, each with states of its own, `[B, S, F]`.

    It is what `Stream` is to one way, and row b of what it gives is that of the way b alone.
    """

    at_once, missing = 1, 0

    def __init__(self, chain: Chain, states: States, count: int, ways: int) -> None:
        self.chain = chain
        self.states = states
        self.count = count
        self.ways = ways

    @classmethod
    def of(cls, stream: Stream, ways: int) -> Parted:
        """Return the ways of a series which are still one."""
        states = [np.repeat(state[None], ways, axis=0) for state in stream.states or ()]
        return cls(stream.chain, states, stream.count, ways)

    def read(self, values: Array) -> Floats:
        """Return what the network reads for rows `[n, F]` that come on every way, `[B, n, F + M]`.

        Raises `InputError` for one that the vocabulary refuses.
        """
        rows = scaled_at(self.chain, values, lambda at: f"step {at} of the prompt", self.count)
        if not self.chain:
            return np.broadcast_to(rows, (self.ways, *rows.shape))
        read: list[Floats] = []
        after: list[States] = []
        for way in range(self.ways):
            own = [state[way] for state in self.states]
            moved, states = self.chain.apply(rows, own, self.count)
            if self.chain.flags:
                flags = self.chain.flagged(self.chain.came(rows, own))
                moved = np.concatenate([moved, flags], axis=1)
            read.append(moved)
            after.append(states)
        self.states = [np.stack(each) for each in zip(*after, strict=True)]
        self.count += len(rows)
        return np.stack(read)

    def fed_back(self, x: Tensor) -> Tensor:
        """Return what the network reads of numbers `[B, F]` that it has said itself."""
        flags = x.new_ones(len(x), len(self.chain.flags))
        return torch.cat([x, flags], dim=1) if self.chain.flags else x

    def origins(self) -> Floats:
        """Return what undoing the next row of each way takes, `[B, width, F]`."""
        return self.chain.origins_each(self.states)

    def undo(self, rows: Floats) -> Floats:
        """Return a row of each way `[B, F]` in the data's own units: the next of each."""
        scaled = rows
        if self.chain:
            scaled = self.chain.undone(rows, self.origins())
            self.states = self.chain.after_each(scaled, self.states)
            self.count += 1
        return np.asarray(self.chain.vocabulary.decode(scaled), np.float64)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that there is of it, by name."""
        tensors = {
            f"{index}": torch.from_numpy(np.ascontiguousarray(state))
            for index, state in enumerate(self.states)
        }
        return {**tensors, "count": torch.tensor(self.count), "ways": torch.tensor(self.ways)}

    @classmethod
    def restored(cls, chain: Chain, tensors: dict[str, Tensor]) -> Parted:
        """Return ways that go on from what `tensors` gave.

        Raises any error if they are not of this chain.
        """
        ways, count = whole(tensors, "ways", least=1), whole(tensors, "count")
        fresh = chain.start(np.zeros((0, chain.vocabulary.size))) if chain else []
        states = [tensors[f"{index}"].numpy() for index in range(len(fresh))]
        wanted = [((ways, *shape), kind) for shape, kind in forms(fresh)]
        if forms(states) != wanted or len(tensors) != len(fresh) + 2:
            raise ValueError("its transforms are not those of the vocabulary")
        return cls(chain, states, count, ways)
