"""Forecasts of new series as a frame: what it holds, where it comes from, and how it is written."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked import ENCODER, Made, drawn, lines, made_in, refusal, said, table
from conftest import SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from terminal import command
from trials import about, write

import recurra
from recurra.job import predict
from recurra.job.frame import model_column
from recurra.job.run import Run
from recurra.runs import written

FEATURES = ("high", "low")
Series = list[tuple[str, list[list[float]]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_in(tmp_path_factory.getbasetemp() / "asked")


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of groups, each with a scale of its own, of one column."""
    folder = tmp_path_factory.mktemp("scaled")
    steps = [(f"s{index // 16}", 3 + (index * 7) % 5) for index in range(64)]
    table(folder / "data.csv", ["place", "high"], steps)
    text = about(SERIES, "csv", path="data.csv", columns=["high"], group="place")
    changes = {
        "device.path": "native",
        "training.steps": 6,
        "sequence.split_by": "time",
        "vocabulary": {"kind": "numeric", "scale_by": "series"},
    }
    return recurra.run(write(folder, text), changes, runs=folder / "runs")


def new(count: int = 5) -> Series:
    """Return new series with their names, of which one is a text that tables quote."""
    return [(f'n\r{index} ",', rows) for index, rows in enumerate(drawn("series", count))]


def put(series: Series, path: Path) -> Path:
    """Write series row by row."""
    rows = [(name, *row) for name, steps in series for row in steps]
    return table(path, ["place", *FEATURES], rows)


def columns_of(series: Series) -> dict[str, list[Any]]:
    """Return series as a dict of columns."""
    rows = [(name, *row) for name, steps in series for row in steps]
    names = ["place", *FEATURES]
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def by_hand(run: Run, series: Series, horizon: int) -> list[dict[str, Any]]:
    """Return the rows of a frame, from what is predicted of each series by itself."""
    model, frame = run.task.name, []
    for name, steps in series:
        (answer,) = run.predict([steps], horizon=horizon)
        for index, feature in enumerate(FEATURES):
            for ahead, row in enumerate(answer["predicted"]):
                unique_id = f"{name}/{feature}"
                frame.append({"unique_id": unique_id, "ds": len(steps) + ahead, model: row[index]})
    return frame


