"""`[loss.columns.NAME]`: what a column weighs, in training, in evaluation, in a run read back."""

from __future__ import annotations

import numpy as np
import pytest

import recurra
from recurra.errors import InputError
from recurra.job.build import fresh_network
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.train.evaluate import evaluate

TASK = {
    "source": {"kind": "csv", "path": "", "columns": ["a", "b"]},
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 4, "split": [0.7, 0.3, 0]},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 3},
    "loss": {"kind": "mse"},
    "training": {"steps": 3, "batch_size": 2},
    "generation": {"length": 0},
    "device": {"kind": "cpu"},
}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "two.csv"
    at = np.arange(40)
    rows = "\n".join(f"{a:.3f},{b:.3f}" for a, b in zip(np.sin(at), at % 5, strict=True))
    path.write_text(f"a,b\n{rows}\n", encoding="utf-8")
    return {**TASK, "source": {**TASK["source"], "path": str(path)}}


def weighed(task, **columns):
    table = {name: {"weight": weight} for name, weight in columns.items()}
    return {**task, "loss": {**task["loss"], "columns": table}}


def losses(task):
    """Return the loss of the validation of an untrained network, and the gradient of its head."""
    resolved = resolve(task)
    data = load_data(resolved)
    network, _ = fresh_network(resolved, data)
    tally = evaluate(network, data.reader, data.splits["validation"], data.tally())
    (batch, *_) = data.feed.epoch(0)
    hidden, _ = network.hidden(batch.x)
    network.losses(hidden, batch.y).sum().backward()
    return tally.values()["loss"], network.head.weight.grad


def test_the_loss_is_the_weighted_mean_of_the_columns(task):
    """That of both columns, of either alone, and of weights: 3 a and 1 b are (3 a + b) / 4."""
    both, _ = losses(task)
    a, slope_a = losses(weighed(task, b=0))
    b, slope_b = losses(weighed(task, a=0))
    mixed, slope = losses(weighed(task, a=3))
    assert both == pytest.approx((a + b) / 2)
    assert mixed == pytest.approx((3 * a + b) / 4)

    # The head has a row for each column.
    assert not slope_a[1].any() and not slope_b[0].any()
    assert slope[0].numpy() == pytest.approx(slope_a[0].numpy() * 3 / 4, rel=1e-5)
    assert slope[1].numpy() == pytest.approx(slope_b[1].numpy() / 4, rel=1e-5)


def test_columns_without_names_are_called_by_their_places(task):
    """As in `[vocabulary.columns]`, from 0 on."""
    changed = {
        **task,
        "source": {"kind": "given"},
        "loss": {"kind": "mse", "columns": {"1": {"weight": 3}}},
    }
    resolved = resolve(changed, data=np.arange(80.0).reshape(40, 2))
    network, _ = fresh_network(resolved, load_data(resolved))
    assert network.column_weights == (0.5, 1.5)


def test_a_run_keeps_its_weights(task, tmp_path, monkeypatch):
    """Read back from its folder, it measures the loss that it was trained for."""
    monkeypatch.chdir(tmp_path)
    run = recurra.run(weighed(task, a=5))
    again = recurra.load(run.folder.path, "last")
    expected = run.evaluate("validation")["metrics"]
    assert again.evaluate("validation")["metrics"] == expected
    assert again.network.column_weights == pytest.approx((5 / 3, 1 / 3))


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"loss": {"kind": "mse", "columns": {"c": {"weight": 2}}}}, "RC013", "no column 'c'"),
        ({"loss": {"kind": "mse", "columns": {"a": {"weight": -1}}}}, "RC013", "at least 0"),
        (
            {"loss": {"kind": "mse", "columns": {"a": {"weight": 0}, "b": {"weight": 0}}}},
            "RC013",
            "nothing is left",
        ),
        (
            {"loss": {"kind": "cross_entropy", "columns": {"a": {"weight": 2}}}},
            "RC031",
            "scores no column by itself",
        ),
    ],
)
def test_weights_that_say_nothing_are_refused(task, change, code, words):
    """A name that is no column, a weight below 0, no weight at all, a loss without elements."""
    with pytest.raises(InputError, match=words) as refused:
        recurra.check({**task, **change})
    assert refused.value.problems[0].code == code
    assert refused.value.problems[0].key.startswith("loss.columns")
