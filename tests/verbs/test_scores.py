"""Scores of the steps of series: what they are, on what they hang, and which are flagged."""

from __future__ import annotations

import copy
import csv
import math

import numpy as np
import pytest
import torch
from asked import refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Laplace, Normal, Poisson, StudentT
from torch.nn.functional import cross_entropy, softplus

import recurra
from recurra.job.alarms import threshold

NAN = math.nan
RANDOM = np.random.default_rng(5)
SERIES = [RANDOM.normal(size=(90, 1)).cumsum(axis=0) * 0.3 + 4 for _ in range(6)]
TASK = {
    "source": {"kind": "given", "missing": "keep"},
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 12, "split": ["rest", 30, 20], "split_by": "time", "season": 4},
    "encoder": {"kind": "linear", "size": 4},
    "cell": {"kind": "gru", "hidden_size": 5},
    "loss": {"kind": "gaussian_nll"},
    "device": {"path": "native"},
    "training": {"steps": 6, "batch_size": 4, "optimizer": {"kind": "adam", "lr": 0.02}},
    "generation": {"length": 2},
    "seed": 3,
}
HORIZON = {"kind": "horizon", "length": 3}
WAYS = {
    "plain": {},
    "differences": {"vocabulary": {"kind": "numeric", "difference": 1}},
    "by series": {
        "vocabulary": {"kind": "numeric", "scale_by": "series", "difference": 1},
        "loss": {"kind": "laplace_nll"},
    },
    "student": {"loss": {"kind": "student_t"}},
    "a point": {"loss": {"kind": "huber"}},
    "quantiles": {"loss": {"kind": "quantile"}},
    "counts": {
        "loss": {"kind": "poisson"},
        "vocabulary": {"kind": "numeric", "scale": "mean", "scale_by": "series"},
    },
    "horizon": {"target": {**HORIZON, "residual": "naive"}},
    "decoded": {
        "target": {**HORIZON, "decoder": "cell", "residual": "seasonal_naive"},
        "vocabulary": {"kind": "numeric", "seasonal_difference": 4},
    },
}


def series_of(way):
    """Return what a run is made of; counts are whole."""
    return [np.floor(np.abs(3 * each)) for each in SERIES] if "counts" in way else SERIES


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return what gives a run of a kind: each is trained when it is first asked for."""
    runs = {}

    def run(way):
        if way not in runs:
            folder, data = tmp_path_factory.mktemp("scores"), series_of(way)
            runs[way] = recurra.run({**TASK, **WAYS[way]}, data=data, runs=folder)
        return runs[way]

    return run


def scored(run, rows, **more):
    """Return the scores of series, one array each, above a threshold that needs no data."""
    told = run.score(rows, **{"threshold": 0.0, **more}).frame
    found = {}
    for name, score in zip(told["unique_id"], told["score"], strict=True):
        found.setdefault(name, []).append(NAN if score is None else score)
    return [np.array(found[str(at)]) for at in range(1, len(rows) + 1)]


def by_hand(run, rows, history):
    """Return the scores `[T]` of a series that is fed to a session step by step.

    All transforms here are lines of what the network says: its answer is where the line meets what
    came, and so of what it says no more is taken than its numbers.
    """
    scores = np.full(len(rows), NAN)
    session = run.session().feed(rows[:history])
    for at in range(history, len(rows)):
        if session.stream.missing == 0 and not np.isnan(rows[at, 0]):
            zero, one = own(run, session, 0.0), own(run, session, 1.0)
            scores[at] = surprise(run, session, (rows[at, 0] - zero) / (one - zero), one - zero)
        session.feed(rows[at : at + 1])
    return scores


def own(run, session, answer):
    """Return what an answer of the network to the next step is in the data's units."""
    if run.outlook is None:
        return float(copy.copy(session.stream).undo(np.array([answer]))[0])
    answers = np.full((run.outlook.steps, 1), answer)
    return float(run.outlook.foreseen(answers, session.stream, session.trail)[0, 0])