def rows_of(frame: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return the rows of a dict of columns."""
    return [dict(zip(frame, row, strict=True)) for row in zip(*frame.values(), strict=True)]


# What a frame holds


@given(order=st.permutations(range(5)), count=st.integers(1, 5), horizon=st.integers(1, 4))
@settings(max_examples=4, deadline=None)
def test_each_series_is_forecast_as_it_is_alone(
    order: list[int],
    count: int,
    horizon: int,
    made: Made,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """In any company and order, its steps are those after its last one, column after column."""
    run, some = made["series"], [new()[place] for place in order[:count]]
    path = put(some, tmp_path_factory.mktemp("new") / "new.csv")
    wanted = by_hand(run, some, horizon)
    found = rows_of(run.forecast(file=path, horizon=horizon))
    assert found == near(wanted)
    assert rows_of(run.forecast(data=columns_of(some), horizon=horizon)) == found


def near(rows: list[dict[str, Any]]) -> list[Any]:
    """Return rows whose numbers may differ in their last digits, as products of other sizes do."""
    return [
        {
            name: pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for row in rows
    ]


def test_rows_are_series_that_are_counted(made: Made) -> None:
    """Of rows and of arrays the frame counts the series from 1."""
    run, series = made["series"], [rows for _, rows in new(2)]
    counted = [(str(number), rows) for number, rows in enumerate(series, 1)]
    wanted = by_hand(run, counted, 2)
    named = ("column 0", "column 1")
    for row in wanted:
        number, feature = row["unique_id"].split("/")
        row["unique_id"] = f"{number}/{named[FEATURES.index(feature)]}"
    assert rows_of(run.forecast(series, horizon=2)) == near(wanted)


def test_units_of_one_series_are_its_own(scaled: Run, tmp_path: Path) -> None:
    """A million times the numbers of one series give a million times its forecasts, bit for bit
    nothing else.
    """
    series = {name: [row[0] + 1 for row in rows] for name, rows in new() if len(rows) > 1}
    other = {**series, next(iter(series)): [y * 2**20 for y in next(iter(series.values()))]}
    frames = []
    for each in (series, other):
        rows = [(name, y) for name, steps in each.items() for y in steps]
        path = table(tmp_path / "new.csv", ["place", "high"], rows)
        frames.append(rows_of(scaled.forecast(file=path, horizon=3)))
    model = scaled.task.name
    for before, after in zip(*frames, strict=True):
        times = 2**20 if before["unique_id"] == next(iter(series)) else 1
        assert after["ds"] == before["ds"]
        assert after[model] == pytest.approx(before[model] * times, rel=0 if times == 1 else 1e-5)


def test_a_series_with_new_rows_goes_on_after_them(scaled: Run, tmp_path: Path) -> None:
    """One that training has seen is read with what came since: it may end anywhere."""
    name, steps = "s0", [3 + (index * 7) % 5 for index in range(16)]
    for more in ([], [4.0], [4.0, 9.0, 5.0]):
        rows = [(name, y) for y in [*steps, *more]]
        frame = scaled.forecast(file=table(tmp_path / "a.csv", ["place", "high"], rows), horizon=2)
        (answer,) = scaled.predict([[*steps, *more]], horizon=2)
        assert frame["ds"] == [len(rows), len(rows) + 1]
        assert frame[scaled.task.name] == answer["predicted"]


def test_names_of_columns_are_no_others(tmp_path: Path) -> None:
    """A task that is called as another column gives its model a name of its own."""
    names = ("unique_id", "ds", "y", "cutoff", "error", "waves")
    assert [model_column(name) for name in names] == ["model"] * 5 + ["waves"]
    table(tmp_path / "data.csv", ["place", "high"], [("a", index % 3) for index in range(40)])
    text = about(SERIES, "csv", path="data.csv", columns=["high"], group="place")
    changes = {"name": "ds", "device.path": "native", "training.steps": 1}
    run = recurra.run(write(tmp_path, text), changes, runs=tmp_path / "runs")
    frame = run.forecast(file=tmp_path / "data.csv", horizon=1)
    assert list(frame) == ["unique_id", "ds", "model"]


# Where it comes from


@pytest.mark.parametrize("name", ["words", "strokes", "prose", "both"])
def test_data_at_hand_is_answered_as_rows_are(name: str, made: Made) -> None:
    """Whatever source the run has read, and without labels."""
    run, rows = made[name], drawn(name, 5)
    column = {"words": "word", "strokes": "x"}.get(name)
    data: Any = rows if column is None else {column: rows}
    assert list(run.predict(data=data)) == list(run.predict(rows))


def test_every_source_of_tables_gives_the_same(made: Made, tmp_path: Path) -> None:
    """The rows of a csv file, of JSON lines, of parquet and of Python, by a run of each."""
    steps = [(f"s{index // 8}", index % 5, index % 3) for index in range(64)]
    names = ["place", *FEATURES]
    data = {name: [step[place] for step in steps] for place, name in enumerate(names)}
    series = new(4)
    frames = {}
    for kind in ("csv", "jsonl", "parquet", "given"):
        folder = tmp_path / kind
        folder.mkdir()
        source: dict[str, Any] = {"kind": kind, "columns": [*FEATURES], "group": "place"}
        if kind != "given":
            source["path"] = str(tables(data, folder / f"data.{kind}"))
        text = about(SERIES, "csv", path="none.csv", columns=["high"])
        changes = {
            **ENCODER,
            "device.path": "native",
            "training.steps": 2,
            "source": source,
            "name": "same",
        }
        own = data if kind == "given" else None
        run = recurra.run(write(folder, text), changes, data=own, runs=folder / "runs")
        if kind != "given":
            path = tables(columns_of(series), folder / f"new.{kind}")
            frames[kind] = run.forecast(file=path, horizon=3)
            assert list(run.predict(data=columns_of(series))) == list(run.predict(file=path))
            (folder / f"data.{kind}").unlink()
            run = recurra.load(run.path)
        frames[f"data of {kind}"] = run.forecast(data=columns_of(series), horizon=3)
    first = frames.pop("csv")
    assert all(frame == first for frame in frames.values())


def tables(columns: dict[str, list[Any]], path: Path) -> Path:
    """Write a table as the end of its name says."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".jsonl":
        return lines(path, rows)
    if path.suffix == ".csv":
        return table(path, list(columns), [row.values() for row in rows])
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), path)
    return path


# How it is written


def test_a_frame_is_written_as_python_gives_it(made: Made, empty: Path) -> None:
    """A csv, JSON lines and both on the terminal hold its numbers to the last bit."""
    run, path = made["series"], put(new(), empty / "new.csv")
    frame = run.forecast(file=path, horizon=3)
    for output in ("a.csv", "a.JSONL"):
        ended = command("predict", run.path, path, "--horizon", "3", "--output", output).tidy(0)
        assert ended.out == f"wrote {len(frame['ds'])} predictions to {output}\n"
    with open("a.csv", encoding="utf-8", newline="") as file:
        text = file.read()
    assert text == command("predict", run.path, path, "--horizon", "3").tidy(0).out
    names, *cells = csv.reader(io.StringIO(text, newline=""))
    assert names == list(frame)
    kinds = (str, int, float)
    read = [[kind(cell) for kind, cell in zip(kinds, row, strict=True)] for row in cells]
    assert read == [list(row.values()) for row in rows_of(frame)]

    text = Path("a.JSONL").read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.split("\n")[:-1]] == rows_of(frame)
    assert text == command("predict", run.path, path, "--horizon", "3", "--json").tidy(0).out


