"""Large blocks of memory that one window leaves for the next.

What a window needs between its way there and back is freed after it. An allocator gives large
blocks back to the system, which clears each page before the next window has it: up to a quarter of
the time of a wide layer, where a virtual machine's host takes back what is freed. So they are kept
here, as many bytes as were needed at a time.
"""

from __future__ import annotations

import math
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor

LEAST = 1_000_000
"""Bytes from which a block is kept; smaller ones an allocator keeps itself."""
FITTING = 1.25
"""How many times larger than what is asked for a block may be."""


class Blocks:
    """The blocks that nobody uses now, the longest unused first.

    What is lent comes back by itself, in whichever thread its tensor ends. All that is lent and
    free is at most what was lent at a time.
    """

    def __init__(self) -> None:
        self.free: list[Tensor] = []
        self.lent = self.most = 0  # bytes: now, and at most
        self.alone = RLock()  # a tensor may end, in this thread too, whenever objects are made

    def empty(self, like: Tensor, *shape: int) -> Tensor:
        """Return a tensor of any content on a CPU, of the type of `like`."""
        size = like.element_size() * math.prod(shape)
        if size < LEAST:
            return like.new_empty(shape)

        with self.alone:
            block = self._found(size)
            self.lent += len(block)
            self.most = max(self.most, self.lent)
        lent: Any = block.numpy().view(_Lent)
        lent.block, lent.blocks = block, self
        return torch.from_numpy(lent)[:size].view(like.dtype).view(shape)

    def _found(self, size: int) -> Tensor:
        """Return the smallest free block that fits a size, else a new one."""
        fitting = [each for each in self.free if size <= len(each) <= FITTING * size]
        if not fitting:
            return torch.empty(size, dtype=torch.uint8)
        found = min(fitting, key=len)
        self.free = [each for each in self.free if each is not found]
        return found

    def back(self, block: Tensor) -> None:
        """Take a block back, and let go of those that are too many."""
        with self.alone:
            self.lent -= len(block)
            self.free.append(block)
            free = sum(map(len, self.free))
            while free + self.lent > self.most:
                free -= len(self.free.pop(0))

    def clear(self) -> None:
        """Let go of all that is free."""
        with self.alone:
            self.free.clear()
            self.most = self.lent


class _Lent(np.ndarray[Any, Any]):
    """A block under a tensor, which holds it as long as anybody uses its numbers."""

    block: Tensor | None = None
    blocks: Blocks | None = None

    def __del__(self) -> None:
        if self.block is not None and self.blocks is not None:
            self.blocks.back(self.block)


BLOCKS = Blocks()
"""Those of this process."""
