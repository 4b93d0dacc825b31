"""What a check is given: a component under one set of options, small, and always drawn the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from recurra.catalog import Entry
from recurra.contracts.options import Options
from recurra.randomness import seeded
from recurra.testing.check import NotApplicable

SEED = 0

T = TypeVar("T")
"""The class of a kind: `Cell`, `Source`, ..."""


@dataclass
class Subject(Generic[T]):
    """A component under one set of options; `table` is what a task file would say of them."""

    entry: Entry
    options: Options
    table: dict[str, Any] = field(default_factory=dict)
    sets: tuple[dict[str, Any], ...] = ()

    def build(self, *arguments: Any) -> T:
        """Return an instance, its weights always the same."""
        with seeded(SEED, "init"):
            instance: T = self.entry.target(*arguments, self.options)
        return instance

    def needs(self, capability: str) -> None:
        """Raise `NotApplicable` if the component declares that it lacks a capability."""
        if capability in self.entry.component.lacks:
            raise NotApplicable(f"it lacks {capability}")

    def generator(self, salt: int = 0) -> torch.Generator:
        """Return a stream of random numbers that is always the same."""
        return torch.Generator().manual_seed(SEED + 1000 * salt + 1)


def names_some(value: object, choices: Sequence[str]) -> bool:
    """Tell whether a value is a tuple of one or more of the choices."""
    return isinstance(value, tuple) and len(value) > 0 and set(value) <= set(choices)
