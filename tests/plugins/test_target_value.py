"""Numbers that answer a sequence: figures and simple rules against plain numpy, and whole runs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra
from recurra import Examples
from recurra.cli import show
from recurra.data.quantities import Quantities
from recurra.errors import InputError, RecurraError
from recurra.job.data import load_data
from recurra.job.report import Quantified
from recurra.resolve import resolve
from recurra_targets.deviation import Deviations
from recurra_targets.options import ValueOptions
from recurra_targets.value import Value
from recurra_targets.value_rules import value_rules

laws = settings(deadline=None, max_examples=25)
VALUE = Value(ValueOptions())

TASK = """\
schema = 1

[source]
kind = "inline"
series = {series}
labels = {labels}

[vocabulary]
kind = "numeric"

[target]
kind = "value"
pooling = "mean"

[sequence]
split = [0.6, 0.2, 0.2]

[encoder]
kind = "identity"

[cell]
kind = "gru"
hidden_size = 8

[loss]
kind = "mse"

[training]
steps = 60
batch_size = 8
optimizer = {{ kind = "adam", lr = 0.02 }}
"""


def task(folder, labels, series=None, **changes):
    """Write a task whose sequences are answered by `labels`: by default their mean and more."""
    series = series or [[float(value) for value in row] for row in sequences(len(labels))]
    text = TASK.format(series=json.dumps(series), labels=json.dumps(labels))
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path = folder / "value.toml"
    path.write_text(text, encoding="utf-8")
    return path


def sequences(count):
    """Return sequences of 3 to 8 numbers, each about a level of its own."""
    draw = np.random.Generator(np.random.Philox(5))
    return [draw.normal(draw.normal(), 0.3, draw.integers(3, 9)) for _ in range(count)]


def means(count):
    """Return what a network can learn of such sequences: their means, times a hundred."""
    return [round(100 * float(row.mean()), 3) for row in sequences(count)]


rows = st.lists(
    st.tuples(*[st.floats(-1e6, 1e6)] * 4).map(lambda row: (row[:2], row[2:])), min_size=1
)


@laws
@given(rows=rows, cuts=st.lists(st.integers(0, 40), max_size=3), far=st.sampled_from([0, 1e9]))
def test_figures_are_those_of_plain_numpy(rows, cuts, far):
    """However the rows are cut into blocks, rmse, mae and R² are the written formulas.

    A level that all share, however high, takes nothing of the digits of R².
    """
    predicted, came = (np.array([row[place] for row in rows]) + far for place in (0, 1))
    sums = Deviations(2)
    bounds = sorted({0, *(cut for cut in cuts if cut < len(rows)), len(rows)})
    for low, high in zip(bounds, bounds[1:], strict=False):
        sums.add(predicted[low:high], came[low:high])
    found = sums.metrics()

    error = predicted - came
    assert found["rmse"] == pytest.approx(math.sqrt((error**2).mean()), rel=1e-9, abs=1e-12)
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-9, abs=1e-12)
    spread = ((came - came.mean(axis=0)) ** 2).sum(axis=0)
    if (spread > 1e-3).all():
        r2 = (1 - (error**2).sum(axis=0) / spread).mean()
        assert found["r2"] == pytest.approx(r2, rel=1e-6, abs=1e-6)
    alone = sums.columns[1].metrics()
    assert alone["mae"] == pytest.approx(np.abs(error[:, 1]).mean(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("count", range(2, 12))
def test_rounding_is_no_variation(count):
    """The mean of six 0.1 is not 0.1: a column that is all one number has no R², nor a scale."""
    came = np.column_stack([np.full(count, 0.1), np.arange(count)])
    sums = Deviations(2)
    sums.add(came + 0.5, came)
    assert sums.metrics()["r2"] == pytest.approx(1 - 0.25 * count / came[:, 1].var() / count)
    made = Quantities()
    made.fit([list(came * 1e-5)])
    assert made.scale[0] == pytest.approx(1e-6)


def test_ridge_knows_no_units():
    """What ridge says of one number does not hang on the unit of another."""
    draw = np.random.Generator(np.random.Philox(6))
    parts = [draw.normal(size=(5, 1)) for _ in range(60)]
    noise = draw.normal(size=60)
    figures = []
    for unit in (1e-6, 1.0, 1e6):
        answers = [(part.sum(), unit * number) for part, number in zip(parts, noise, strict=True)]
        rules = value_rules(examples(parts[:40], answers[:40]), examples(parts[40:], answers[40:]))
        figures.append(rules["ridge"].columns[0].metrics()["r2"])
    assert figures == pytest.approx([figures[0]] * 3, rel=1e-6)


@pytest.mark.parametrize("kind", ["mse", "mae", "huber"])
def test_each_loss_of_numbers_trains(kind, tmp_path):
    """In float32, which is the default."""
    changes = {"loss.kind": kind, "training.steps": 4}
    run = recurra.run(task(tmp_path, means(20)), changes, runs=tmp_path / "runs")
    assert run.result["steps"] == 4


def test_what_never_varies_has_no_r2():
    """R² compares with the mean of what came: where that is right, there is nothing to explain."""
    sums = Deviations(1)
    sums.add(np.array([[1.0], [3.0]]), np.array([[2.0], [2.0]]))
    assert sums.metrics() == {"rmse": 1.0, "mae": 1.0}


def examples(parts, answers, elements="numbers", size=1):
    """Return sequences with the numbers that answer them."""
    ends = np.cumsum([len(part) for part in parts])
    begin = np.concatenate([[0], ends[:-1]])
    values = np.concatenate(parts)
    answers = np.asarray(answers, np.float64).reshape(len(parts), -1)
    return Examples(elements, values, begin, ends, begin, size, answers.shape[1], answers)


def test_rules_of_numbers_see_what_they_say():
    """The mean is numpy's; ridge is exact where a line is; 1-NN knows what it has seen."""
    draw = np.random.Generator(np.random.Philox(3))
    parts = [draw.normal(size=(6, 1)) for _ in range(60)]
    answers = [(2 * part[0, 0] - part[5, 0], part.sum()) for part in parts]
    train, held = examples(parts[:40], answers[:40]), examples(parts[40:], answers[40:])

    figures = {name: sums.metrics() for name, sums in value_rules(train, held).items()}
    wanted = np.abs(np.mean(answers[:40], axis=0) - np.array(answers[40:])).mean()
    assert figures["mean"]["mae"] == pytest.approx(wanted)
    assert figures["ridge"]["r2"] > 0.9999
    assert value_rules(train, train)["1-NN"].metrics()["rmse"] == 0
    assert value_rules(train, examples(parts[:1], answers[:1])).keys() == figures.keys()


