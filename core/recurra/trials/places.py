"""Where trials are made: in processes of this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recurra.errors import InputError
from recurra.generate import arguments
from recurra.model.device import cores
from recurra.trials.pool import Ahead, Pool

Opening = Callable[[int], Pool]
"""Gives places for so many trials at a time, at most."""
HERE = "here"
PLACES = (HERE, "ray")
"""Where trials may be made."""
MOST = 1024
"""Trials beside each other."""


def ahead_of(jobs: int | None, on: str) -> Ahead:
    """Return the processes of `opening` that may begin ahead of it: those of this machine."""
    return Ahead((jobs or cores()) if on == HERE else 0)


def opening(logs: Path, jobs: int | None, on: str, ahead: Ahead | None = None) -> Opening:
    """Return what gives `jobs` places, by default as many as there are cores.

    What processes here say is kept in a folder of logs; some may have begun `ahead`.
    """
    if on == HERE:
        return lambda most: Pool.here(min(jobs or cores(), most), logs, ahead)
    # An extra, imported for it alone.
    from recurra.trials.on_ray import RayPool

    return lambda most: RayPool(jobs, most)


def checked_jobs(jobs: int | None) -> int | None:
    """Return how many trials are made beside each other. Raises `InputError` (RC080)."""
    return None if jobs is None else arguments.whole("jobs", jobs, 1, MOST)


def checked_place(on: str) -> str:
    """Return where trials are made. Raises `InputError` (RC080) for what is not installed."""
    arguments.one_of("on", on, PLACES)
    if on != HERE:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            fact = f"trials on a cluster are made with Ray, which is not installed: {error}"
            raise InputError.of("RC080", fact, cure="pip install 'recurra[ray]'") from error
    return on
