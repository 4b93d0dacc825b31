"""Runs as data: listed, filtered and held against each other, whatever is wrong with one."""

from __future__ import annotations

import csv
import io
import json
import math
import operator
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import HELLO
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import recurra
from recurra import system
from recurra.cli.main import app
from recurra.errors import InputError, RunError
from recurra.runs.listing import FIELDS, STATES, described, value_of
from recurra.runs.records import LOCK


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs of one task, of another width each."""
    home = tmp_path_factory.mktemp("made")
    (home / "task.toml").write_text(HELLO)
    for width in (3, 4):
        recurra.run(home / "task.toml", {"cell.hidden_size": width}, runs=home / "runs")
    return home


def copied(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the first run, which may be damaged."""
    return Path(shutil.copytree(made / "runs" / "task" / "1", tmp_path / "runs" / "task" / "1"))


def written(path: Path, value: float, name: str) -> None:
    """Write a run's folder with no more in it than a list needs."""
    path.mkdir(parents=True)
    (path / "checkpoints").mkdir()
    (path / "task.toml").write_text(f'name = {json.dumps(name)}\n[cell]\nkind = "recurra/gru"\n')
    figure: Any = value if math.isfinite(value) else str(value)
    (path / "result.json").write_text(json.dumps({"metrics": {"loss": figure}, "steps": 7}))


def test_a_row_says_what_the_result_says(made: Path) -> None:
    """Figures, baseline and verdict are those of result.json, the task those of task.toml."""
    rows = recurra.runs_in(made / "runs")
    assert [row["run"] for row in rows] == [str(made / "runs" / "task" / n) for n in ("1", "2")]
    for row, width in zip(rows, (3, 4), strict=True):
        result = json.loads((Path(row["run"]) / "result.json").read_text())
        assert row["metrics"] == result["metrics"] and row["verdict"] == result["verdict"]
        assert row["value"] == result["metrics"][result["judged"]]
        assert row["baseline_value"] == result["baselines"][row["baseline"]][row["metric"]]
        assert (row["state"], row["cell"], row["seed"]) == ("finished", "lstm", 0)
        assert value_of(row, "cell.hidden_size") == width
        assert set(FIELDS) | {"metrics", "options"} == set(row)
    assert recurra.runs_in(made / "runs" / "task") == rows
    assert recurra.runs_in(rows[0]["run"]) == rows[:1]


def test_the_state_of_a_run_is_told(made: Path, tmp_path: Path) -> None:
    """Interrupted without a result, failed with its reason, being trained while it is held, begun
    before a checkpoint; and once it has gone on to its end it is finished.
    """
    run = copied(made, tmp_path)
    (run / "result.json").unlink()
    row = described(run)
    assert row["state"] == "interrupted" and row["steps"] == 3 and "resume" in row["why"]
    assert row["metric"] == "loss" and row["value"] is not None
    with system.locked(run / LOCK):
        assert described(run)["state"] == "being trained"

    shutil.rmtree(run / "checkpoints")
    assert described(run)["state"] == "begun"

    with pytest.raises(RunError, match="RC060"):
        recurra.run(made / "task.toml", {"training.optimizer": {"kind": "sgd", "lr": 1e38}},
                    runs=tmp_path / "failing")  # fmt: skip
    (row,) = recurra.runs_in(tmp_path / "failing")
    assert row["state"] == "failed" and row["why"].startswith("RC060 ")

    again = copied(made, tmp_path / "again")
    shutil.copy(Path(row["run"]) / "failed.json", again)
    (again / "result.json").unlink()
    assert described(again)["why"] == row["why"]
    recurra.resume(again)
    assert described(again)["state"] == "finished" and not (again / "failed.json").exists()


DAMAGE = [b"", b"[]", b"null", b"\xff\xfe", b"{" * 5000, b'{"metrics": 3, "steps": "x"}', b"a = ["]


