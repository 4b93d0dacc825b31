"""Where trials are made: in processes of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recurra.trials.pool import Pool

Opening = Callable[[int], Pool]
"""Gives places for so many trials at a time."""


def opening(logs: Path) -> Opening:
    """Return what gives places for trials; what they say is kept in a folder of logs."""
    return lambda jobs: Pool.here(jobs, logs)
