"""Windows and lanes: what is scored, how often, in which order, and where states start afresh."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from corpora import ragged, reader_of, store_of, targets
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data.batches import Reader
from recurra.data.feeds import Lanes, Windows
from recurra.data.splits import split
from recurra.data.store import Store
from recurra.spec.tables import Sequence

laws = settings(deadline=None, max_examples=60)


def windows(lengths, length, stride=0, batch=2, seed=0):
    store = store_of(lengths)
    train = split(store, Sequence(split=[1.0, 0.0, 0.0]))["train"]
    return Windows.of(reader_of(store), train, length, stride, batch, seed)


def lanes(lengths, length, batch, restart=0.0):
    store = store_of(lengths)
    train = split(store, Sequence(split=[1.0, 0.0, 0.0], carry=True))["train"]
    return store, Lanes.of(reader_of(store), train, length, batch, restart, 7)


def predictable(lengths) -> list[int]:
    """Return the positions that something comes before in their own sequence."""
    store = store_of(lengths)
    return [at for at in range(len(store)) if at not in store.starts]


@laws
@given(lengths=ragged, length=st.integers(1, 7), batch=st.integers(1, 5), epoch=st.integers(0, 3))
def test_every_predictable_element_is_scored_exactly_once_an_epoch(lengths, length, batch, epoch):
    """Windows that do not overlap score each element that has a past once, whatever the ragged
    lengths are.
    """
    feed = windows(lengths, length, batch=batch)
    batches = list(feed.epoch(epoch))
    assert sorted(at for part in batches for at in targets(part)) == predictable(lengths)
    assert len(batches) == feed.batches
    assert sum(len(part.x) for part in batches) == feed.count


@laws
@given(lengths=ragged, length=st.integers(1, 7), stride=st.integers(1, 9), batch=st.integers(1, 4))
def test_each_window_has_a_step_to_score_and_stays_in_its_sequence(lengths, length, stride, batch):
    """Under any stride, also above the length: at least one scored step a window, no step twice or
    across a start.
    """
    feed = windows(lengths, length, stride, batch)
    seen = Counter()
    for part in feed.epoch(0):
        assert part.mask.any(dim=1).all()
        assert part.x.shape[1] <= length
        for x, y, mask in zip(part.x, part.y, part.mask, strict=True):
            scored = int(mask.sum())
            assert mask[:scored].all()  # the scored steps come first, then the filling
            assert torch.equal(y[:scored], x[:scored] + 1)
            assert torch.equal(x[:scored], x[0] + torch.arange(scored))
            seen.update(y[:scored].tolist())
    assert set(seen) <= set(predictable(lengths))
    if stride <= length:
        assert set(seen) == set(predictable(lengths))
        assert max(seen.values(), default=0) <= -(-length // stride)
    else:
        assert max(seen.values(), default=0) <= 1


def test_a_partial_window_is_filled_and_not_scored():
    """A window shorter than its batch repeats its last element under a false mask, and resets
    nothing there.
    """
    feed = windows([6, 3], 5)
    (batch,) = feed.epoch(0)
    rows = {row[0]: (row, mask, reset) for row, mask, reset in zip(*(part.tolist() for part in
            (batch.x, batch.mask, batch.reset)), strict=True)}  # fmt: skip
    assert rows[0] == ([0, 1, 2, 3, 4], [True] * 5, [True] + [False] * 4)
    assert rows[6] == ([6, 7, 7, 7, 7], [True, True, False, False, False], [True] + [False] * 4)


def test_each_epoch_has_an_order_of_its_own_and_a_seed_repeats_it():
    """Epochs differ from each other; the same epoch of the same seed is the same, of another seed
    another.
    """

    def order(seed, epoch):
        return [
            row
            for batch in windows([200], 2, batch=4, seed=seed).epoch(epoch)
            for row in batch.x.tolist()
        ]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert sorted(order(1, 0)) == sorted(order(2, 1))


@laws
@given(
    lengths=st.lists(st.integers(2, 12), min_size=1, max_size=6),
    length=st.integers(1, 5),
    batch=st.integers(1, 4),
    carry=st.booleans(),
    data=st.data(),
)
def test_skipping_resumes_exactly(lengths, length, batch, carry, data):
    """An epoch without its first batches is the rest of the whole epoch, to the element."""
    feed = lanes(lengths, length, batch, 0.5)[1] if carry else windows(lengths, length, batch=batch)
    whole = list(feed.epoch(3))
    skip = data.draw(st.integers(0, len(whole)))
    rest = list(feed.epoch(3, skip))
    assert len(rest) == len(whole) - skip
    for one, other in zip(rest, whole[skip:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@laws
@given(lengths=ragged, length=st.integers(1, 7), batch=st.integers(1, 4))
def test_lanes_put_together_are_the_stream(lengths, length, batch):
    """Lane after lane, window after window, the inputs are the corpus from its start, the targets
    one further.
    """
    store, feed = lanes(lengths, length, batch)
    parts = list(feed.epoch(0))
    assert len(parts) == feed.batches
    if not parts:
        assert len(store) - 1 < batch
        return
    x, y, mask, reset = (torch.cat(pieces, dim=1) for pieces in list(zip(*parts, strict=True))[:4])
    assert x.flatten().tolist() == list(range(x.numel()))
    assert torch.equal(y, x + 1)
    left_over = len(store) - 1 - x.numel()
    assert 0 <= left_over < batch

    fresh = torch.isin(y, torch.from_numpy(store.starts))
    assert torch.equal(mask, ~fresh)  # false exactly where the target begins another sequence
    begins = torch.isin(x, torch.from_numpy(store.starts))
    begins[:, 0] = True  # each lane begins with a fresh state
    assert torch.equal(reset, begins)
    assert max(Counter(y[mask].tolist()).values(), default=1) == 1


@laws
@given(
    lengths=ragged,
    length=st.integers(1, 7),
    batch=st.integers(1, 4),
    restart=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_a_restart_changes_nothing_but_the_state(lengths, length, batch, restart):
    """What is read, scored and reset, and where it stands, is the same whatever the chance to begin
    afresh.
    """
    plain, feed = (
        list(lanes(lengths, length, batch, chance)[1].epoch(2)) for chance in (0.0, restart)
    )
    for index, (one, other) in enumerate(zip(plain, feed, strict=True)):
        assert all(
            torch.equal(a, b) for a, b in zip(one, other._replace(fresh=one.fresh), strict=True)
        )
        assert one.fresh.all() if index == 0 else not one.fresh.any()
        assert other.fresh.all() if restart == 1.0 or index == 0 else True


def test_lanes_begin_afresh_as_often_as_the_chance_says():
    """Each lane, window and epoch draws for itself."""
    feed = lanes([8001], 4, 20, 0.25)[1]
    drawn = torch.stack(
        [batch.fresh for epoch in (0, 1) for batch in list(feed.epoch(epoch))[1:]]
    ).double()  # 198 20
    assert 0.22 < float(drawn.mean()) < 0.28
    assert 0.1 < float(drawn.mean(dim=0).min()) and float(drawn.mean(dim=0).max()) < 0.4
    assert not torch.equal(drawn[:99], drawn[99:])


def test_lanes_stay_in_their_split():
    """No lane reads or predicts beyond the training stretch."""
    store = store_of([50])
    train = split(store, Sequence(split=[30.0, 10.0, 10.0], carry=True))["train"]
    feed = Lanes.of(reader_of(store), train, 4, 3)
    assert max(int(batch.y.max()) for batch in feed.epoch(0)) <= 29


def test_numbers_are_scaled_when_they_are_read():
    """A series gives `[B, T, F]` of the asked type, through the vocabulary's encoding; ids stay
    integers.
    """
    values = np.arange(12, dtype=np.float64).reshape(6, 2)
    reader = Reader(Store(values, np.array([0]), ""), lambda rows: rows * 10, torch.float32)
    first = np.array([0, 3])
    batch = reader.cut(first, np.array([3, 2]), first)
    assert batch.x.dtype == batch.y.dtype == torch.float32
    assert batch.x.shape == (2, 3, 2)
    assert batch.x[1].tolist() == [[60, 70], [80, 90], [80, 90]]
    assert batch.y[1, :2].tolist() == [[80, 90], [100, 110]]
    assert batch.mask.tolist() == [[True] * 3, [True, True, False]]
    ids = Reader(
        Store(np.arange(9, dtype=np.uint8), np.array([0]), ""), lambda rows: rows, torch.float32
    )
    assert ids.cut(np.array([0]), np.array([4]), np.array([0])).x.dtype == torch.int64


@laws
@given(lengths=ragged, data=st.data())
def test_the_reader_masks_by_three_rules(lengths, data):
    """A step counts if it is inside its row, its target does not begin a sequence, and stands at or
    after a mark.
    """
    store = store_of(lengths)
    if len(store) < 2:
        return
    rows = data.draw(st.integers(1, 4))
    first = [data.draw(st.integers(0, len(store) - 2)) for _ in range(rows)]
    steps = [data.draw(st.integers(1, len(store) - 1 - at)) for at in first]
    marks = [data.draw(st.integers(0, len(store))) for _ in first]
    batch = reader_of(store).cut(*(np.array(part) for part in (first, steps, marks)))
    for row in range(rows):
        for t in range(batch.x.shape[1]):
            inside, target = t < steps[row], first[row] + t + 1
            scored = inside and target not in store.starts and target >= marks[row]
            assert bool(batch.mask[row, t]) == scored
            assert bool(batch.reset[row, t]) == (inside and target - 1 in store.starts)
            assert batch.x[row, t] == first[row] + min(t, steps[row] - 1)


@pytest.mark.parametrize("total", [0, 1])
def test_nothing_to_predict_is_no_batch(total):
    """A corpus of one element has no windows and no lanes."""
    feed = windows([1] * (total + 1), 4)
    assert (feed.count, feed.batches, list(feed.epoch(0))) == (0, 0, [])
    _, feed = lanes([1], 4, 2)
    assert (feed.count, feed.batches, list(feed.epoch(0))) == (0, 0, [])