@pytest.mark.parametrize("name", ["task.toml", "result.json", "metrics.jsonl", "failed.json"])
@pytest.mark.parametrize("content", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_run_stops_no_list(made: Path, tmp_path: Path, name: str, content: bytes) -> None:
    """Whatever stands in a file of a run, the other one is listed as it was."""
    run = copied(made, tmp_path)
    shutil.copytree(made / "runs" / "task" / "2", run.parent / "2")
    if name != "result.json":
        (run / "result.json").unlink()
    (run / name).write_bytes(content)
    rows = recurra.runs_in(tmp_path / "runs")
    assert len(rows) == 2 and rows[0]["state"] in STATES
    assert {**rows[1], "run": ""} == {**described(made / "runs" / "task" / "2"), "run": ""}
    done = CliRunner().invoke(app, ["runs", str(tmp_path / "runs"), "--json"])
    assert done.exit_code == 0 and len(json.loads(done.stdout)["runs"]) == 2


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(made: Path, tmp_path: Path) -> None:
    """It is damage like any other."""
    run = copied(made, tmp_path)
    for name in ("result.json", "metrics.jsonl"):
        (run / name).unlink()
        os.mkfifo(run / name)
    assert described(run)["state"] == "damaged"


def test_nan_in_the_records_is_a_figure_like_any_other(made: Path, tmp_path: Path) -> None:
    """As text, as recurra writes it, or as others do; it sorts last, in JSON and csv too."""
    run = copied(made, tmp_path)
    (run / "result.json").write_text('{"metrics": {"loss": NaN, "nats": "nan"}, "steps": 3}')
    shutil.copytree(made / "runs" / "task" / "2", run.parent / "2")
    rows = recurra.runs_in(tmp_path / "runs", sort="metrics.nats")
    assert [Path(row["run"]).name for row in rows] == ["2", "1"]
    assert math.isnan(rows[1]["metrics"]["nats"]) and math.isnan(rows[1]["value"])
    assert len(recurra.runs_in(tmp_path / "runs", where=["metrics.nats=nan"])) == 1
    done = CliRunner().invoke(app, ["runs", str(tmp_path / "runs"), "--json"])
    assert json.loads(done.stdout)["runs"][0]["metrics"]["nats"] == "nan"
    (run / "result.json").unlink()
    (run / "metrics.jsonl").write_text('{"step": 2, "split": "train", "loss": NaN}\n')
    assert described(run)["steps"] == 0


SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
         "=": operator.eq, "!=": operator.ne}  # fmt: skip


@given(values=st.lists(st.sampled_from([math.nan, math.inf, -1.5, 0.0, 2.0, 2.5, 1e300]),
                       min_size=1, max_size=5), sign=st.sampled_from(sorted(SIGNS)),
       bound=st.sampled_from([-1.5, 0.0, 2.0, 1e300]))  # fmt: skip
def test_sorting_and_filtering_are_those_of_python(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], sign: str, bound: float
) -> None:
    """Of the figures of any runs; what is no number comes last, either way."""
    home = tmp_path_factory.mktemp("runs")
    for number, value in enumerate(values, 1):
        written(home / "a" / str(number), value, "a")
    known = [value for value in values if not math.isnan(value)]
    for reverse in (False, True):
        rows = [row["value"] for row in recurra.runs_in(home, sort="value", reverse=reverse)]
        assert rows[: len(known)] == sorted(known, reverse=reverse)
        assert all(math.isnan(value) for value in rows[len(known) :])
    kept = [row["value"] for row in recurra.runs_in(home, where=[f"value{sign}{bound}"])]
    expected = [value for value in values if SIGNS[sign](value, bound)]
    assert [str(value) for value in kept] == [str(value) for value in expected]


def test_conditions_name_tasks_options_and_patterns(made: Path) -> None:
    """A condition is of a column, a figure or a key of the task; all of them hold."""
    home = made / "runs"
    assert len(recurra.runs_in(home, where=["task=ta*", "cell=recurra/lstm", "cell=lstm"])) == 2
    assert len(recurra.runs_in(home, where={"cell.hidden_size": 3, "beats_baselines": False})) <= 1
    assert recurra.runs_in(home, where=["cell=gru"]) == []
    for wrong in ("cell", "=3", "celll=lstm", "value<many"):
        with pytest.raises(InputError, match="RC080"):
            recurra.runs_in(home, where=[wrong])
    with pytest.raises(InputError, match=r"RC080(.|\n)*hidden_size"):
        recurra.runs_in(home, sort="cell.hiden_size")


def test_a_folder_without_runs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Politely where there are none yet; as an error where there is no such folder."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["runs"])
    assert done.exit_code == 0 and "there are no runs in runs" in done.stdout
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(app, ["runs", "empty", "--csv"]).stdout == ",".join(FIELDS) + "\n"
    with pytest.raises(InputError, match="RC051"):
        recurra.runs_in("absent")


