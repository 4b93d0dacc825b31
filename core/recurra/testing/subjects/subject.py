"""What a check is given: a component under one set of options, small, and always drawn the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from recurra.catalog import Entry
from recurra.contracts.options import Options
from recurra.randomness import seeded
from recurra.testing.check import NotApplicable

SEED = 0


@dataclass
class Subject:
    """A component under one set of options; `table` is what a task file would say of them."""

    entry: Entry
    options: Options
    table: dict[str, Any] = field(default_factory=dict)
    sets: tuple[dict[str, Any], ...] = ()

    def build(self, *arguments: Any) -> Any:
        """Return an instance, its weights always the same."""
        with seeded(SEED, "init"):
            return self.entry.target(*arguments, self.options)

    def needs(self, capability: str) -> None:
        """Raise `NotApplicable` if the component declares that it lacks a capability."""
        if capability in self.entry.component.lacks:
            raise NotApplicable(f"it lacks {capability}")

    def generator(self, salt: int = 0) -> torch.Generator:
        """Return a stream of random numbers that is always the same."""
        return torch.Generator().manual_seed(SEED + 1000 * salt + 1)
