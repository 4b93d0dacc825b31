"""Rows that wait for those of their group come back as they were, of whatever type their cells."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra_sources.cells import Literal, Pairs
from recurra_sources.waiting import Waiting

texts = st.text(st.characters(codec=None), max_size=5)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.just(0).map(lambda _: 10**5000),
    st.floats(allow_nan=False),
    texts,
    texts.map(Literal),
)
typed = st.one_of(
    st.decimals(allow_nan=False),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.sampled_from([b"bytes", np.float64(1.5), np.str_("x"), (1, 2), {"n": 1}, {}, timedelta(1)]),
)
cells = st.recursive(
    plain | typed,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(st.tuples(texts, inner), max_size=2).map(Pairs),
    ),
    max_leaves=6,
)
places = st.integers(1, 10**12) | st.just("3, step 2")
rows = st.lists(st.tuples(places, st.lists(cells, max_size=3)), max_size=9)


def types(value):
    """Return the type of a value and of all that is in it."""
    inside = value if isinstance(value, list | tuple) else ()
    return type(value), [types(inner) for inner in inside]


@settings(max_examples=150)
@given(rows)
def test_rows_come_back_as_they_were(written):
    """Place, value and type of each cell are the same; a time keeps its zone."""
    waiting = Waiting()
    read = [*waiting.rows(b"".join(map(waiting.packed, written)))]
    assert read == [tuple(row) for row in written]
    assert [types(cells) for _, cells in read] == [types(cells) for _, cells in written]
    for (_, ours), (_, theirs) in zip(read, written, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            if isinstance(other, datetime):
                assert (one.tzinfo, one.fold) == (other.tzinfo, other.fold)


@pytest.mark.parametrize("depth", [1, 30, 300, 900, 5000])
def test_what_nests_deeper_than_python_goes_comes_back(depth):
    """Lists in lists beyond what can be written wait as they are."""
    deep: list[object] = []
    for _ in range(depth):
        deep = [deep]
    waiting = Waiting()
    ((place, (cell, other)),) = waiting.rows(waiting.packed((7, [deep, "x"])))
    levels = 0
    while cell:
        (cell,), levels = cell, levels + 1
    assert (place, levels, other) == (7, depth, "x")


@pytest.mark.parametrize(
    "row", [(1, ["a", "b"]), (2, [Literal("1"), Decimal("0.5"), date(2024, 1, 31), None])]
)
def test_nothing_that_waits_can_run(row):
    """What is written is a line of JSON: letters, numbers and brackets, and no code of any kind."""
    zone = timezone(timedelta(hours=1))
    line = Waiting().packed((row[0], [*row[1], datetime(2024, 1, 31, tzinfo=zone)]))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert line.decode("ascii").startswith(f"[{row[0]},")
