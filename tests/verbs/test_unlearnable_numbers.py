"""Numbers that nothing can be learned of are told before training, by their file and their row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trials import write

import recurra
from recurra.data import intake
from recurra.errors import InputError

BASE: dict[str, Any] = {
    "schema": 1,
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 6, "split": [0.7, 0.2, 0.1]},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 4},
    "loss": {"kind": "mse"},
    "training": {"steps": 1, "batch_size": 1, "optimizer": {"kind": "adam", "lr": 0.01}},
    "generation": {"length": 1},
}
AT = 23
"""The row that is wrong, from 0."""
LENGTH = 60
VALUES = ["nan", "inf", "-inf", "1e300", "1e999"]
FORMS = ["csv", "jsonl", "lists", "array", "dict"]


def _columns(value: str, wrong: str) -> dict[str, list[float]]:
    """Return three columns, of which the `wrong` one holds a value that is none."""
    numbers = np.sin(np.arange(LENGTH)) + 2
    columns = {name: (numbers + at).tolist() for at, name in enumerate(("y", "c", "s"))}
    columns["s"] = [1.0] * LENGTH
    columns[wrong][AT] = float(value)
    return columns


def _task(folder: Path, form: str, value: str, wrong: str, read: dict[str, Any]) -> tuple[Any, Any]:
    """Return a task and the data that it is given, if any."""
    columns = _columns(value, wrong)
    if form == "csv":
        rows = [
            ",".join(columns),
            *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
        ]
        write(folder, "\n".join(rows) + "\n", "numbers.csv")
    elif form == "jsonl":
        rows = [
            json.dumps(dict(zip(columns, row, strict=True)))
            for row in zip(*columns.values(), strict=True)
        ]
        write(folder, "\n".join(rows) + "\n", "numbers.jsonl")
    if form in ("csv", "jsonl"):
        kind = {"kind": form, "path": str(folder / f"numbers.{form}")}
        return BASE | {"source": kind | read}, None
    if form == "dict":
        return BASE | {"source": read}, columns
    given = columns["y"]
    return BASE, np.array(given) if form == "array" else given


ROLES: dict[str, tuple[str, dict[str, Any]]] = {
    "the numbers": ("y", {"columns": ["y"]}),
    "a second column": ("c", {"columns": ["y", "c"]}),
    "what is past": ("c", {"columns": ["y"], "past_covariates": ["c"]}),
    "what is known ahead": ("c", {"columns": ["y"], "future_covariates": ["c"]}),
    "what stands": ("s", {"columns": ["y"], "static_covariates": ["s"]}),
}
"""The column that holds a number which is none, and how a task reads it."""


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("role", ROLES)
def test_a_number_that_is_none_is_told_with_its_row(
    role: str, form: str, value: str, tmp_path: Path
) -> None:
    """Of every source, in every column that is read: no folder is made, and the row is named."""
    wrong, read = ROLES[role]
    if form in ("lists", "array") and wrong != "y":
        return  # these have one column
    task, data = _task(tmp_path, form, value, wrong, read)
    with pytest.raises(InputError) as caught:
        recurra.run(task, data=data, runs=tmp_path / "runs")
    said = str(caught.value)
    # Lines are counted from 1, below a header; what a program gives from 0, as it counts itself.
    row = {"csv": rf"line {AT + 2}\b", "jsonl": rf"(line |jsonl:){AT + 1}\b"}.get(
        form, rf"row {AT}\b"
    )
    assert re.search(row, said) and caught.value.exit_code == 2
    assert not (tmp_path / "runs").exists()
    if form in ("csv", "jsonl"):
        assert f"numbers.{form}" in said


@pytest.mark.parametrize("value", ["nan", "inf", "1e300"])
def test_a_label_that_is_no_number_is_told_with_its_row(value: str, tmp_path: Path) -> None:
    """The same of the numbers that answer sequences."""
    texts = ["ab", "ba", "aab", "bba", "abb", "baa"] * 4
    answers = [str(index) for index in range(len(texts))]
    answers[AT - 5] = value
    rows = ["text,size", *(f"{text},{answer}" for text, answer in zip(texts, answers, strict=True))]
    write(tmp_path, "\n".join(rows) + "\n", "sizes.csv")
    changed = {
        "source": {"kind": "csv", "path": str(tmp_path / "sizes.csv"), "columns": ["text"],
                   "label": "size"},
        "vocabulary": {"kind": "character"}, "encoder": {"kind": "one_hot"},
        "target": {"kind": "value"}, "generation": {},
    }  # fmt: skip
    with pytest.raises(InputError) as caught:
        recurra.run(BASE | changed, runs=tmp_path / "runs")
    assert f"line {AT - 3}" in str(caught.value) and not (tmp_path / "runs").exists()


def test_sources_and_the_core_agree_on_the_largest_number() -> None:
    """What a table lets through is not refused after it, without its row."""
    from recurra_sources import numbers

    assert numbers.LARGEST == intake.LARGEST
    assert numbers.unusable(1e140) == "" == numbers.unusable(-1e140)
    assert "1e+140" in numbers.unusable(-1.0001e140)


@pytest.mark.parametrize("retrain", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_a_number_beyond_a_later_fold_is_told_before_the_first(
    beside: bool, retrain: bool, tmp_path: Path
) -> None:
    """One that overflows once it is scaled, before a later cutoff alone: no fold is trained."""
    columns = _columns("2.0", "y")
    columns["c" if beside else "y"][50] = 1e60
    source: dict[str, Any] = {"columns": ["y"]}
    task = BASE | {"source": source}
    if beside:
        source["past_covariates"] = ["c"]
        task |= {"target": {"kind": "horizon", "length": 2}}
    place = tmp_path / "backtests"
    with pytest.raises(InputError) as caught:
        recurra.backtest(
            task, data=columns, folds=6, step=3, horizon=2, retrain=retrain, backtests=place
        )
    assert "1e+60" in str(caught.value) and " 50" in str(caught.value)
    assert not place.exists()

    # What comes after the last cutoff is never read.
    columns["c" if beside else "y"][50] = 2.5
    columns["c" if beside else "y"][-1] = 1e60
    done = recurra.backtest(task, data=columns, folds=2, step=2, horizon=2, backtests=place)
    assert done.result["folds"] == 2


@pytest.mark.parametrize("value", ["inf", "1e60", "1e300"])
def test_other_data_and_sessions_are_told_as_well(value: str, tmp_path: Path) -> None:
    """What a run is given later is refused before the network reads it."""
    columns = _columns("2.0", "y")
    run = recurra.run(BASE, data=columns["y"], runs=tmp_path / "runs")
    columns["y"][AT] = float(value)
    with pytest.raises(InputError, match=str(AT)):
        run.evaluate("all", data=columns["y"])
    session = run.session()
    session.feed([1.0, 2.0])
    before = session.output.tolist()
    with pytest.raises(InputError):
        session.feed([1.0, float(value)])
    assert session.output.tolist() == before, "what is refused changes nothing"
    with pytest.raises(InputError):
        list(run.generate([1.0, float(value)]))
    answers = list(run.predict([columns["y"], [1.0, 2.0, 3.0]], skip_bad=True))
    assert len(answers) == 2