def surprise(run, session, value, unit):
    """Return the score of a scaled number by what a session says of it; 1 is `unit` in counts."""
    raw = session.raw()[0].double().cpu()
    if run.outlook is not None:
        raw = raw[0]
    part = run.resolved.parts["loss"]
    kind, value = part.entry.component.name, torch.tensor(value, dtype=torch.float64)
    if kind in ("gaussian_nll", "laplace_nll", "student_t"):
        scale = softplus(raw[1]) + part.options.least
        law = {"gaussian_nll": Normal, "laplace_nll": Laplace}.get(kind)
        law = StudentT(2 + softplus(raw[2]), raw[0], scale) if law is None else law(raw[0], scale)
        return float(-law.log_prob(value))
    if kind == "poisson":
        return float(-Poisson(softplus(raw[0]) * unit).log_prob((value * unit).round()))
    if kind == "quantile":
        levels = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)[:, None]
        device = run.network.device
        loss, outputs = run.network.loss, raw.expand(999, -1).to(device)
        quantiles = loss.icdf(outputs, levels.to(device))[:, 0].cpu()
        below = float((quantiles <= value).double().mean())
        return -math.log(max(2 * min(below, 1 - below), 2e-3))
    return abs(float(value - session.expected()[0].double().reshape(-1)[0]))


@pytest.mark.parametrize("way", WAYS)
def test_scores_are_those_of_a_session_that_is_fed_step_by_step(way, made):
    """-log p of what came, by torch's own distributions; of a point the scaled error."""
    run = made(way)
    history = 12 if run.vocabulary.options.scale_by == "series" else 1
    rows = series_of(way)[2][:40].copy()
    if "counts" not in way:
        rows[[15, 16, 23]] = NAN
    (found,) = scored(run, [rows], history=history)
    wanted = by_hand(run, rows, history)
    close = {"rtol": 0.02, "atol": 0.05} if way == "quantiles" else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(found, wanted, **close)
    assert np.isfinite(found).sum() > 20


@pytest.mark.parametrize("way", ["plain", "by series", "decoded"])
@given(order=st.permutations(range(6)), count=st.integers(2, 6), data=st.data())
@settings(max_examples=3)
def test_no_score_hangs_on_other_series_nor_on_later_steps(way, order, count, data, made):
    """In any company and order, and with another end, a step scores what it scored."""
    run = made(way)
    some = [SERIES[place][: 30 + 7 * place] for place in order[:count]]
    together = scored(run, some)
    for rows, found in zip(some, together, strict=True):
        (alone,) = scored(run, [rows])
        np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)
    at = data.draw(st.integers(13, len(some[0]) - 1))
    other = some[0].copy()
    other[at:] = data.draw(st.sampled_from([-3.0, 40.0]))
    (changed,) = scored(run, [other])
    np.testing.assert_array_equal(changed[:at], alone_of(run, some[0])[:at])
    assert not np.array_equal(changed[at:], alone_of(run, some[0])[at:])


def alone_of(run, rows):
    (found,) = scored(run, [rows])
    return found


def test_what_was_expected_is_the_forecast_of_one_step(made):
    """In the data's units, as a session forecasts it; y is what came, nothing where it did not."""
    run, rows = made("differences"), SERIES[0][:20].copy()
    rows[7] = NAN
    told = run.score([rows], threshold=1.0).frame
    assert list(told) == ["unique_id", "ds", "y", "task", "score", "anomaly"]
    assert told["ds"] == list(range(20))
    assert told["y"][6:9] == [rows[6, 0], None, rows[8, 0]]
    assert told["score"][7] is None and told["anomaly"][7] is None
    session = run.session().feed(rows[:2])
    for at in range(2, 20):
        assert told["task"][at] == pytest.approx(session.copy().forecast_step()[0], rel=1e-5)
        session.feed(rows[at : at + 1])
    flags = [None if score is None else score > 1.0 for score in told["score"]]
    assert told["anomaly"] == flags


def test_a_threshold_leaves_a_share_of_ordinary_steps_above_it():
    """Of fresh scores like those of n that were seen, on average ceil((n + 1)(1 - a)) / (n + 1)
    are below.
    """
    random, share = np.random.default_rng(0), 0.05
    for count in (19, 20, 137):
        above = []
        for _ in range(2000):
            scores = np.sort(random.normal(size=count))
            above.append((random.normal(size=20) > threshold(scores, share)).mean())
        wanted = 1 - math.ceil((count + 1) * (1 - share)) / (count + 1)
        assert wanted <= share + 1e-9
        assert np.mean(above) == pytest.approx(wanted, abs=0.006)
    with refusal("18", "takes 19"):
        threshold(np.zeros(18), share)
    assert threshold(np.arange(19.0), share) == 18.0


