"""Evaluation reads a split so that each element is scored once, in the state of its own past."""

from __future__ import annotations

import pytest
from corpora import ragged, reader_of, store_of
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data import segments
from recurra.data.splits import SPLITS, split
from recurra.spec.tables import Sequence

laws = settings(deadline=None, max_examples=60)


def read(reader, part, rows, window):
    """Return, for each scored position, the positions that its state has read, in order."""
    found = {}
    for group in segments.groups(reader, part, rows, window):
        pasts = None
        for index, batch in enumerate(group):
            pasts = pasts or [[] for _ in batch.x]
            assert index > 0 or batch.reset[:, 0].all(), "a segment begins with a fresh state"
            for row, past in enumerate(pasts):
                for t in range(batch.x.shape[1]):
                    if batch.mask[row, t]:
                        past.append(int(batch.x[row, t]))
                        target = int(batch.y[row, t])
                        assert target not in found, "scored twice"
                        found[target] = tuple(past)
                    elif not past or past[-1] < int(batch.x[row, t]):
                        past.append(int(batch.x[row, t]))
    return found


def predictable(part) -> list[int]:
    return sorted(
        at
        for low, high, begin in zip(part.low, part.high, part.begin, strict=True)
        for at in range(low, high)
        if at > begin
    )


@pytest.mark.parametrize(("segment", "context"), [(1 << 16, 1 << 10), (3, 2), (1, 0), (4, 100)])
@laws
@given(lengths=ragged, carry=st.booleans(), rows=st.integers(1, 4), window=st.integers(1, 6))
def test_every_predictable_element_is_scored_once_after_its_own_past(
    segment, context, lengths, carry, rows, window
):
    """Each element is scored once; its state has read the unbroken stretch before it, as far back
    as it must.
    """
    store = store_of(lengths)
    parts = split(store, Sequence(split=[0.5, 0.25, 0.25], carry=carry))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT", segment)
        patch.setattr(segments, "CONTEXT", context)
        for name in SPLITS:
            part = parts[name]
            found = read(reader_of(store), part, rows, window)
            assert sorted(found) == predictable(part)
            assert len(found) == part.steps
            for target, past in found.items():
                begin = store.starts[store.starts <= target].max()
                assert past == tuple(range(past[0], target))
                assert begin <= past[0]
                assert past[0] == begin or target - 1 - past[0] >= context


@laws
@given(lengths=ragged, rows=st.integers(1, 4), window=st.integers(1, 6))
def test_windows_and_rows_change_nothing(lengths, rows, window):
    """What is scored, and what has been read before it, is the same for every number of rows and
    window size.
    """
    store = store_of(lengths)
    part = split(store, Sequence(split=[1.0, 0.0, 0.0]))["train"]
    assert read(reader_of(store), part, rows, window) == read(reader_of(store), part, 64, 512)


def test_context_is_read_and_not_scored():
    """A validation split is primed with what comes before it, and none of that is counted."""
    store = store_of([20])
    part = split(store, Sequence(split=[10.0, 10.0, 0.0]))["validation"]
    ((batch,),) = [list(group) for group in segments.groups(reader_of(store), part)]
    assert batch.x[0].tolist() == list(range(19))
    assert batch.mask[0].tolist() == [False] * 9 + [True] * 10
    assert batch.y[batch.mask].tolist() == list(range(10, 20))


def test_an_empty_split_has_no_groups():
    """Nothing to predict is nothing to read."""
    store = store_of([5])
    part = split(store, Sequence(split=[1.0, 0.0, 0.0]))["test"]
    assert list(segments.groups(reader_of(store), part)) == []
    assert part.steps == 0
