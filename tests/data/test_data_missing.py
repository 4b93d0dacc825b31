"""Missing numbers: what came last is read, a mask says so, and nothing of it is scored."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data import missing
from recurra.data.batches import Reader
from recurra.data.chain import Chain, transformed
from recurra.data.store import Store
from recurra.data.stream import Stream
from recurra_vocabularies.moments import Moments
from recurra_vocabularies.numeric import Numeric, NumericOptions

NAN = math.nan
laws = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)

OPTIONS = {
    "plain": {},
    "log": {"log": True, "scale": "robust"},
    "difference": {"difference": 1},
    "seasonal": {"difference": 1, "seasonal_difference": 3, "box_cox": 0.5},
    "series": {"scale_by": "series", "scale": "change", "difference": 1},
}
transforms = pytest.mark.parametrize("kind", OPTIONS)


def holed(seed, count=24, features=2, share=0.3):
    """Return numbers above 0 of which some are missing, and where sequences begin."""
    random = np.random.default_rng(seed)
    rows = random.uniform(1, 9, (count, features))
    rows[random.random(rows.shape) < share] = NAN
    return rows, np.array([0, count // 2])


def vocabulary_of(kind, rows):
    vocabulary = Numeric(NumericOptions(**OPTIONS[kind]))
    vocabulary.missing = tuple(range(rows.shape[1]))
    vocabulary.fit([rows])
    return vocabulary


def last_seen(column):
    """Return what came last, by hand, and how long ago a column began, 0 before that."""
    filled, age, last, count = [], [], NAN, 0
    for number in column:
        last = last if math.isnan(number) else number
        count += not math.isnan(last)
        filled.append(last)
        age.append(count)
    return filled, age


@laws
@given(seed=seeds, cut=st.integers(0, 24))
def test_what_came_last_is_carried(seed, cut):
    """By hand, and in two parts as in one; 0 where nothing has come."""
    rows, _ = holed(seed)
    whole = missing.carry(rows, missing.begun(2))
    for column in range(2):
        filled, age = last_seen(rows[:, column])
        np.testing.assert_array_equal(whole.rows[:, column], np.nan_to_num(filled))
        np.testing.assert_array_equal(whole.age[:, column], age)

    first = missing.carry(rows[:cut], missing.begun(2))
    second = missing.carry(rows[cut:], first.state)
    np.testing.assert_array_equal(np.concatenate([first.rows, second.rows]), whole.rows)
    np.testing.assert_array_equal(second.state, whole.state)


@laws
@given(seed=seeds)
def test_what_came_last_is_looked_up(seed):
    """At any place, within its own sequence, and 0 before anything of that came."""
    rows, begins = holed(seed, share=0.6)
    places = np.random.default_rng(seed).integers(0, len(rows), 30)
    found = missing.observed(rows, begins[::-1], places)
    halves = [rows[: begins[1]], rows[begins[1] :]]
    columns = [[last_seen(half[:, column])[0] for half in halves] for column in range(2)]
    expected = np.nan_to_num(np.array([[*one, *two] for one, two in columns]).T)
    np.testing.assert_array_equal(found, expected[places])


@laws
@given(seed=seeds, kind=st.sampled_from(["max", "minmax", "mean", "robust", "standard"]))
def test_a_scale_is_that_of_what_came(seed, kind):
    """Each feature is scaled as if its missing rows were not there; without any the same bits."""
    rows, _ = holed(seed, count=40)
    moments = Moments(kind=kind)
    for part in np.array_split(rows, 3):
        moments.add(part)
    for column in range(2):
        alone = Moments(kind=kind)
        own = rows[~np.isnan(rows[:, column]), column : column + 1]
        alone.add(own)
        for found, expected in zip(moments.scale(), alone.scale(), strict=True):
            assert found[column] == pytest.approx(expected[0], rel=1e-12)


def test_a_feature_that_never_came_has_no_scale():
    """Shift 0 and scale 1, of every kind, and no warning."""
    rows = np.array([[1.0, NAN], [3.0, NAN]])
    for kind in ("max", "minmax", "mean", "none", "robust", "standard"):
        moments = Moments(1e-12, kind)
        moments.add(rows)
        shift, scale = moments.scale()
        assert (shift[1], scale[1]) == (0.0, 1.0)


def reader_of(vocabulary, rows, begins):
    chain = Chain(vocabulary)
    store = Store(rows, begins, "")
    chain.fit(store, _all_of(store))
    made = transformed(chain, store, lambda index: rows[_span(store, index)])
    return chain, Reader(
        store=store,
        encode=vocabulary.encode,
        dtype=torch.float64,
        rows=made,
        origins=chain.width,
        lag=chain.lag,
        flags=chain.flags,
        carried=store,
    )


def _all_of(store):
    from recurra.data.splits import Split

    return Split(store.starts, store.ends, store.starts)


def _span(store, index):
    return slice(int(store.starts[index]), int(store.ends[index]))


@transforms
@laws
@given(seed=seeds, first=st.integers(0, 20), steps=st.integers(1, 8))
def test_a_window_is_read_and_scored_as_by_hand(kind, seed, first, steps):
    """What stands for a missing number, its mask, its answer and what is scored; the number that
    undoing an answer gives is the one that came, and what came last in its origin.
    """
    rows, begins = holed(seed)
    vocabulary = vocabulary_of(kind, rows)
    chain, reader = reader_of(vocabulary, rows, begins)
    begin = begins[1] if first >= begins[1] else 0
    end = begins[1] if begin == 0 else len(rows)
    # What comes after the last element of all is nobody's answer.
    steps = min(steps, int(end) - first, len(rows) - 1 - first)
    spans = np.array([first]), np.array([steps]), np.array([first + 1])
    batch = reader.cut(*spans)

    own = rows[begin:end]
    came = ~np.isnan(own)
    ages = np.array([last_seen(own[:, column])[1] for column in range(2)]).T
    valued = came & (ages > chain.lag)
    inside = slice(first - begin, first - begin + steps)
    np.testing.assert_array_equal(batch.x[0, :, 2:].numpy(), valued[inside])
    assert torch.isfinite(batch.x).all()
    if kind == "plain":
        last = np.array([last_seen(own[:, column])[0] for column in range(2)]).T
        scaled = np.nan_to_num((last - vocabulary.shift) / vocabulary.scale)
        np.testing.assert_allclose(batch.x[0, :, :2].numpy(), scaled[inside], atol=1e-12)

    answers = np.arange(first, first + steps) + 1 - begin
    for step, at in enumerate(answers.tolist()):
        some = at < len(own) and valued[at].any()
        assert bool(batch.mask[0, step]) == bool(some)
        if not some:
            continue
        np.testing.assert_array_equal(~batch.y[0, step].isnan().numpy(), valued[at])
        predicted, actual = chain.own(batch.y[0, step : step + 1], batch.undo[0, step : step + 1])
        expected = np.where(valued[at], own[at], NAN)
        np.testing.assert_allclose(actual[0].numpy(), expected)
        np.testing.assert_allclose(predicted[0].numpy(), expected, rtol=1e-9)


@transforms
@laws
@given(seed=seeds, cut=st.integers(2, 11))
def test_a_stream_reads_what_a_window_does(kind, seed, cut):
    """Fed at once or in two parts, a session sees what training sees, bit for bit."""
    rows, begins = holed(seed)
    vocabulary = vocabulary_of(kind, rows)
    chain, reader = reader_of(vocabulary, rows, begins)
    own = rows[: begins[1]]
    batch = reader.cut(np.array([0]), np.array([len(own)]), np.array([1]))

    stream = Stream(chain, own if chain.by_series else None)
    parts = [stream.read(own[:cut]), stream.read(own[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), batch.x[0].numpy())

    again = Stream(chain).restored(stream.tensors())
    for one, other in zip(stream.states, again.states, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_missing_step_has_no_difference_and_the_next_one_all_of_it():
    """The difference to a missing value is that to the last that came."""
    rows = np.array([[1.0], [2.0], [NAN], [NAN], [7.0], [8.0]])
    vocabulary = Numeric(NumericOptions(scale="none", difference=1))
    vocabulary.missing = (0,)
    vocabulary.fit([rows])
    read = Stream(Chain(vocabulary)).read(rows)
    np.testing.assert_array_equal(read, [[0, 0], [1, 1], [0, 0], [0, 0], [5, 1], [1, 1]])