@pytest.mark.parametrize("name", ["words", "strokes", "series", "verses", "prose"])
def test_parquet_holds_what_python_gives(name: str, made: Made, empty: Path) -> None:
    """Classes and their chances, texts, nats, frames, and the error of a row that has none."""
    parquet = pytest.importorskip("pyarrow.parquet")
    run = made[name]
    some: Any = {"rows": drawn(name, 4) if name != "verses" else ["to", "and"]}
    if name == "series":
        some = {"file": put(new(), empty / "new.csv")}
    told = run.table(**some, skip_bad=True)
    rows = list(told.rows)
    bad = {"row": "bad", "error": "it is"} if name != "series" else {"unique_id": "b", "error": "-"}
    written.write(empty / "a.parquet", [*rows, bad], told.kinds, "it is")
    read = parquet.read_table(empty / "a.parquet").to_pylist()
    assert read == [{column: row.get(column) for column in told.kinds} for row in [*rows, bad]]


def test_the_answer_to_each_step_is_a_list_in_parquet(empty: Path) -> None:
    """Of texts, of numbers, of several numbers; true and false are such."""
    parquet = pytest.importorskip("pyarrow.parquet")
    kinds: written.Kinds = {"a": "texts", "b": "numbers", "c": "rows", "d": "flag"}
    rows = [
        {"a": ["x", None], "b": [1.5, None], "c": [[1.0, 2.0], None], "d": True},
        {"b": [], "d": False},
        {},
    ]
    written.write(empty / "a.parquet", rows, kinds, "it is")
    read = parquet.read_table(empty / "a.parquet").to_pylist()
    assert read == [{name: row.get(name) for name in kinds} for row in rows]


@pytest.mark.parametrize("form", written.FORMS)
@pytest.mark.parametrize("before", [None, b"of yesterday"])
def test_a_fault_in_a_late_row_leaves_nothing(
    form: str,
    before: bytes | None,
    made: Made,
    empty: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a file nor a part of one; what stood there stays."""
    if form == ".parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(predict, "ROWS", 4)
    series = [*new(9), ("bad", [[1.0, 1e130]])]
    path = put(series, empty / "new.csv")
    output = empty / f"a{form}"
    if before is not None:
        output.write_bytes(before)
    held = sorted(file.name for file in empty.iterdir())
    ended = command("predict", made["series"].path, path, "--horizon", "1", "--output", output)
    ended.fails(2, "row bad: ", "beyond all numbers of torch.float32")
    assert sorted(file.name for file in empty.iterdir()) == held
    assert before is None or output.read_bytes() == before


def test_a_series_that_cannot_be_read_has_its_error(scaled: Run, empty: Path) -> None:
    """In a row of its own, and the others are forecast as without it."""
    good, bad = [("a", 1), ("a", 2), ("a", 4)], [("b", 3)]
    path = table(empty / "good.csv", ["place", "high"], good)
    wanted = scaled.forecast(file=path, horizon=2)
    path = table(empty / "new.csv", ["place", "high"], [*bad, *good])
    with refusal("row b: ", "one step alone has no scale"):
        scaled.forecast(file=path, horizon=2)
    frame = scaled.forecast(file=path, horizon=2, skip_bad=True)
    first, *others = rows_of(frame)
    assert first["unique_id"] == "b" and first["ds"] is None and "no scale" in first["error"]
    assert [{**row, "error": None} for row in rows_of(wanted)] == others


def test_without_pyarrow_parquet_is_refused(
    made: Made, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is read, with what brings it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ended = command(
        "predict", made["series"].path, put(new(), empty / "new.csv"), "--output", "a.parquet"
    )
    ended.fails(2, "pyarrow, which is not installed", "pip install 'recurra[data]'", "RC080")
    assert not Path("a.parquet").exists()


def test_what_no_frame_is_made_of_is_refused(made: Made, tmp_path: Path) -> None:
    """Answers to whole sequences, symbols, and no step at all."""
    with refusal("target 'label' answers each sequence, and a frame is of forecasts", "RC080"):
        made["words"].forecast(["ab"])
    with refusal("reads symbols, and a frame is of forecasts", "RC080"):
        made["prose"].forecast(["the"])
    path = put(new(), tmp_path / "new.csv")
    with refusal("no step is to be forecast", "give a horizon of 1 step or more", "RC080"):
        made["series"].forecast(file=path, horizon=0)
    with refusal("give rows, or a file of them, or data", "RC080"):
        made["series"].forecast(file=path, data={})
    for answer in made["series"].predict(file=path, horizon=0):
        assert said(answer) == {"predicted": []}


def test_data_of_another_form_is_refused(made: Made) -> None:
    """With the column that it lacks, or the form that it had."""
    with refusal("has no column 'low'", "RC040"):
        made["series"].forecast(data={"place": ["a"], "high": [1.0]})
    with refusal("has no columns, and [source] names some", "RC030"):
        made["series"].forecast(data=[np.arange(4.0)])
