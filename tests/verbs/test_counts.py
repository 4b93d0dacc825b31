"""Tasks whose loss counts: what a scaled 1 is in counts, and what cannot be counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import recurra
from recurra.errors import InputError
from recurra.job.data import load_data
from recurra.resolve import resolve

SMALL = [int(4 + 3 * np.sin(step / 2)) for step in range(70)]
SERIES = [SMALL, [200 * count + step % 3 for step, count in enumerate(SMALL)]]
TASK = {
    "schema": 1,
    "source": {"kind": "inline", "series": SERIES},
    "vocabulary": {"kind": "numeric", "scale": "mean", "scale_by": "series"},
    "sequence": {"length": 20, "split": ["rest", 5, 10], "split_by": "time"},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 8},
    "loss": {"kind": "negative_binomial"},
    "training": {
        "steps": 60,
        "batch_size": 2,
        "validate_every": 30,
        "optimizer": {"kind": "adam", "lr": 0.02},
    },
    "generation": {"length": 3},
}
SCALES = [
    {"scale": "none"},
    {"scale": "mean"},
    {"scale": "max", "scale_by": "series"},
    {"scale": "mean", "scale_by": "series"},
]
TARGETS = {
    "next": {"kind": "next"},
    "horizon": {"kind": "horizon", "length": 3},
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("vocabulary", SCALES, ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_a_batch_knows_what_one_is_in_counts(vocabulary, target):
    """Its answers times its scale are the counts of the data, whoever scales them."""
    task = {**TASK, "vocabulary": {"kind": "numeric", **vocabulary}, "target": TARGETS[target]}
    data = load_data(resolve(task))
    batch = next(iter(data.feed.epoch(0)))
    scale = batch.counted()
    assert scale.shape == batch.y.shape
    ahead = torch.arange(batch.y.shape[2]) if target == "horizon" else torch.zeros(1)
    counts = (batch.y * scale)[batch.mask]
    steps = torch.arange(batch.y.shape[1])[:, None] + ahead.long() + 1
    at = (batch.first[:, None, None] + steps).reshape(batch.mask.shape)[batch.mask]
    expected = torch.from_numpy(data.store.values[at.numpy()]).to(counts)
    torch.testing.assert_close(counts, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_run_counts(kind, target):
    """Its figures are in counts, its quantiles whole; what it says is above 0, and read back it is
    the same; small and large series are told by one network.
    """
    run = recurra.run({**TASK, "loss": {"kind": kind}, "target": TARGETS[target]})
    metrics = run.result["metrics"]
    assert metrics["mase"] < 2 and 0 < metrics["wql"] < 0.6
    assert metrics["width_80"] > metrics["width_20"] >= 0
    again = recurra.load(run.path).evaluate("test")["metrics"]
    assert again == pytest.approx(metrics, rel=1e-6)
    forecasts = []
    for series in SERIES:
        session = run.session().feed(series[:50])
        forecasts.append(session.forecast_step() if target == "next" else session.forecast()[0])
    assert 0 < forecasts[0][0] < 20 < 200 < forecasts[1][0] < 4000


def test_the_loss_is_that_of_the_counts_whatever_scales_them():
    """A network that gives the same means in counts has the same likelihood under each scale."""
    losses = []
    for vocabulary in SCALES[:2]:
        task = {
            **TASK,
            "loss": {"kind": "poisson"},
            "vocabulary": {"kind": "numeric", **vocabulary},
        }
        data = load_data(resolve(task))
        batch = next(iter(data.feed.epoch(0)))
        loss = resolve(task).parts["loss"].build(1)
        scale = batch.counted()[batch.mask]
        means = 300.0 / scale.double()
        output = torch.log(torch.expm1(means))
        output = torch.where(means > 30, means, output)
        counted = loss(output, batch.y[batch.mask].double(), scale.double())
        losses.append(float(counted.sum()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


REFUSED = [
    ({"vocabulary": {"kind": "numeric"}}, "no multiple of a count"),
    ({"vocabulary": {"kind": "numeric", "scale": "robust", "scale_by": "series"}}, "no multiple"),
    ({"vocabulary": {"kind": "numeric", "scale": "mean", "difference": 1}}, "no multiple"),
    ({"vocabulary": {"kind": "numeric", "scale": "none", "log": True}}, "logarithm|no multiple"),
    ({"vocabulary": {"kind": "numeric", "scale": "none", "box_cox": 0.5}}, "power|no multiple"),
    ({"target": {"kind": "horizon", "length": 3, "residual": "naive"}}, r"target\.residual"),
    (
        {"source": {"kind": "inline", "series": [SERIES[1], [*SMALL[:9], 2.5, *SMALL]]}},
        "2.5 is no co",
    ),
    ({"source": {"kind": "inline", "series": [[*SMALL, -3, *SMALL], SMALL]}}, "-3 is no count"),
    (
        {"vocabulary": {"kind": "numeric", "scale": "change", "scale_by": "series"}},
        "is no multiple",
    ),
]


@pytest.mark.parametrize(("tables", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_what_cannot_be_counted_is_refused(tables, named):
    """Before any training, with the reason, and where it is a number with its place."""
    with pytest.raises(InputError, match=named) as caught:
        recurra.check({**TASK, **tables})
    if f"{named}unt" in str(caught.value) or "-3 is" in named:
        assert "sequence" in str(caught.value) or "step" in str(caught.value)


def test_other_data_must_be_counts_too():
    """A run is not measured on what cannot be counted."""
    run = recurra.run({**TASK, "training": {**TASK["training"], "steps": 2, "validate_every": 1}})
    long = SMALL * 2
    other = [[float(count) for count in long], [0.5, *long]]
    with pytest.raises(InputError, match=r"0\.5 is no count"):
        run.evaluate(None, {"source.series": other})
    figures = run.evaluate(None, {"source.series": [long[::-1], long]})
    assert np.isfinite(figures["metrics"]["loss"])


def test_a_run_that_counts_goes_on(tmp_path):
    """Ended and resumed, it has the bits of one that went through."""
    whole = recurra.run({**TASK, "name": "whole"})
    half = {**TASK, "name": "half", "training": {**TASK["training"], "steps": 30}}
    run = recurra.run(half)
    run = recurra.resume(run.path, {"training.steps": 60})
    assert run.result["metrics"] == pytest.approx(whole.result["metrics"], rel=1e-6)
    assert Path(run.path).exists()