def test_rules_of_symbols_count_them():
    """How often a symbol comes, and how long a text is, is a line that ridge finds."""
    draw = np.random.Generator(np.random.Philox(4))
    parts = [draw.integers(0, 4, draw.integers(2, 30)) for _ in range(80)]
    answers = [3.0 * (part == 2).sum() - len(part) for part in parts]
    train = examples(parts[:60], answers[:60], "symbols", 4)
    held = examples(parts[60:], answers[60:], "symbols", 4)
    assert value_rules(train, held)["ridge"].metrics()["r2"] > 0.999


@laws
@given(
    column=st.lists(
        st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=2), min_size=2, max_size=20
    )
)
def test_numbers_come_back_from_their_scale(column):
    """What is read, scaled, saved and taken back is what was written, but for rounding."""
    texts = [" ".join(map(repr, row)) for row in column]
    try:
        made = Quantities()
        made.fit([made.read(texts)])
    except InputError as error:
        assert "nothing to learn" in error.problems[0].fact
        return
    again = Quantities()
    again.restore(json.loads(json.dumps(made.save())))
    scaled = made.encode(made.read(texts))
    size = np.abs(column).max(axis=0)
    assert (np.abs(again.decode(scaled) - column) <= 1e-9 * size + 1e-300).all()
    assert (np.abs(scaled).max(axis=0) <= math.sqrt(len(column)) + 1).all()


def test_a_run_learns_and_its_predictions_are_its_figures(tmp_path):
    """The mean of a sequence is learned; predict gives numbers whose rmse is that of the run."""
    run = recurra.run(task(tmp_path, means(60)), runs=tmp_path / "runs")
    result = run.result
    assert result["metrics"]["r2"] > 0.8 and result["beats_baselines"] in (True, False)
    assert result["best_baseline"] in ("mean", "ridge", "1-NN")
    assert {row["sequence"] for row in result["most_wrong"]} <= set(range(1, 61))

    loaded = recurra.load(run.path)
    everything = [row["predicted"] for row in loaded.predict([list(s) for s in sequences(60)])]
    assert all(isinstance(number, float) for number in everything)
    for row in result["most_wrong"]:
        assert row["predicted"] == pytest.approx(everything[row["sequence"] - 1], rel=1e-4)
        assert row["came"] == pytest.approx(means(60)[row["sequence"] - 1], rel=1e-9)
    assert loaded.evaluate()["metrics"]["rmse"] == pytest.approx(result["metrics"]["rmse"])


