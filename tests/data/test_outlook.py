"""What is asked several steps ahead is the data's own, of one split, and undone from the origin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recurra.data.batches import Batch
from recurra.data.feeds import Lanes, Windows
from recurra.data.segments import groups
from recurra.data.splits import Split
from recurra.data.store import Store
from recurra.data.stream import Stream
from recurra.job.data import Data, load_data
from recurra.resolve import resolve

Floats = NDArray[np.float64]
Asked = dict[tuple[int, int], tuple[Floats, Floats]]
"""Of each origin and step ahead: what the network is asked, and what that is when it is undone."""

TRANSFORMS = st.fixed_dictionaries(
    {
        "scale": st.sampled_from(["max", "minmax", "standard"]),
        "scale_by": st.sampled_from(["all", "series"]),
        "box_cox": st.sampled_from(["none", 0.0, 0.5]),
        "difference": st.integers(0, 2),
        "seasonal_difference": st.sampled_from([0, 0, 3, 4]),
    }
)
RESIDUALS = ("none", "naive", "drift", "seasonal_naive", "seasonal_drift")
TARGETS = st.fixed_dictionaries(
    {
        "kind": st.just("horizon"),
        "length": st.integers(1, 9),
        "residual": st.sampled_from(RESIDUALS),
        "origin": st.sampled_from(["each", "last"]),
    }
)
PLAIN = {"kind": "horizon", "length": 4}


def panel(lengths: list[int], seed: int = 0, width: int = 1) -> list[Floats]:
    """Return series above 0 that wander."""
    draw = np.random.default_rng(seed)
    return [np.exp(draw.normal(0, 0.1, (size, width)).cumsum(axis=0)) for size in lengths]


def loaded(
    series: list[Floats], target: dict[str, Any], vocabulary: dict[str, Any] | None = None
) -> Data:
    """Return the data of a task of such series, of which the last fourth is held out."""
    task = {
        "schema": 1,
        "vocabulary": {"kind": "numeric", **(vocabulary or {})},
        "target": target,
        "sequence": {
            "length": 5,
            "season": 3,
            "split_by": "time",
            "split": [0.75, 0.0, 0.25],
        },
        "encoder": {"kind": "identity"},
        "cell": {"kind": "gru", "hidden_size": 4},
        "loss": {"kind": "mae"},
        "device": {"precision": "float64"},
        "training": {"batch_size": 1},
    }
    return load_data(resolve(task, data=series))


def asked(data: Data, batches: Iterator[Batch]) -> Asked:
    """Return all that batches ask; nothing twice."""
    found: Asked = {}
    outlook = data.reader.outlook
    assert outlook is not None
    for batch in batches:
        if not bool(batch.mask.any()):
            continue
        rows, steps, ahead = torch.nonzero(batch.mask, as_tuple=True)
        # A row that is filled up is not scored there.
        origins = (batch.first[rows] + steps).tolist()
        undone, _ = outlook.own(batch.y[batch.mask], batch.undo[batch.mask])
        places = zip(origins, (ahead + 1).tolist(), strict=True)
        for place, answer, own in zip(places, batch.y[batch.mask], undone, strict=True):
            assert place not in found, "asked twice"
            found[place] = answer.numpy(), own.numpy()
    return found


def evaluated(data: Data, split: Split, rows: int = 3, window: int = 4) -> Asked:
    """Return all that is asked of a split in evaluation."""
    return asked(
        data, (batch for group in groups(data.reader, split, rows, window) for batch in group)
    )


def by_hand(data: Data, split: Split, target: dict[str, Any]) -> set[tuple[int, int]]:
    """Return each origin and step ahead that is to be asked of a split."""
    length, places = target["length"], set()
    for low, high, begin in zip(split.low, split.high, split.begin, strict=True):
        first = max(low - 1, begin, begin + data.lag - 1)
        origins = range(first, high - 1)
        if target.get("origin") == "last":
            full = [at for at in origins if at + length < high]
            origins = full[-1:] or origins[:1]
        places |= {(at, h) for at in origins for h in range(1, length + 1) if at + h < high}
    return {(int(at), h) for at, h in places}


@settings(max_examples=25)
@given(
    TARGETS,
    TRANSFORMS,
    st.lists(st.integers(20, 40), min_size=1, max_size=4),
    st.integers(0, 99),
    st.sampled_from(["train", "test"]),
)
def test_what_is_asked_is_what_comes_in_the_split(
    target: dict[str, Any],
    transforms: dict[str, Any],
    lengths: list[int],
    seed: int,
    name: Any,
) -> None:
    """Every step of a split is asked from every origin that may be one, once, and no other is;
    undone it is what came, in evaluation and in training.
    """
    data = loaded(panel(lengths, seed, 2), target, transforms)
    split = data.splits[name]
    found = evaluated(data, split)
    assert found.keys() == by_hand(data, split, target)
    for (origin, ahead), (_, own) in found.items():
        assert own == pytest.approx(data.store.values[origin + ahead], rel=1e-9)

    windows = Windows.of(data.reader, split, 5, 0, 2, 0)
    trained = asked(data, iter(windows.epoch(0)))
    # Windows of training begin in their own split.
    inside = {place for place in found if (place[0] >= split.low).any()}
    begun = {
        (origin, ahead)
        for origin, ahead in inside
        if any(low <= origin < high for low, high in zip(split.low, split.high, strict=True))
    }
    if target["origin"] == "each":
        assert trained.keys() == begun
    else:
        assert trained.keys() >= begun
    for place in begun & found.keys():
        assert trained[place][0] == pytest.approx(found[place][0], rel=1e-12)


@settings(max_examples=10)
@given(TARGETS, TRANSFORMS, st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_neither_window_nor_company_changes_what_is_asked(
    target: dict[str, Any], transforms: dict[str, Any], rows: int, window: int, seed: int
) -> None:
    """Whatever the batch size and the window, each step is asked alike, and so is that of a series
    alone, whatever others there are.
    """
    series = panel([30, 21, 37], seed)
    data = loaded(series, target, transforms)
    split = data.splits["test"]
    found, other = evaluated(data, split, 64, 512), evaluated(data, split, rows, window)
    assert found.keys() == other.keys()
    assert all(np.array_equal(found[place][0], other[place][0]) for place in found)

    # Alone with the scale that was fitted among others.
    own = Store(series[1], np.array([0]), "")
    alone = replace(data.reader, store=own)
    if data.reader.rows is not None:
        rows_of_one = data.reader.rows.values[30:51]
        alone = replace(alone, rows=Store(rows_of_one, np.array([0]), ""))
    part = replace(split, low=split.low[1:2] - 30, high=split.high[1:2] - 30, begin=split.begin[:1])
    apart = evaluated(replace(data, reader=alone), part)
    assert {(at + 30, h) for at, h in apart} == {place for place in found if 30 <= place[0] < 51}
    for (at, h), (answer, _) in apart.items():
        assert np.array_equal(answer, found[at + 30, h][0])


@settings(max_examples=15)
@given(TARGETS, TRANSFORMS, st.integers(0, 99))
def test_nothing_after_an_origin_is_seen_at_it(
    target: dict[str, Any], transforms: dict[str, Any], seed: int
) -> None:
    """Other numbers after an origin change no bit of what is read up to it, nor of what an answer
    at it means.
    """
    series = panel([32], seed)
    data = loaded(series, {**target, "origin": "each"}, transforms)
    split = data.splits["test"]
    origin = 27
    changed = [series[0].copy()]
    changed[0][origin + 1 :] *= 3.0
    other = loaded(changed, {**target, "origin": "each"}, transforms)

    meanings = []
    for each in (data, other):
        first, steps = np.array([20]), np.array([origin - 20 + 1])
        batch = each.reader.cut(first, steps, first, split.high)
        outlook = each.reader.outlook
        assert outlook is not None
        said = torch.full((target["length"], 1), 0.3, dtype=torch.float64)
        own, _ = outlook.own(said, batch.undo[0, -1])
        meanings.append((batch.x, own))
    assert all(torch.equal(one, two) for one, two in zip(*meanings, strict=True))


@settings(max_examples=25)
@given(TARGETS, TRANSFORMS, st.integers(10, 30), st.integers(0, 99))
def test_a_path_is_undone_as_a_stream_undoes_it_step_by_step(
    target: dict[str, Any], transforms: dict[str, Any], count: int, seed: int
) -> None:
    """What a network says of all steps at once are the numbers that a stream gives which is told
    each of them after the other.
    """
    data = loaded(panel([40], seed, 2), target, transforms)
    outlook = data.reader.outlook
    assert outlook is not None
    through, values = outlook.chain, data.store.values[:count]
    if count <= through.lag:
        return
    stream, trail = Stream(through, values), outlook.trail(2)
    stream.read(values)
    for part in np.array_split(values, 3):
        trail = trail.after(through.scaled(part))
    answer = np.random.default_rng(seed).normal(0, 0.05, (outlook.steps, 2))
    path = outlook.foreseen(answer, stream, trail)
    if not (path > 0).all():
        return  # no number has such a power or logarithm

    states = through.start(through.scaled(values))
    _, states = through.apply(through.scaled(values), states, 0)
    rows, _ = through.apply(through.scaled(path), states, count)
    by_step = np.stack([stream.undo(row) for row in rows])
    assert path == pytest.approx(by_step, rel=1e-7)

    # The same origin, as a batch has it.
    batch = data.reader.cut(*(np.array([at]) for at in (0, count, 0)))
    own, _ = outlook.own(torch.from_numpy(answer), batch.undo[0, -1])
    if transforms["scale_by"] == "all":
        assert own.numpy() == pytest.approx(path, rel=1e-9)


def test_what_is_known_beforehand_is_that_of_the_rules() -> None:
    """Each residual is what a loop says that reads the past alone."""
    values, season, steps = panel([17], 3)[0], 3, 7
    for residual in RESIDUALS[1:]:
        data = loaded([values], {**PLAIN, "length": steps, "residual": residual}, {"scale": "none"})
        found = evaluated(data, data.splits["train"])
        for (origin, ahead), (answer, own) in found.items():
            past = values[: origin + 1, 0]
            last, known = past[-1], len(past)
            expected = last
            seasons = -(-ahead // season)
            if residual == "drift" and known > 1:
                expected = last + ahead * (last - past[0]) / (known - 1)
            elif residual.startswith("seasonal") and known >= season:
                expected = past[-season:][(ahead - 1) % season]
                changes = past[season:] - past[:-season]
                if residual == "seasonal_drift" and len(changes):
                    expected += seasons * changes.mean()
            assert own[0] - answer[0] == pytest.approx(expected, rel=1e-9), (residual, origin)


def test_lanes_ask_across_windows_and_never_across_sequences() -> None:
    """Of a stream of several series each origin is asked what comes in its own one."""
    series = panel([14, 5, 23], 1)
    data = loaded(series, {**PLAIN, "residual": "drift"}, {"scale": "none"})
    values = np.concatenate(series)
    ends = np.cumsum([len(each) for each in series])
    low = np.array([0, *ends[:-1]])
    lanes = Lanes.of(data.reader, Split(low, ends, low, ahead=4), 4, 3)
    found = asked(data, iter(lanes.epoch(0)))
    lane = (42 - 1) // 3
    places = {
        (at, h)
        for at in range(3 * lane)
        for h in range(1, 5)
        if at + h < ends[np.searchsorted(ends, at, side="right")]
    }
    assert found.keys() == places
    for (at, h), (_, own) in found.items():
        assert own == pytest.approx(values[at + h], rel=1e-12)
