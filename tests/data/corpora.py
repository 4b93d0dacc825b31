"""Stores and sources for the tests of the data room, small enough to be checked element by
element.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from hypothesis import strategies as st

from recurra import Piece, Source
from recurra.data.batches import Batch, Reader
from recurra.data.store import Store


def store_of(lengths: list[int]) -> Store:
    """Return a store of sequences whose element at position p is p, so that a batch tells where it
    was cut.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return Store(np.arange(sum(lengths)), starts, "test")


def reader_of(store: Store) -> Reader:
    """Return a reader that leaves the values as they are."""
    return Reader(store, lambda values: values, torch.float64)


def targets(batch: Batch) -> list[int]:
    """Return the positions that a batch scores."""
    return batch.y[batch.mask].tolist()


ragged = st.lists(st.integers(1, 12), min_size=1, max_size=8)
"""Lengths of sequences."""


class Fake(Source):
    """Gives the pieces it was made with, and counts how often it is read."""

    def __init__(self, pieces: list[Piece], mark: str = "1") -> None:
        from recurra import Options

        super().__init__(Options())
        self.pieces, self.mark, self.reads = pieces, mark, 0

    def read(self, element: str) -> Iterator[Piece]:
        self.reads += 1
        yield from self.pieces

    def fingerprint(self) -> str:
        return self.mark
