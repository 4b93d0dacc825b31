"""Tasks whose loss is a distribution: their figures, from `check` to `evaluate`."""

from __future__ import annotations

import math

import pytest

import recurra
from recurra.errors import InputError

VALUES = [math.sin(step / 3) + 0.3 * math.sin(step * step) for step in range(160)]
TASK = {
    "schema": 1,
    "source": {"kind": "inline", "values": VALUES},
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 20, "split": [0.6, 0.2, 0.2]},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 8},
    "training": {
        "steps": 40,
        "batch_size": 4,
        "validate_every": 20,
        "optimizer": {"kind": "adam", "lr": 0.02},
    },
    "generation": {"length": 4},
}
LOSSES = ["gaussian_nll", "laplace_nll", "student_t", "quantile"]
TARGETS = {
    "next": {},
    "horizon": {"target": {"kind": "horizon", "length": 3, "residual": "naive"}, "generation": {}},
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trained(kind, target="next", **tables):
    task = {**TASK, **TARGETS[target], "loss": {"kind": kind}, **tables}
    return recurra.run(task)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_run_says_how_good_its_distribution_is(kind, target):
    """Its figures stand beside those of its best guess, read back they are the same, and a state
    goes on.
    """
    run = trained(kind, target)
    figures = run.result
    metrics = figures["metrics"]
    assert {"mae", "crps", "wql", "coverage_80", "width_20", "winkler_60", "pinball_10"} <= {
        *metrics
    }
    assert 0 < metrics["coverage_80"] <= 1 and metrics["width_80"] > metrics["width_20"] > 0
    assert metrics["pinball_50"] * 2 <= metrics["mae"] * 1.5
    again = recurra.load(run.path).evaluate("test")
    assert again["metrics"] == pytest.approx(metrics, rel=1e-6)
    session = run.session().feed(VALUES[:30])
    session.save("state.safetensors")
    other = run.session().restore("state.safetensors")
    assert other.raw().shape[-1] == run.network.loss.output_size > 1
    if target == "next":
        assert other.forecast_step() == pytest.approx(session.forecast_step())
    else:
        assert other.forecast() == pytest.approx(session.forecast())


@pytest.mark.parametrize(
    ("loss", "monitor", "named"),
    [("mae", "wql", "loss, mae"), ("gaussian_nll", "coverage_95", "coverage_80")],
)
def test_a_figure_that_is_not_there_is_refused(loss, monitor, named):
    """Of another loss, or at another level, with those that there are."""
    training = {**TASK["training"], "monitor": monitor}
    with pytest.raises(InputError, match=r"training\.monitor") as caught:
        recurra.check({**TASK, "loss": {"kind": loss}, "training": training})
    assert named in str(caught.value)


def test_a_task_expects_figures_of_its_own_levels():
    """And is refused where they cannot hold."""
    loss = {"kind": "quantile", "levels": [0.025, 0.5, 0.975]}
    task = {**TASK, "loss": loss, "expect": {"metrics": {"coverage_95": [1.2, 1.4]}}}
    with pytest.raises(InputError, match=r"no coverage_95 can lie between 1\.2 and 1\.4"):
        recurra.check(task)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_report_counts_the_weights_of_all_outputs(kind):
    """The head is as wide as the loss asks, whatever the columns."""
    report = recurra.check({**TASK, "loss": {"kind": kind}})
    outputs = {"gaussian_nll": 2, "laplace_nll": 2, "student_t": 3, "quantile": 9}[kind]
    cell = 3 * 8 * (1 + 8) + 3 * 2 * 8
    assert report["parameters"] - outputs * 9 in (cell, cell - 3 * 8)


def test_several_columns_are_told_apart():
    """Each has figures of its own, and of all there are the means; one that weighs nothing in the
    loss may be worse, and the loss of the other is the better.
    """
    values = [[one, 100 * math.cos(step / 4)] for step, one in enumerate(VALUES)]
    run = trained("student_t", source={"kind": "inline", "values": values})
    metrics, columns = run.result["metrics"], run.result["columns"]
    for name in ("wql", "crps", "coverage_60"):
        each = [column["metrics"][name] for column in columns]
        assert metrics[name] == pytest.approx(sum(each) / 2)
    assert columns[1]["metrics"]["width_80"] > columns[0]["metrics"]["width_80"]


@pytest.mark.parametrize("kind", ["student_t", "quantile"])
def test_whole_sequences_are_answered_by_distributions(kind):
    """Their figures are in the units of the answers, as those of the best guess are."""
    series = [VALUES[start : start + 12] for start in range(60)]
    labels = [1000 * math.sin((start + 12) / 3) for start in range(60)]
    source = {"kind": "inline", "series": series, "labels": labels}
    sequence = {"length": 12, "split": [0.6, 0.2, 0.2]}
    tables = {"source": source, "sequence": sequence, "target": {"kind": "value"}}
    run = recurra.run({**TASK, "loss": {"kind": kind}, "generation": {}, **tables})
    metrics = run.result["metrics"]
    assert metrics["rmse"] > 10 and metrics["width_80"] > 10
    assert 0 < metrics["wql"] < 2 and 0 <= metrics["coverage_80"] <= 1
    assert math.isfinite(next(iter(run.predict(series[:2])))["predicted"])
