"""What is said of one sequence, before it becomes a row of columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


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


def as_steps(rows: NDArray[np.float64]) -> list[Any]:
    """Return rows `[H, F]` as steps: numbers, or lists of several; what is none is None."""
    listed = [[None if cell != cell else cell for cell in row] for row in rows.tolist()]  # noqa: PLR0124
    return [row[0] if len(row) == 1 else row for row in listed]