def test_csv_and_json_hold_the_same(made: Path) -> None:
    """What csv says of each run is what JSON says."""
    both = [CliRunner().invoke(app, ["runs", str(made / "runs"), form]).stdout
            for form in ("--csv", "--json")]  # fmt: skip
    lines, rows = list(csv.DictReader(io.StringIO(both[0]))), json.loads(both[1])["runs"]
    for line, row in zip(lines, rows, strict=True):
        for key in FIELDS:
            assert line[key] == ("" if row[key] is None else str(row[key]))
        assert float(line["metrics.loss"]) == row["metrics"]["loss"]


def test_a_name_commands_no_terminal(tmp_path: Path) -> None:
    """What a stranger has written is shown and not obeyed."""
    written(tmp_path / "r" / "1", 1.0, "\x1b[31mred")
    (tmp_path / "r" / "1" / "task.toml").write_text('[cell]\nkind = "\\u001b[31mred"\n')
    shutil.copytree(tmp_path / "r" / "1", tmp_path / "r" / "2")
    (tmp_path / "r" / "2" / "task.toml").write_text('[cell]\nkind = "\\u001b[32mgreen"\n')
    for line in (["runs", str(tmp_path)], ["diff", *map(str, sorted((tmp_path / "r").iterdir()))]):
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 0 and "\x1b" not in done.stdout and "x1b" in done.stdout


@pytest.mark.slow
def test_thousands_of_runs_are_listed_quickly(made: Path, tmp_path: Path) -> None:
    """A few milliseconds each, of a whole resolved task and its result."""
    source = made / "runs" / "task" / "1"
    for number in range(1000):
        path = tmp_path / "task" / str(number)
        (path / "checkpoints").mkdir(parents=True)
        for name in ("task.toml", "result.json"):
            shutil.copyfile(source / name, path / name)
    begun = time.perf_counter()
    assert len(recurra.runs_in(tmp_path)) == 1000
    assert time.perf_counter() - begun < 10


def test_a_run_does_not_differ_from_itself(made: Path, tmp_path: Path) -> None:
    """Nor from its bundle, but that this is another path."""
    run = made / "runs" / "task" / "1"
    assert recurra.diff(run, run)["same"]
    bundle = recurra.bundle(run, tmp_path / "run.zip")
    assert recurra.diff(run, bundle)["same"]


def test_what_differs_is_named_both_ways(made: Path) -> None:
    """The key that was changed and nothing else of the task; the reverse is the mirror image."""
    one, other = (made / "runs" / "task" / number for number in ("1", "2"))
    there, back = recurra.diff(one, other), recurra.diff(other, one)
    assert there["sections"]["task"] == [{"key": "cell.hidden_size", "before": 3, "after": 4}]
    assert there["sections"]["data"] == there["sections"]["versions"] == []
    swapped = {"first": "second", "second": "first", None: None}
    for section, lines in there["sections"].items():
        mirror = {line["key"]: line for line in back["sections"][section]}
        for line in lines:
            own = mirror[line["key"]]
            assert (line["before"], line["after"]) == (own["after"], own["before"])
            assert swapped[line.get("better")] == own.get("better")
    results = [json.loads((path / "result.json").read_text()) for path in (one, other)]
    said = {line["key"]: line.get("better") for line in there["sections"]["figures"]}
    losses = [result["metrics"]["loss"] for result in results]
    assert said["loss"] == ("first" if losses[0] < losses[1] else "second")
    lower = dict.fromkeys(("loss", "nats", "perplexity", "bits_per_character"), "lower")
    assert results[0]["better"] == {**lower, "accuracy": "higher"}


def test_runs_of_other_data_have_no_better(made: Path, tmp_path: Path) -> None:
    """Two tasks differ in their data, which is told, and no figure is called the better."""
    run = copied(made, tmp_path)
    record = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(record | {"fingerprint": "0" * 64}))
    found = recurra.diff(run, made / "runs" / "task" / "2")
    assert [line["key"] for line in found["sections"]["data"]] == ["fingerprint"]
    assert {line.get("better") for line in found["sections"]["figures"]} == {None}
    assert any("not of the same thing" in note for note in found["notes"])


@pytest.mark.parametrize("name", ["task.toml", "data.json", "result.json", "plugins.json"])
def test_a_damaged_side_is_a_note(made: Path, tmp_path: Path, name: str) -> None:
    """And what is whole is compared; what is no run at all is refused."""
    run = copied(made, tmp_path)
    (run / name).write_bytes(b"{ not")
    found = recurra.diff(run, made / "runs" / "task" / "1")
    assert not found["same"] and any(name in note for note in found["notes"])
    with pytest.raises(InputError, match="RC051"):
        recurra.diff(run, tmp_path)