def test_several_numbers_answer_a_sequence(tmp_path):
    """Each has a scale of its own; the verdict speaks of R², which has no unit."""
    labels = [f"{mean} {-mean / 1000 + 7}" for mean in means(60)]
    run = recurra.run(task(tmp_path, labels), runs=tmp_path / "runs")
    assert "R²" in run.result["verdict"] and run.result["metrics"]["r2"] > 0.8
    (row,) = recurra.load(run.path).predict([[1.0, 1.1, 0.9]])
    assert len(row["predicted"]) == 2 and abs(row["predicted"][1] - 7) < 1


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_answers_have_the_type_of_the_network(precision, tmp_path):
    """A loss sees two tensors of one type, and training is computed in none wider."""
    changes = {"device.precision": precision}
    resolved = resolve(task(tmp_path, means(20)), changes)
    batch = next(load_data(resolved).feed.epoch(0))
    assert batch.y.dtype == batch.x.dtype == getattr(torch, precision)
    assert batch.y.shape == (8, 1)


@pytest.mark.parametrize(
    ("labels", "code", "words"),
    [
        (["a", *means(9)], "RC042", "the answer to sequence 1 is no number"),
        ([*means(9), "nan"], "RC042", "the answer to sequence 10 is no number"),
        ([*means(9), "1e400"], "RC042", "sequence 10"),
        ([*means(9), "1_0"], "RC042", "sequence 10"),
        ([*means(9), "1e150"], "RC042", "above 1e+140 the squares of errors"),
        ([*means(9), "1 2"], "RC042", "answered by 2 numbers, and the first by 1 number"),
        ([3.5] * 10, "RC041", "answered by 3.5: there is nothing to learn"),
    ],
)
def test_answers_that_are_no_numbers_are_refused_with_their_sequence(labels, code, words, tmp_path):
    """Nothing is written, and the error says which sequence it is and what stands there."""
    with pytest.raises(RecurraError) as caught:
        recurra.run(task(tmp_path, labels), runs=tmp_path / "runs")
    assert caught.value.problems[0].code == code and words in caught.value.problems[0].fact
    assert not (tmp_path / "runs").exists()


def test_a_loss_of_classes_is_refused(tmp_path):
    """Numbers are answered, and the error names the losses that take them."""
    wrong = task(tmp_path, means(10), loss=('kind = "mse"', 'kind = "cross_entropy"'))
    with pytest.raises(RecurraError) as caught:
        recurra.check(wrong)
    (problem,) = caught.value.problems
    assert problem.code == "RC030" and "target 'value' gives numbers" in problem.fact
    assert "mse" in problem.allowed


def test_check_tells_what_the_answers_are(tmp_path, capsys):
    """How many numbers each, between what they lie, and their mean in training."""
    labels = [f"{number} {number % 2}" for number in range(20)]
    found = recurra.check(task(tmp_path, labels))
    assert found["answers"]["least"] == pytest.approx([0, 0], abs=1e-9)
    assert found["answers"]["greatest"] == pytest.approx([19, 1])
    show._answers(Quantified(2, {"shift": [9.5, 0.5]}, [0.0, 0.0], [19.0, 1.0]))
    told = "number 1: from 0 to 19, mean 9.5; number 2: from 0 to 1, mean 0.5"
    assert capsys.readouterr().out == f"answers     2 numbers each  {told}\n"


def test_a_figure_that_validation_cannot_have_says_why(tmp_path):
    """R² is no unknown metric: what came does not vary. A few equal answers are no reason."""
    labels = [1.0] * 4 + [2.0] * 16
    folds = ["validation"] * 4 + ["train"] * 16
    labels[10] = 5.0
    series = json.dumps(labels)
    path = task(
        tmp_path,
        labels,
        fold=("labels =", f"folds = {json.dumps(folds)}\nlabels ="),
        split=("split = [0.6, 0.2, 0.2]", ""),
    )
    with pytest.raises(RecurraError) as caught:
        recurra.check(path, {"training.monitor": "r2"})
    (problem,) = caught.value.problems
    assert problem.code == "RC014" and "has no R²: what came is the same" in problem.fact
    few = [*labels[:3], 9.0, *labels[4:]]
    path.write_text(path.read_text().replace(series, json.dumps(few)), encoding="utf-8")
    assert recurra.check(path, {"training.monitor": "r2"})


@pytest.mark.parametrize(
    ("came", "predicted", "told"),
    [
        (1.0, 2.0, ("1", "2")),
        (1234.5, 1234.567, ("1234", "1235")),
        ([1.0, 100000.5], [1.0, 100001.0], ("1, 100000", "1, 100001")),
        (0.1, 0.1, ("0.10000000000000001", "0.10000000000000001")),
        ("a", "b", ("a", "b")),
    ],
)
def test_answers_are_told_apart(came, predicted, told):
    """In as few digits as tell them apart, from four on."""
    assert show._told_apart(came, predicted) == told
