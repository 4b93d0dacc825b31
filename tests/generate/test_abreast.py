"""Forecasts of many series side by side: each is that of a session of its own, in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra
from recurra.generate import abreast
from recurra.generate.abreast import Start, forecasts
from recurra.generate.loop import numbers
from recurra.generate.session import Session

TASK = """
schema = 1
[source]
kind = "given"
[vocabulary]
kind = "numeric"
{vocabulary}
[target]
kind = "{target}"
{season}
[sequence]
length = 12
[encoder]
kind = "{encoder}"
[cell]
kind = "{cell}"
hidden_size = 3
[loss]
kind = "mse"
[training]
steps = 1
batch_size = 2
optimizer = {{ kind = "adam", lr = 0.01 }}
[generation]
length = 4
"""
SERIES = 'scale = "change"\nscale_by = "series"\ndifference = 1'
KINDS = {
    "plain": ("", "next", "gru", "identity"),
    "by series": (SERIES, "next", "lstm", "identity"),
    "at once": (SERIES, "horizon", "gru", "identity"),
    "by a decoder": (SERIES, "horizon", "gru", "identity"),
    "by scan": ("difference = 1", "next", "mingru", "linear"),
}
HORIZON = 4
AHEAD = {
    "at once": "length = 4",
    "by a decoder": 'length = 4\ndecoder = "cell"',
}


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    vocabulary, target, cell, encoder = KINDS[request.param]
    told = TASK.format(
        vocabulary=vocabulary,
        target=target,
        season=AHEAD.get(request.param, ""),
        cell=cell,
        encoder=encoder,
    )
    folder = tmp_path_factory.mktemp("abreast")
    (folder / "task.toml").write_text(told)
    draw = np.random.default_rng(0)
    data = [np.cumsum(draw.normal(size=40)) + 5 for _ in range(3)]
    return recurra.run(folder / "task.toml", data=data, runs=folder / "runs")


def alone(run, start):
    """Return the forecast of a session."""
    session = Session(
        run.network,
        run.vocabulary,
        position=start.position,
        known=start.known,
        outlook=run.outlook,
    )
    session.feed_ids(start.history)
    return np.stack([*numbers(session, HORIZON)])


def start(length, seed):
    """Return a series of random numbers, known by some of them."""
    draw = np.random.default_rng(seed)
    history = np.cumsum(draw.normal(size=(length, 1)), axis=0)
    return Start(history, seed % 3, history[: max(2, length // 2)] if seed % 2 else None)


lengths = st.lists(st.tuples(st.integers(3, 40), st.integers(0, 9)), min_size=1, max_size=9)


@settings(max_examples=15)
@given(drawn=lengths, size=st.integers(1, 9), steps=st.sampled_from([1, 7, 1 << 15]))
def test_each_is_forecast_as_alone(run, drawn, size, steps):
    """Whatever the lengths and the batch, forecasts are those of sessions."""
    starts = [start(length, seed) for length, seed in drawn]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abreast, "SERIES", size)
        patch.setattr(abreast, "STEPS", steps)
        made = [*forecasts(run.network, run.vocabulary, starts, HORIZON, run.outlook)]
    assert len(made) == len(starts)
    for own, found in zip(starts, made, strict=True):
        np.testing.assert_allclose(found, alone(run, own), rtol=1e-5, atol=1e-5)


@given(order=st.permutations(range(6)))
@settings(max_examples=5)
def test_order_changes_nothing(run, order):
    """Series in another order have the same forecasts."""
    starts = [start(length, seed) for seed, length in enumerate((3, 40, 17, 17, 8, 33))]
    first = [*forecasts(run.network, run.vocabulary, starts, HORIZON, run.outlook)]
    other = [starts[place] for place in order]
    made = [*forecasts(run.network, run.vocabulary, other, HORIZON, run.outlook)]
    for place, found in zip(order, made, strict=True):
        np.testing.assert_allclose(found, first[place], rtol=1e-5, atol=1e-5)


def test_one_that_is_not_finite_spoils_no_other(run):
    """A series beyond all numbers has none from there on; those beside it have theirs."""
    sound = [start(20, seed) for seed in range(3)]
    huge = Start(np.linspace(1, 2, 20)[:, None] * 1e30, 0, np.array([[0.0], [1e-6]]))
    made = [*forecasts(run.network, run.vocabulary, [*sound, huge], HORIZON, run.outlook)]
    for own, found in zip(sound, made, strict=False):
        np.testing.assert_allclose(found, alone(run, own), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        next(run.network.head.parameters()).fill_(float("nan"))
    broken = [*forecasts(run.network, run.vocabulary, sound, HORIZON, run.outlook)]
    assert all(np.isnan(each).all() and each.shape == (HORIZON, 1) for each in broken)
