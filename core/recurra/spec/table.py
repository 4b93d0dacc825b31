"""What the core's own tables of a task file have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

MOST = 10**15
"""The largest whole number of a key that has no closer bound.

No run counts so far, and float64 still can.
"""


class Table(BaseModel):
    """Base of the core's tables: strict, frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
