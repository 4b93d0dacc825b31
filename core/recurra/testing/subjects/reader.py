"""What reads symbols or numbers: an encoder or a loss."""

from __future__ import annotations

from typing import Literal, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor, nn

from recurra.randomness import seeded
from recurra.testing.answers import demand
from recurra.testing.subjects.subject import Subject, names_some

Reads: TypeAlias = Literal["symbols", "numbers"]
IDS: dict[Reads, bool] = {"symbols": True, "numbers": False}
"""Whether what a vocabulary yields is ids."""
SIZE = 5
"""Symbols, or features, that encoders and losses are checked on."""

M = TypeVar("M", bound=nn.Module)


class Reader(Subject[M]):
    """A component that reads symbols or numbers: an encoder or a loss."""

    @property
    def reads(self) -> tuple[Reads, ...]:
        """What it reads. Raises `Broken` if that is nothing that there is."""
        reads: tuple[Reads, ...] = self.entry.target.reads
        sound = names_some(reads, get_args(Reads))
        demand(sound, f"reads is {reads!r}, not a tuple of symbols and numbers")
        return reads

    def built(self, size: int, dtype: torch.dtype, seed: int) -> M:
        """Return an instance in evaluation mode, its weights drawn from a seed."""
        if dtype == torch.float64:
            self.needs("float64")
        with seeded(seed, "init"):
            module: M = self.entry.target(size, self.options)
            return module.to(dtype).eval()

    def drawn(
        self, kind: Reads, shape: tuple[int, ...], size: int, dtype: torch.dtype, salt: int
    ) -> Tensor:
        """Return ids of a shape, or numbers with an axis of `size` more."""
        draw = self.generator(salt)
        if kind == "symbols":
            return torch.randint(size, shape, generator=draw)
        values = torch.randn(*shape, size, generator=draw, dtype=torch.float64)
        return values.to(dtype)
