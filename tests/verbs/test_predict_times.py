"""Forecasts carry the time stamps of what they foresee."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import recurra
from recurra import InputError, RecurraError
from recurra.cli.main import app

TRAINING = "unique_id,ds,y\n" + "".join(
    f"{name},2024-{month:02d},{month * size}\n"
    for month in range(1, 9)
    for name, size in (("a", 1), ("b", 3))
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of two series of months, side by side in a file that is gone."""
    folder = tmp_path_factory.mktemp("times")
    path = folder / "training.csv"
    path.write_text(TRAINING)
    task = {
        "schema": 1,
        "name": "times",
        "source": {"kind": "csv", "path": str(path)},
        "vocabulary": {"kind": "numeric"},
        "sequence": {"length": 4},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "rnn", "hidden_size": 2},
        "loss": {"kind": "mse"},
        "training": {"steps": 1, "batch_size": 1, "optimizer": {"kind": "sgd", "lr": 0.01}},
        "generation": {"length": 3},
    }
    made = recurra.run(task, runs=folder / "runs")
    path.unlink()
    return made


def new_file(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "new.csv"
    path.write_text("unique_id,ds,y\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_what_a_run_ends_with_says_when(run: Any) -> None:
    """The months after the last series; a prompt of the task has none."""
    assert run.result["ds"] == ["2024-09", "2024-10", "2024-11"]
    assert len(run.result["generated"]) == 3


def test_new_series_go_on_from_their_own_end(run: Any, tmp_path: Path) -> None:
    """Each has the stamps after its last row, whatever rows stand in between, and the numbers are
    those of the same series without stamps.
    """
    path = new_file(
        tmp_path, "q,2025-11,3", "r,1999-01,4", "q,2025-12,5", "r,1999-02,6", "r,1999-03,7"
    )
    loaded = recurra.load(run.path)
    answers = list(loaded.predict(file=path, horizon=2))
    assert [answer["ds"] for answer in answers] == [["2026-01", "2026-02"], ["1999-04", "1999-05"]]
    plain = list(loaded.predict([[[3.0], [5.0]], [[4.0], [6.0], [7.0]]], horizon=2))
    assert [answer["predicted"] for answer in answers] == [row["predicted"] for row in plain]
    assert all("ds" not in row for row in plain)
    assert list(answers[0]) == ["row", *loaded.predictor(2, stamped=True).columns()]


def test_the_command_writes_them_beside_the_numbers(run: Any, tmp_path: Path) -> None:
    """The data of the run need not be there any more."""
    path, out = new_file(tmp_path, "q,2025-11,3", "q,2025-12,5"), tmp_path / "out.csv"
    command = ["predict", str(run.path), str(path), "--horizon", "3", "--output", str(out)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["unique_id"] for row in rows] == ["q"] * 3
    assert [row["ds"] for row in rows] == ["2026-01", "2026-02", "2026-03"]
    (answer,) = recurra.load(run.path).predict(file=path, horizon=3)
    assert [float(row["times"]) for row in rows] == answer["predicted"]


def test_a_frame_has_moments(run: Any, tmp_path: Path) -> None:
    """In Python and in parquet a stamp is what other tools compute with; JSON lines have texts."""
    path = new_file(tmp_path, "q,2025-11,3", "r,2023-01,1", "q,2025-12,5")
    loaded = recurra.load(run.path)
    frame = loaded.forecast(file=path, horizon=2)
    months = [(2026, 1), (2026, 2), (2023, 2), (2023, 3)]
    assert frame["ds"] == [datetime(year, month, 1) for year, month in months]
    data = {"unique_id": ["q", "q", "r"], "ds": ["2025-11", "2025-12", "2023-01"], "y": [3, 5, 1]}
    assert loaded.forecast(data=data, horizon=2) == frame

    command = ["predict", str(run.path), str(path), "--horizon", "2", "--output"]
    out = tmp_path / "out.jsonl"
    assert CliRunner().invoke(app, [*command, str(out)], catch_exceptions=False).exit_code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["ds"] for row in rows] == [f"{year}-{month:02d}" for year, month in months]
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out.parquet"
    assert CliRunner().invoke(app, [*command, str(out)], catch_exceptions=False).exit_code == 0
    assert parquet.read_table(out).to_pydict() == frame


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["q,2025-11-01,3", "q,2025-11-02,5"], "a time stamp every day, and .* every month"),
        (["q,2025-11,3", "q,2026-01,5", "q,2026-02,6"], "1 step is missing, 2025-12"),
        (["q,2025-11,3", "q,2025-11,5"], "stands at line 2 too"),
        (["q,9999-12,3"], "cannot go on"),
    ],
)
def test_stamps_that_do_not_fit_are_refused(run: Any, tmp_path: Path, rows: Any, said: str) -> None:
    """Before anything is predicted of them."""
    with pytest.raises(InputError, match=said):
        list(recurra.load(run.path).predict(file=new_file(tmp_path, *rows), horizon=2))


def test_one_row_is_enough(run: Any, tmp_path: Path) -> None:
    """How far its stamps are apart is known of the run."""
    path = new_file(tmp_path, "q,2025-11,3", "r,2025-12-31,3")
    with pytest.raises(InputError, match="is a day, and 2025-11 at line 2 is a month"):
        list(recurra.load(run.path).predict(file=path, horizon=1))
    (answer,) = recurra.load(run.path).predict(file=new_file(tmp_path, "q,2025-11,3"), horizon=1)
    assert answer["ds"] == ["2025-12"]


@pytest.mark.parametrize("record", ['{"frequency": "often"}', '{"odd": "x"}', '"month"', "[]"])
def test_a_damaged_timeline_is_told(run: Any, tmp_path: Path, record: str) -> None:
    """With the file of the run that holds it."""
    data = run.path / "data.json"
    whole = data.read_text()
    held = json.loads(whole)
    held["timeline"] = json.loads(record)
    try:
        data.write_text(json.dumps(held))
        with pytest.raises(RecurraError, match=r"data\.json"):
            list(recurra.load(run.path).predict(file=new_file(tmp_path, "q,2025-11,3"), horizon=1))
    finally:
        data.write_text(whole)
