"""Tables drawn at random, the leaves they hold, and the one problem of a task that is not read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from recurra.errors import InputError, Problem
from recurra.spec.reading import read

QUICK = settings(
    deadline=None, max_examples=35, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Write = Callable[..., Path]
Leaves = dict[tuple[str, ...], Any]

KEYS = st.sampled_from("abc")
LEAVES = st.one_of(
    st.integers(0, 9), st.text("xyz", max_size=2), st.lists(st.integers(0, 9), max_size=3)
)
TABLES = st.recursive(
    st.dictionaries(KEYS, LEAVES, min_size=1, max_size=3),
    lambda inner: st.dictionaries(KEYS, LEAVES | inner, min_size=1, max_size=3),
    max_leaves=8,
)


def fault(path: Path, *overrides: str) -> Problem:
    """Return the one problem of a task that must not be read."""
    with pytest.raises(InputError) as caught:
        read(path, overrides)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Leaves:
    if not isinstance(value, dict):
        return {path: value}
    return {
        found: leaf
        for key, inner in value.items()
        for found, leaf in leaves(inner, (*path, key)).items()
    }
