"""The problems of a task that must not resolve, and the only one of a key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from recurra.errors import InputError, Problem
from recurra.resolve import resolve

QUICK = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Write = Callable[..., Path]


def faults(path: Path, *overrides: str) -> list[Problem]:
    """Return the problems of a task that must not resolve."""
    with pytest.raises(InputError) as caught:
        resolve(path, overrides)
    return list(caught.value.problems)


def at(found: list[Problem], key: str) -> Problem:
    """Return the only problem of a key."""
    (problem,) = [problem for problem in found if problem.key == key]
    return problem
