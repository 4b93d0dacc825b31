"""The long format: unique_id, ds and y need not be named."""

from __future__ import annotations

import json
import tomllib

import pytest
from sheets import Sheet, gathered

import recurra
from recurra import InputError
from recurra_sources.given import Given, GivenOptions
from recurra_sources.parquet import Parquet, ParquetOptions

NAMES = ("ds", "unique_id", "y")
ROWS = [
    [f"2024-0{month}", name, month * size]
    for month in (1, 2, 3)
    for name, size in zip("ab", (1, 10), strict=True)
]
NAMED = {"columns": ["y"], "group": "unique_id", "time": "ds"}


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


def unnamed(sheet, **options):
    return sheet.source([], **options)


def told(source):
    """Return all that a source gives and says of its sequences."""
    pieces = [(piece.values.tolist(), dict(piece.columns)) for piece in source.read("numbers")]
    return pieces, source.timeline(), source.features(), source.named, dict(source.columns())


def test_columns_that_are_not_named_are_those_of_the_long_format(sheet):
    """All is as if they were named; and it is said."""
    sheet.write(NAMES, ROWS)
    source, named = unnamed(sheet), sheet.source(**NAMED)
    assert told(source) == told(named)
    assert gathered(source, "numbers") == [[[1], [2], [3]], [[10], [20], [30]]]
    assert "the long format: y of each unique_id, at the times of ds" in source.notes()
    assert named.notes() == source.notes()[1:]
    assert source.fingerprint() == named.fingerprint()


def test_parquet_and_data_at_hand_have_it_too(tmp_path):
    """A table of three such columns is one, whatever holds it."""
    columns = {name: [row[place] for row in ROWS] for place, name in enumerate(NAMES)}
    held = Given(GivenOptions())
    held.take(columns)
    assert gathered(held, "numbers") == [[[1], [2], [3]], [[10], [20], [30]]]
    assert str(held.timeline().frequency) == "month"
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table(columns), path)
    source = Parquet(ParquetOptions(path=str(path)))
    assert told(source) == told(Parquet(ParquetOptions(path=str(path), **NAMED)))


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("ds", "unique_id", "y", "price"), {}),
        (("ds", "unique_id", "value"), {}),
        (("unique_id", "y"), {}),
        (NAMES, {"group": "unique_id"}),
        (NAMES, {"time": "ds"}),
        (NAMES, {"group": "unique_id", "label": "ds"}),
    ],
)
def test_what_is_not_of_it_must_be_named(sheet, names, options):
    """The columns that there are stand in the error."""
    sheet.write(names, [["1"] * len(names)] * 2)
    with pytest.raises(InputError, match="it is not said which columns") as refused:
        gathered(unnamed(sheet, **options), "numbers")
    assert all(name in str(refused.value) for name in names)


@pytest.mark.parametrize(
    "names", [["ds", "y"], ["unique_id", "y"], ["unique_id", "ds", "y", "price"]]
)
def test_what_a_forecast_needs_is_suggested_and_is_read(sheet, names):
    """A table that has some of the long format is read once the keys of the error stand there."""
    rows = [
        ["a" if n == "unique_id" else f"2024-01-0{i}" if n == "ds" else str(i) for n in names]
        for i in (1, 2, 3)
    ]
    sheet.write(names, rows)
    with pytest.raises(InputError, match="for forecasts") as refused:
        gathered(unnamed(sheet), "numbers")
    said = refused.value.problems[0].cure.partition("for forecasts, ")[2].partition(";")[0]
    keys = tomllib.loads(said.replace(", ", "\n"))
    assert [row for piece in gathered(sheet.source(**keys), "numbers") for row in piece]


def test_rows_that_would_be_left_out_are_refused(sheet):
    """They would be gaps in time."""
    sheet.write(NAMES, ROWS)
    with pytest.raises(InputError, match="would be gaps in the times of ds"):
        gathered(unnamed(sheet, missing="drop"), "numbers")


def test_a_file_that_is_not_there_or_is_empty_is_told(sheet):
    """What is wrong is the file, and not the columns."""
    with pytest.raises(InputError, match=r"table\.(csv|jsonl)"):
        gathered(unnamed(sheet), "numbers")
    sheet.path.write_text("")
    with pytest.raises(InputError):
        gathered(unnamed(sheet), "numbers")


def test_another_file_is_of_the_long_format_by_itself(sheet, tmp_path):
    """For predictions the file of training need not be there any more."""
    sheet.write(NAMES, ROWS)
    source = unnamed(sheet)
    gathered(source, "numbers")
    other = Sheet(tmp_path, sheet.kind)
    other.path = tmp_path / f"new.{sheet.kind}"
    other.write(NAMES, [["2024-04", "c", 5], ["2024-05", "c", 6]])
    sheet.path.unlink()
    for begun in (source, unnamed(sheet)):
        (piece,) = begun.over(str(other.path)).read("numbers")
        assert piece.columns == {"series": "c", "time": "2024-04"}
        assert piece.values.tolist() == [[5], [6]]


def test_another_file_may_have_more_columns_and_must_have_these(sheet, tmp_path):
    """A run knows what it reads: others are left, and one that lacks is named."""
    source, other = unnamed(sheet.write(NAMES, ROWS)), Sheet(tmp_path, sheet.kind)
    other.path = tmp_path / f"new.{sheet.kind}"
    other.write(("price", *NAMES), [[9, *row] for row in ROWS])
    assert gathered(source.over(str(other.path)), "numbers") == gathered(source, "numbers")
    for place, name in enumerate(NAMES):
        other.write([n for n in NAMES if n != name], [r[:place] + r[place + 1 :] for r in ROWS])
        with pytest.raises(InputError, match=f"no column '{name}'"):
            gathered(source.over(str(other.path)), "numbers")


def test_a_task_without_columns_says_what_was_taken(tmp_path):
    """`check` tells the columns, how far stamps are apart, and from when to when; a run and what
    is predicted of new series are those of the task that names them.
    """
    sheet = Sheet(tmp_path, "csv").write(NAMES, ROWS)
    task = {
        "schema": 1,
        "source": {"kind": "csv", "path": str(sheet.path)},
        "vocabulary": {"kind": "numeric"},
        "sequence": {"length": 2},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "rnn", "hidden_size": 2},
        "loss": {"kind": "mse"},
        "training": {"steps": 1, "batch_size": 1, "optimizer": {"kind": "sgd", "lr": 0.01}},
        "generation": {"length": 2},
    }
    named = {**task, "source": {**task["source"], **NAMED}}
    notes = recurra.check(task)["data"]["notes"]
    assert notes == [
        "the long format: y of each unique_id, at the times of ds",
        "rows of several unique_id stand in between each other: those of each were brought"
        " together",
        "a time stamp every month, the first series from 2024-01 to 2024-03",
    ]
    runs = [recurra.run(each, runs=tmp_path / name) for name, each in (("a", task), ("b", named))]
    assert runs[0].result["generated"] == runs[1].result["generated"]
    records = [json.loads((run.path / "data.json").read_text()) for run in runs]
    assert records[0] == records[1]
    assert records[0]["timeline"] == {"frequency": "month", "numbers": "auto"}
    new = Sheet(tmp_path, "csv")
    new.path = tmp_path / "new.csv"
    new.write(NAMES, [["2025-01", "z", 5], ["2025-02", "z", 6]])
    answers = [[*run.predict(file=str(new.path))] for run in runs]
    assert answers[0] == answers[1] and len(answers[0]) == 1
