"""What reads symbols or numbers: an encoder or a loss."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor

from recurra.randomness import seeded
from recurra.testing.answers import demand
from recurra.testing.subjects.subject import Subject

Reads: TypeAlias = Literal["symbols", "numbers"]
IDS: dict[Reads, bool] = {"symbols": True, "numbers": False}
"""Whether what a vocabulary yields is ids."""
SIZE = 5
"""Symbols, or features, that encoders and losses are checked on."""


class Reader(Subject):
    """A component that reads symbols or numbers: an encoder or a loss."""

    @property
    def reads(self) -> tuple[Reads, ...]:
        """What it reads. Raises `Broken` if that is nothing that there is."""
        reads = self.entry.target.reads
        known = isinstance(reads, tuple) and reads and set(reads) <= set(get_args(Reads))
        demand(bool(known), f"reads is {reads!r}, not a tuple of symbols and numbers")
        return cast(tuple[Reads, ...], reads)

    def built(self, size: int, dtype: torch.dtype, seed: int) -> Any:
        """Return an instance in evaluation mode, its weights drawn from a seed."""
        if dtype == torch.float64:
            self.needs("float64")
        with seeded(seed, "init"):
            return self.entry.target(size, self.options).to(dtype).eval()

    def drawn(
        self, kind: Reads, shape: tuple[int, ...], size: int, dtype: torch.dtype, salt: int
    ) -> Tensor:
        """Return ids of a shape, or numbers with an axis of `size` more."""
        if kind == "symbols":
            return torch.randint(size, shape, generator=self.generator(salt))
        return torch.randn(*shape, size, generator=self.generator(salt), dtype=torch.float64).to(
            dtype
        )
