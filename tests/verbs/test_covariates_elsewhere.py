"""Covariates in backtests, in frames of forecasts, and in a run that starts from another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import lines, refusal, table
from terminal import command

import recurra
from recurra.job.run import Run

TASK: dict[str, Any] = {
    "cell": {"kind": "rnn", "hidden_size": 3},
    "training": {"steps": 2, "batch_size": 2, "optimizer": {"kind": "sgd", "lr": 0.01}},
    "device": {"kind": "cpu", "path": "native", "precision": "float64"},
    "vocabulary": {"kind": "numeric"},
    "encoder": {"kind": "identity"},
    "loss": {"kind": "mse"},
    "sequence": {"length": 8, "split": [0.7, 0.1, 0.2], "split_by": "time"},
    "generation": {"length": 4},
}
NAMES = ["id", "day", "y", "price", "sky", "area"]
ROLES = {"future_covariates": ["price", "sky"], "static_covariates": ["area"]}
SOURCE = {"columns": ["y"], "group": "id", "time": "day", **ROLES}
AHEAD, STEPS = 5, 30
STILL = {"training.optimizer": {"kind": "sgd", "lr": 0.0}, "training.steps": 1}
Rows = list[list[Any]]


def rows(seed: int = 0, series: int = 3, ahead: int = AHEAD) -> Rows:
    """Return the rows of some series, one a day, the last with what is known of days to come."""
    stream = np.random.default_rng(seed)
    days = np.datetime64("2024-02-01") + np.arange(STEPS + ahead)
    return [
        [
            f"s{index}",
            str(days[step]),
            float(stream.normal()) if step < STEPS else None,
            float(stream.normal() * 5 + 9),
            str(stream.choice(["sun", "rain"])),
            index * 1.5,
        ]
        for index in range(series)
        for step in range(STEPS + ahead)
    ]


def columns(some: Rows) -> dict[str, list[Any]]:
    """Return rows as a dict of columns."""
    return {name: [row[at] for row in some] for at, name in enumerate(NAMES)}


def written(some: Rows, path: Path) -> Path:
    """Write rows as the end of a name says."""
    if path.suffix == ".csv":
        return table(path, NAMES, some)
    if path.suffix == ".jsonl":
        return lines(path, [dict(zip(NAMES, row, strict=True)) for row in some])
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns(some)), path)
    return path


def task(path: Path, **changed: Any) -> dict[str, Any]:
    """Return a task of a file."""
    source = {"kind": path.suffix[1:], "path": str(path), **SOURCE}
    return {**TASK, "name": "beside", "source": {**source, **changed}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    return recurra.run(task(written(rows(), home / "own.csv")), runs=home / "runs")


def by_hand(run: Run, own: Rows, cutoff: int, steps: int) -> list[float]:
    """Return what a session says that is fed one step after the other, up to a cutoff."""
    session = run.session(static_covariates={"area": own[0][5]})
    for row in own[:cutoff]:
        session.feed([row[2]], {"price": [row[3]], "sky": [row[4]]})
    known = [{"price": row[3], "sky": row[4]} for row in own[cutoff : cutoff + steps]]
    return [float(session.forecast_step(now)[0]) for now in known]


def test_a_backtest_says_what_a_session_does(run: Run, home: Path, tmp_path: Path) -> None:
    """At each cutoff, from what has come and what is known of the steps ahead."""
    some = rows(3)
    path = written(some, tmp_path / "new.csv")
    options: dict[str, Any] = {"folds": 3, "step": 2, "horizon": 4, "backtests": tmp_path / "b"}
    frame = run.backtest({"source.path": str(path)}, **options).frame()
    told = iter(frame["beside"])
    for fold in range(3):
        cutoff = STEPS - 4 - 2 * (2 - fold)
        for name in ("s0", "s1", "s2"):
            own = [row for row in some if row[0] == name]
            wanted = by_hand(run, own, cutoff, 4)
            assert [next(told) for _ in range(4)] == pytest.approx(wanted, rel=1e-9)
    assert next(told, None) is None
    came = {(row[0], row[1]): row[2] for row in some}
    days = [str(day)[:10] for day in frame["ds"]]
    pairs = zip(frame["unique_id"], days, strict=True)
    assert frame["y"] == [came[pair] for pair in pairs]


def test_a_fold_is_a_run_that_is_split_there(home: Path, tmp_path: Path) -> None:
    """A backtest that trains gives of one fold the forecast of a run, and its figures."""
    changes = {"sequence.split": [24, 2, 4]}
    made = task(written(rows(), tmp_path / "own.csv"))
    run = recurra.run(made, changes, runs=tmp_path / "runs")
    done = recurra.backtest(made, changes, folds=1, backtests=tmp_path / "b")
    found = run.result["forecast"]
    said = done.folder.forecasts(1)
    assert said is not None
    assert said.values[-1].tolist() == found["last_series"]["model"]
    for part in ("mae", "smape", "mase"):
        assert done.result["metrics"][part] == pytest.approx(found["metrics"][part], rel=1e-9)


def test_a_backtest_of_a_run_reads_its_covariates(run: Run, tmp_path: Path) -> None:
    """Data that lacks one of them is refused before anything is left."""
    path = written(rows(), tmp_path / "new.csv")
    lacking = {"source.path": str(path), "source.future_covariates": ["price"]}
    with refusal("price, sky"):
        run.backtest(lacking, folds=2, backtests=tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "given"])
def test_a_frame_goes_on_after_what_has_come(kind: str, run: Run, tmp_path: Path) -> None:
    """Whatever gives the rows: its days are those of the rows of steps to come, its numbers those
    of a session.
    """
    some = [*rows(4, 2, ahead=4), *rows(5, 1, ahead=4)]
    for row in some[-STEPS - 4 :]:
        row[0] = "other"
    if kind == "given":
        frame = run.forecast(data=columns(some), horizon=4)
    else:
        own = run
        if kind != "csv":
            made = task(written(rows(), tmp_path / f"own.{kind}"))
            own = recurra.run(made, runs=tmp_path / "runs")
            assert all(map(torch.equal, *(r.network.state_dict().values() for r in (own, run))))
        path = written(some, tmp_path / f"new.{kind}")
        frame = own.forecast(file=path, horizon=4)

    coming = [row for row in some if row[2] is None]
    assert list(frame) == ["unique_id", "ds", "beside"]
    assert frame["unique_id"] == [row[0] for row in coming]
    assert [str(day)[:10] for day in frame["ds"]] == [row[1] for row in coming]
    wanted = []
    for name in ("s0", "s1", "other"):
        own_rows = [row for row in some if row[0] == name]
        wanted += by_hand(run, own_rows, STEPS, 4)
    assert frame["beside"] == pytest.approx(wanted, rel=1e-9)


def test_what_a_run_knows_as_names_are_names(run: Run, tmp_path: Path) -> None:
    """Where a new file begins with what looks like a number, as one that training has not shown."""
    frames = []
    for unseen in ("fog", "7"):
        some = rows(10)
        for row in some[:3]:
            row[4] = unseen
        path = written(some, tmp_path / "new.csv")
        for new in ({"file": path}, {"data": columns(some)}):
            with pytest.warns(recurra.Unsuited, match=f"is {unseen!r}, which training"):
                frames.append(run.forecast(**new, horizon=4))
        figures = run.evaluate("all", {"source.path": str(path)})
        assert f"{unseen!r}" in " ".join(figures["notes"])
    assert all(frame == frames[0] for frame in frames)


def test_a_frame_of_a_series_that_cannot_be_forecast(run: Run, tmp_path: Path) -> None:
    """One whose covariates end early has its error in a row; the others are as without it."""
    some = rows(6)
    short = [row for row in some if row[0] != "s1" or row[2] is not None]
    path = written(short, tmp_path / "short.csv")
    with refusal("row s1", "0 of 4 steps can be forecast"):
        run.forecast(file=path, horizon=4)
    frame = run.forecast(file=path, horizon=4, skip_bad=True)
    whole = run.forecast(file=written(some, tmp_path / "whole.csv"), horizon=4)
    errors = dict(zip(frame["unique_id"], frame["error"], strict=True))
    assert errors["s0"] is errors["s2"] is None
    assert "0 of 4 steps can be forecast" in errors["s1"]
    kept = [at for at, name in enumerate(whole["unique_id"]) if name != "s1"]
    said = [value for value in frame["beside"] if value is not None]
    assert said == [whole["beside"][at] for at in kept]


def test_the_command_writes_the_frame(run: Run, tmp_path: Path) -> None:
    """Its csv holds what Python gives, to the last bit."""
    path = written(rows(7), tmp_path / "new.csv")
    output = tmp_path / "frame.csv"
    command("predict", run.path, path, "--horizon", "4", "--output", output).tidy(0)
    frame = run.forecast(file=path, horizon=4)
    head, *cells = output.read_text(encoding="utf-8").splitlines()
    assert head == "unique_id,ds,beside"
    assert [float(line.split(",")[2]) for line in cells] == frame["beside"]


def test_a_run_from_another_begins_with_its_figures(run: Run, home: Path, tmp_path: Path) -> None:
    """Its scales and categories are those of the other, whatever the new data holds; it goes on,
    and is opened, without the other's data.
    """
    same = recurra.run(run.path / "task.toml", STILL, start=run, runs=tmp_path / "same")
    assert same.evaluate("test")["metrics"] == run.evaluate("test")["metrics"]
    assert same.evaluate("test")["baselines"] == run.evaluate("test")["baselines"]

    other = rows(8)
    for row in other:
        row[3] *= 40
        row[4] = "fog" if row[4] == "rain" else row[4]
    path = written(other, tmp_path / "other.csv")
    new = recurra.run(task(path), STILL, start=run, runs=tmp_path / "new")
    assert new.covariates is not None and run.covariates is not None
    assert new.covariates.save() == run.covariates.save()
    assert all(map(torch.equal, *(each.network.state_dict().values() for each in (new, run))))
    mine, measured = new.evaluate("all"), run.evaluate("all", {"source.path": str(path)})
    for name in ("loss", "mae", "rmse", "smape"):
        assert mine["metrics"][name] == measured["metrics"][name]
    opened = recurra.load(new.path)
    assert opened.covariates is not None and opened.covariates.save() == run.covariates.save()
    further = recurra.resume(new.path, {"training.steps": 3})
    assert further.result["steps"] == 3 and np.isfinite([*further.generate()]).all()


def test_a_run_from_another_reads_the_same_columns(run: Run, tmp_path: Path) -> None:
    """More of them, fewer, or none are refused with both sides; so are some where there were
    none.
    """
    path = written(rows(), tmp_path / "own.csv")
    for changed in (
        {"future_covariates": ["price"]},
        {"future_covariates": ["sky", "price"]},
        {"future_covariates": ["price", "sky", "area"], "static_covariates": []},
    ):
        with refusal("future_covariates", "price, sky", "RC030"):
            recurra.run(task(path, **changed), start=run, runs=tmp_path / "new")
    past = written([row for row in rows() if row[2] is not None], tmp_path / "past.csv")
    plain = task(past, future_covariates=[], static_covariates=[])
    alone = recurra.run(plain, runs=tmp_path / "plain")
    with refusal("future_covariates", "price, sky", "RC030"):
        recurra.run(plain, start=run, runs=tmp_path / "new")
    with refusal("price"):
        recurra.run(task(path), start=alone, runs=tmp_path / "new")
    assert not (tmp_path / "new").exists() or not [*(tmp_path / "new").rglob("result.json")]


def test_the_command_starts_from_a_run(run: Run, tmp_path: Path) -> None:
    """`--from` gives what Python does, and a resumed run goes on by the command."""
    path = written(rows(9), tmp_path / "other.csv")
    made = ["-o", f"source.path={path}", "-o", "training.steps=1", "-o", "name=from"]
    place = ["--runs", str(tmp_path / "runs")]
    origin = run.path / "task.toml"
    command("run", origin, "--from", run.path, *made, *place).tidy(0)
    changes = {"source.path": str(path), "training.steps": 1, "name": "from"}
    other = recurra.run(origin, changes, start=run, runs=tmp_path / "python")
    mine = recurra.load(tmp_path / "runs" / "from")
    assert all(map(torch.equal, *(each.network.state_dict().values() for each in (mine, other))))
    told = command("evaluate", mine.path, "--split", "test", "--json").tidy(0)
    metrics = json.loads(told.out)["metrics"]
    assert metrics["mae"] == pytest.approx(other.evaluate("test")["metrics"]["mae"], rel=1e-12)
