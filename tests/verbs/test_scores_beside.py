"""Scores of series with covariates, and of files of each form with labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from terminal import command
from torch.distributions import Normal
from torch.nn.functional import softplus

import recurra

RANDOM = np.random.default_rng(2)
STEPS = 60
NUMBERS = {name: RANDOM.normal(size=STEPS).round(3) for name in ("y", "price", "rain")}
NAMES = {"weather": [["sun", "fog"][at % 3 == 0] for at in range(STEPS)]}
STAMPS = [f"2024-03-{1 + at // 24:02d} {at % 24:02d}:00" for at in range(STEPS)]
TASK = {
    "source": {
        "kind": "given",
        "columns": ["y"],
        "time": "ds",
        "past_covariates": ["rain"],
        "future_covariates": ["price", "weather"],
        "calendar": ["hour"],
    },
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 8, "split": ["rest", 16, 8]},
    "encoder": {"kind": "linear", "size": 6},
    "cell": {"kind": "gru", "hidden_size": 5},
    "loss": {"kind": "gaussian_nll"},
    "device": {"path": "native"},
    "training": {"steps": 8, "batch_size": 4, "optimizer": {"kind": "adam", "lr": 0.05}},
    "generation": {"length": 1},
}
TARGETS = {
    "next": {},
    "horizon": {"target": {"kind": "horizon", "length": 3}, "generation": {}},
    "decoded": {"target": {"kind": "horizon", "length": 2, "decoder": "cell"}, "generation": {}},
}


def table(count=STEPS):
    return {"ds": STAMPS[:count], **{name: values[:count] for name, values in
            (NUMBERS | NAMES).items()}}  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_covariates_are_read_as_a_session_reads_them(target, tmp_path):
    """Those of the past with their step, those of the future and of stamps ahead of it."""
    run = recurra.run({**TASK, **TARGETS[target]}, data=table(), runs=tmp_path)
    told = run.score(data=table(), threshold=1.0).frame
    assert told["score"][0] is None and len(told["score"]) == STEPS
    session = run.session(time=STAMPS[0])
    past, future = ("rain",), ("price", "weather")
    values = {**NUMBERS, **NAMES}
    for at in range(STEPS - 1):
        beside = {name: [values[name][at]] for name in past}
        beside |= {name: list(values[name][at : at + 2]) for name in future}
        fed = session.copy()
        fed.feed([[NUMBERS["y"][at]]], beside)
        if target == "next":
            raw = fed.raw()[0].double()
        else:
            raw = fed._say(1)[0, 0].double()
        scaled = run.vocabulary.encode(np.array([[NUMBERS["y"][at + 1]]]))[0, 0]
        scale = softplus(raw[1]) + run.resolved.parts["loss"].options.least
        wanted = -Normal(raw[0], scale).log_prob(torch.tensor(scaled))
        assert told["score"][at + 1] == pytest.approx(float(wanted), rel=1e-4, abs=1e-4)
        beside = {name: [values[name][at]] for name in (*past, *future)}
        session.feed([[NUMBERS["y"][at]]], beside)


PLAIN = {**{name: TASK[name] for name in TASK if name != "source"}}


@pytest.mark.parametrize("form", ["csv", "jsonl", "rows", "long", "parquet"])
def test_labels_are_read_of_each_form(form, tmp_path, monkeypatch):
    """Of a table of steps, of rows that hold a whole series each, and of the long format."""
    monkeypatch.chdir(tmp_path)
    values, labels = [0.5, 1.5, -1.0, 0.25] * 10, [0, 1, None, 0] * 10
    if form in ("csv", "long"):
        head = "unique_id,ds,y" if form == "long" else "a,y"
        rows = [f"s,{at + 1},{value}" if form == "long" else f"s,{value}"
                for at, value in enumerate(values)]  # fmt: skip
        own = [head, *rows]
        marks = ["odd", *("" if label is None else str(label) for label in labels)]
        put("own.csv", own)
        put("new.csv", [f"{row},{mark}" for row, mark in zip(own, marks, strict=True)])
    elif form == "jsonl":
        put("own.jsonl", [json.dumps({"a": "s", "y": value}) for value in values])
        pairs = zip(values, labels, strict=True)
        put("new.jsonl", [json.dumps({"a": "s", "y": value, "odd": odd}) for value, odd in pairs])
    elif form == "rows":
        put("own.jsonl", [json.dumps({"y": values, "part": "train"})] * 2)
        marks = ["-" if odd is None else str(odd) for odd in labels]
        put("new.jsonl", [json.dumps({"y": values, "odd": marks})])
    else:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {"a": ["s"] * 40, "y": values}
        parquet.write_table(arrow.table(columns), "own.parquet")
        parquet.write_table(arrow.table({**columns, "odd": labels}), "new.parquet")

    kind = {"rows": "jsonl", "long": "csv"}.get(form, form)
    source = {"kind": kind, "path": f"own.{kind}"}
    if form != "long":
        source["columns"] = ["y"]
    if form in ("csv", "jsonl", "parquet"):
        source["group"] = "a"
    if form == "rows":
        source["fold"] = "part"
    task = {**PLAIN, "source": source, "sequence": {"length": 8}}
    if form != "rows":
        task["sequence"] = {"length": 8, "split": ["rest", 10, 4], "split_by": "time"}
    run = recurra.run(task)
    told = run.score(file=f"new.{kind}", labels="odd", threshold=1.0)
    wanted = [None if odd is None else bool(odd) for odd in labels]
    assert told.frame["label"] == wanted and told.frame["y"] == values
    assert told.figures["steps"] == 30 and told.figures["anomalous"] == 10


def put(name, lines):
    with open(name, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def test_the_command_writes_scores_and_tells_what_is_flagged(tmp_path, monkeypatch):
    """A file of scores, the threshold and how well; to stdout rows alone. What is for scores is
    refused without them.
    """
    monkeypatch.chdir(tmp_path)
    rows = [f"{value},{at % 7 == 3:d}" for at, value in enumerate(NUMBERS["y"])]
    put("own.csv", ["y,odd", *rows])
    source = {"kind": "csv", "path": "own.csv", "columns": ["y"]}
    run = recurra.run({**PLAIN, "source": source})
    told = run.score(file="own.csv", labels="odd", alarm=0.1)
    asked = ("predict", str(run.path), "own.csv", "--score", "--alarm", "0.1", "--labels", "odd")
    ended = command(*asked, "--output", "out.csv").tidy(0)
    assert "wrote 60 scores to out.csv" in ended.out and "16 scores of the validation" in ended.out
    assert f"threshold: {told.threshold:.4g} nats" in ended.out and "by event:" in ended.out
    printed = command(*asked).tidy(0)
    with open("out.csv", encoding="utf-8") as file:
        assert printed.out == file.read()
    assert "by step:   precision" in printed.err
    assert "add --score" in command("predict", str(run.path), "own.csv", "--alarm", "0.1").err
    assert "no use beside --score" in command(*asked, "--horizon", "2").err
