"""A store without the ends of its series is that of series that end there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recurra
from recurra import InputError
from recurra.contracts.source import Piece
from recurra.data import blocks
from recurra.data.corpus import collected
from recurra.data.ends import without_ends
from recurra.data.store import Store
from recurra.job.data import load_data
from recurra.job.folds import Plan
from recurra.resolve import resolve

TASK = {
    "name": "waves",
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 4},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 2},
    "loss": {"kind": "mse"},
    "training": {"steps": 1},
}


def stored(lengths: list[int], in_memory: int = 1 << 20) -> Store:
    """Return series of some lengths, each with a fold, in memory or in a file."""

    def pieces() -> Iterator[Piece]:
        for row, length in enumerate(lengths):
            values = np.arange(length, dtype=np.float64)[:, None] + 100 * row
            yield Piece(values, True, {"fold": f"fold of {row}"})

    return collected(pieces(), in_memory=in_memory)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 9), st.integers(1, 5))
def test_no_value_of_an_end_is_left(lengths: list[int], steps: int, block: int) -> None:
    """Each series stays up to its end less so many steps, with what is said of it; a short one
    goes, and where all do that is told.
    """
    store = stored(lengths)
    kept = [(row, length - steps) for row, length in enumerate(lengths) if length > steps]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", block)
        if not kept:
            with pytest.raises(InputError, match=f"the longest has {max(lengths)} step"):
                without_ends(store, steps)
            return
        left = without_ends(store, steps)
    assert (left.ends - left.starts).tolist() == [length for _, length in kept]
    assert left.values[:, 0].tolist() == [100 * row + at for row, n in kept for at in range(n)]
    assert left.columns["fold"] == [f"fold of {row}" for row, _ in kept]


def test_a_store_in_a_file_is_cut_alike() -> None:
    """What is mapped from a file gives the same values as what is in memory."""
    mapped, plain = stored([30, 2, 40], in_memory=8), stored([30, 2, 40])
    assert isinstance(mapped.values, np.memmap)
    left = without_ends(mapped, 5)
    assert np.array_equal(left.values, without_ends(plain, 5).values)
    assert left.fingerprint == without_ends(plain, 5).fingerprint


def test_a_task_that_leaves_off_is_one_of_shorter_series() -> None:
    """`sequence.leave_off` gives the data of series that end there, to its fingerprint."""
    series = [np.sin(np.arange(length) / 3) for length in (20, 4, 31)]
    changes = {
        "sequence.leave_off": 4,
        "sequence.split": [0.8, 0.2, 0],
        "sequence.split_by": "time",
    }
    mine = load_data(resolve(TASK, changes, data=series))
    changes["sequence.leave_off"] = 0
    other = load_data(resolve(TASK, changes, data=[series[0][:-4], series[2][:-4]]))
    assert mine.store.fingerprint == other.store.fingerprint
    assert mine.vocabulary.save() == other.vocabulary.save()
    for name, part in mine.splits.items():
        assert part.low.tolist() == other.splits[name].low.tolist()


def test_symbols_have_no_end_to_leave_off() -> None:
    """Only where the next of numbers is asked the key has a meaning."""
    with pytest.raises(InputError, match="leave_off is for series of numbers"):
        recurra.check("tasks/hello_lstm.toml", {"sequence.leave_off": 1})


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 3),
)
def test_cutoffs_are_those_of_a_count_by_hand(
    lengths: list[int], folds: int, step: int, horizon: int, least: int
) -> None:
    """From the end of a series back, each fold takes its horizon, and the next one moves a step."""
    plan, found = Plan(folds, step, horizon), np.array(lengths)
    for row, length in enumerate(lengths):
        end = length
        for fold in range(folds, 0, -1):
            inside = end - horizon >= least
            assert (row in plan.able(found, fold, least).tolist()) == inside
            if inside:
                assert plan.cutoffs(found, fold)[row] == end - horizon
            end -= step

    room = max(lengths) - least
    possible = [n for n in range(1, 60) if (n - 1) * step + horizon <= room]
    assert plan.most_folds(room) == len(possible)
    if folds > len(possible):
        with pytest.raises(InputError, match=r"\[RC041\]"):
            plan.check(found, least)
    else:
        plan.check(found, least)