def test_few_steps_of_fresh_noise_are_flagged(tmp_path, monkeypatch):
    """Calibrated on noise, a share near the one that was asked for of other noise is flagged."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    split = {**TASK["sequence"], "split": ["rest", 150, 10]}
    own = [random.normal(size=(200, 1)) for _ in range(8)]
    run = recurra.run({**TASK, "sequence": split}, data=own)
    fresh = [random.normal(size=(400, 1)) for _ in range(8)]
    told = run.score(fresh, alarm=0.05, own=own)
    assert told.calibration["split"] == "validation"
    assert told.calibration["scores"] == 1200
    flags = [flag for flag in told.frame["anomaly"] if flag is not None]
    assert len(flags) == 8 * 399
    assert np.mean(flags) == pytest.approx(0.05, abs=0.017)
    assert told.threshold == pytest.approx(1.96**2 / 2 + 0.92, abs=0.5)


def test_a_run_without_validation_says_that_training_has_been_seen(tmp_path, monkeypatch):
    """The threshold is then taken from training, and it is said."""
    monkeypatch.chdir(tmp_path)
    split = {**TASK["sequence"], "split": ["rest", 0, 20]}
    run = recurra.run({**TASK, "sequence": split}, data=SERIES)
    told = run.score(SERIES, own=SERIES)
    assert told.calibration["split"] == "train" and told.calibration["scores"] == 6 * 69


def test_text_is_scored_symbol_by_symbol(tmp_path, monkeypatch):
    """-log p of each symbol that came; their mean is what `predict` calls nats."""
    monkeypatch.chdir(tmp_path)
    tables = {name: TASK[name] for name in ("cell", "device", "training")}
    source = {"kind": "inline", "text": "the cat sat on the mat " * 12}
    run = recurra.run(
        {
            **tables,
            "source": source,
            "sequence": {"length": 8, "split": [0.6, 0.3, 0.1]},
            "vocabulary": {"kind": "character"},
            "encoder": {"kind": "one_hot"},
            "loss": {"kind": "cross_entropy"},
        }
    )
    text = "the hat"
    told = run.score([text], alarm=0.05)
    assert told.frame["y"] == [*text]
    ids = run.vocabulary.encode(text)
    session = run.session().feed(text[:1])
    for at in range(1, len(text)):
        wanted = cross_entropy(session.expected().cpu(), torch.tensor([ids[at]]))
        assert told.frame["score"][at] == pytest.approx(float(wanted), rel=1e-4)
        assert told.frame["task"][at] == session.likeliest(1)[0][0]
        session.feed(text[at])
    (answer,) = run.predict([text], horizon=0)
    assert np.mean(told.frame["score"][1:]) == pytest.approx(answer["nats"], rel=1e-4)


# Files, labels and refusals

LABELS = ["", "0", "true", "1", "False", "0.0"]


def written(path, series, labels, group=True):
    """Write series row by row, each step with its label."""
    names = ["place", "high", "odd"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names if group else names[1:])
        for name, (rows, own) in enumerate(zip(series, labels, strict=True)):
            for number, label in zip(rows[:, 0], own, strict=True):
                row = [f"s{name}", number, label]
                writer.writerow(row if group else row[1:])
    return path


@pytest.fixture(scope="module", params=["panel", "one"])
def of_file(request, tmp_path_factory):
    """Return a run of a csv file, and whether it has a group."""
    folder, grouped = tmp_path_factory.mktemp("file"), request.param == "panel"
    series = SERIES if grouped else SERIES[:1]
    path = written(folder / "own.csv", series, [[""] * 90] * len(series), grouped)
    source = {"kind": "csv", "path": str(path), "columns": ["high"]}
    if grouped:
        source["group"] = "place"
    return recurra.run({**TASK, "source": source}, runs=folder / "runs"), grouped


def test_labels_of_a_file_are_told_and_counted(of_file, tmp_path):
    """A column of 0 and 1, true and false; a step without one counts nowhere."""
    run, grouped = of_file
    series = [each[:24] for each in (SERIES if grouped else SERIES[:1])]
    labels = [[LABELS[(at * 5 + place) % 6] for at in range(24)] for place in range(len(series))]
    path = written(tmp_path / "new.csv", series, labels, grouped)
    told = run.score(file=path, labels="odd", threshold=2.0)
    means = {"": None, "0": False, "true": True, "1": True, "False": False, "0.0": False}
    assert told.frame["label"] == [means[label] for own in labels for label in own]
    same = run.score(file=path, threshold=2.0)
    assert same.frame == {name: told.frame[name] for name in same.frame} and same.figures is None

    pairs = [*zip(told.frame["anomaly"], told.frame["label"], strict=True)]
    counted = [(bool(flag), label) for flag, label in pairs if label is not None]
    hits = sum(flag and label for flag, label in counted)
    assert told.figures["steps"] == len(counted)
    assert told.figures["anomalous"] == sum(label for _, label in counted)
    assert told.figures["flagged"] == sum(flag for flag, _ in counted)
    assert told.figures["recall"] == hits / told.figures["anomalous"]
    unscored = sum(flag is None and label is not None for flag, label in pairs)
    assert told.figures["unscored"] == unscored


def test_a_frame_has_the_labels_of_its_steps(tmp_path):
    """Data at hand has labels as a file has them: numbers, flags, and what is missing."""
    data, rows = {"y": SERIES[0][:, 0]}, SERIES[0][:12, 0]
    run = recurra.run({**TASK, "sequence": {"length": 12}}, data=data, runs=tmp_path)
    kinds = [[1.0, 0.0, NAN] * 4, [True, False, True] * 4, [1, 0, 1] * 4, ["1", "", "false"] * 4]
    for labels in kinds:
        told = run.score(data={"y": rows, "odd": labels}, labels="odd", threshold=1.0)
        first = told.frame["label"][:3]
        assert first[0] is True and first[1] is not True


def test_what_cannot_be_scored_is_refused(of_file, made, tmp_path, monkeypatch):
    """Each with what is wrong: no such column, no label, no data, targets that foresee nothing."""
    run, grouped = of_file
    series = [each[:24] for each in (SERIES if grouped else SERIES[:1])]
    path = written(tmp_path / "new.csv", series, [["0"] * 23 + ["2"]] * len(series), grouped)
    with refusal("'2'", "step 23", "0, 1, true, false"):
        run.score(file=path, labels="odd", threshold=1.0)
    with refusal("no column 'even'"):
        run.score(file=path, labels="even", threshold=1.0)
    with refusal("labels is a column"):
        run.score([[1.0, 2.0]], labels="odd", threshold=1.0)
    with refusal("takes 999"):
        run.score([[1.0, 2.0]], alarm=0.001)
    for wrong in (0, 1, -0.1, "0.1", True, NAN):
        with refusal("alarm"):
            run.score([[1.0, 2.0]], alarm=wrong)
    with refusal("threshold"):
        run.score([[1.0, 2.0]], threshold=math.inf)
    with refusal("give one of them"):
        run.score([[1.0, 2.0]], threshold=1.0, alarm=0.1)
    with refusal("is not here", "or give a threshold"):
        recurra.load(made("plain").path).score([[1.0, 2.0]])
    with refusal("row 2"):
        made("plain").score([[1.0], ["x"]], threshold=1.0)
    told = made("plain").score([[1.0, 2.0], ["x"]], threshold=1.0, skip_bad=True)
    assert told.frame["error"][:2] == [None, None] and told.frame["error"][2]

    monkeypatch.chdir(tmp_path)
    labelled = recurra.run(
        {
            "source": {
                "kind": "inline",
                "texts": ["ab", "ba", "aa", "bb", "abb"],
                "labels": [*"xyxyx"],
            },
            "vocabulary": {"kind": "character"},
            "target": {"kind": "label"},
            "sequence": {"length": 4},
            "encoder": {"kind": "one_hot"},
            "cell": TASK["cell"],
            "loss": {"kind": "cross_entropy"},
            "training": {"steps": 2},
        }
    )
    with refusal("target 'label' foresees no step"):
        labelled.score(["ab"])


def test_series_without_a_score_are_counted(made):
    """Those that end with what is read before the first score, which the note says."""
    found = made("by series").score(data=[*SERIES[:2], SERIES[2][:12], SERIES[3][:7]], own=SERIES)
    scored = {name: False for name in found.frame["unique_id"]}
    for name, score in zip(found.frame["unique_id"], found.frame["score"], strict=True):
        scored[name] |= score is not None and math.isfinite(score)
    assert [*scored.values()] == [True, True, False, False]
    (note,) = found.notes
    assert note.startswith("2 of 4 series have no score, for the first 12 steps of each are read")
    assert not made("by series").score(data=SERIES[:2], own=SERIES).notes
