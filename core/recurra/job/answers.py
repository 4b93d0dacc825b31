"""What is said of one sequence, before it becomes a row of columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What is `predicted` of a sequence, if anything was asked for, and the columns `beside` it.

    Those are the chance of each class as `p:<class>`, or the `nats` that the sequence itself cost,
    or whether an answer that follows it has `ended`. The `bounds` of the intervals around what is
    predicted are lists like that, lo-80 and hi-80.
    """

    predicted: Any = None
    beside: Mapping[str, float | None] = field(default_factory=dict)
    bounds: Mapping[str, list[Any]] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """Return the columns of the answer with their values."""
        predicted = {} if self.predicted is None else {"predicted": self.predicted}
        return predicted | dict(self.bounds) | dict(self.beside)
