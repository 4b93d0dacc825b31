"""Tasks and data given in Python: what comes out is what files give, and a run says where from."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trials import write

import recurra
from recurra import InputError
from recurra.job.run import Run

SERIES = np.sin(np.arange(60) / 3)
TASK: dict[str, Any] = {
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 8, "split": [0.7, 0.1, 0.2]},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": np.int64(4)},
    "loss": {"kind": "mse"},
    "training": {"steps": 4, "batch_size": 2, "optimizer": {"kind": "adam", "lr": 0.01}},
    "generation": {"length": 3},
    "device": {"path": "native"},
}
LABELLED = {
    **{key: value for key, value in TASK.items() if key not in ("sequence", "generation")},
    "target": {"kind": "label"},
    "loss": {"kind": "cross_entropy"},
    "sequence": {"split": [0.5, 0.0, 0.5]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of a series that was given as an array."""
    folder = tmp_path_factory.mktemp("given")
    return recurra.run({**TASK, "name": "waves"}, data=SERIES, runs=folder)


def test_a_table_given_is_the_table_in_a_file(tmp_path: Path) -> None:
    """A task as a dict over columns in memory trains as its file does over a csv, bit for bit."""
    rows = "".join(f"{value!r},{index}\n" for index, value in enumerate(SERIES.tolist()))
    write(tmp_path, "x,t\n" + rows, "waves.csv")
    source = {"kind": "csv", "path": str(tmp_path / "waves.csv"), "columns": ["x"]}
    on_file = recurra.run({**TASK, "source": source}, runs=tmp_path / "runs")
    table = {"x": SERIES, "t": list(range(60))}
    given = recurra.run(TASK, {"source.columns": ["x"]}, data=table, runs=tmp_path / "runs")
    for key in ("generated", "metrics", "baselines"):
        assert on_file.result[key] == given.result[key]
    # In the place of the file: what its columns are for stays.
    over = recurra.check({**TASK, "source": source}, data=table)
    assert over["data"] == recurra.check(TASK, {"source.columns": ["x"]}, data=table)["data"]


def test_a_run_says_where_its_data_came_from(run: Run) -> None:
    """The task of the folder names the kind, the form and the hash of what was given."""
    text = (run.path / "task.toml").read_text(encoding="utf-8")
    assert 'kind = "recurra/given"' in text and 'content = "an array [60] of float64"' in text
    assert re.search(r'fingerprint = "sha256:[0-9a-f]{32}"', text)
    assert run.path.parent.name == "waves"


def test_the_folder_alone_generates_and_predicts(run: Run) -> None:
    """What needs no data needs none."""
    opened = recurra.load(run.path)
    assert list(opened.generate()) == run.result["generated"]
    (answer,) = opened.predict([SERIES[:9]], horizon=2)
    assert len(answer["predicted"]) == 2


def test_figures_need_the_data_again(run: Run) -> None:
    """Evaluating asks for the data, takes the same, and refuses another."""
    figures = run.evaluate("test")
    opened = recurra.load(run.path)
    with pytest.raises(InputError, match=r"array \[60\](.|\n)*evaluate\(data=...\)"):
        opened.evaluate("test")
    assert opened.evaluate("test", data=SERIES.tolist()) == figures
    with pytest.raises(InputError, match="RC044"):
        opened.evaluate("test", data=SERIES + 1)
    with pytest.raises(InputError, match="'input'"):
        opened.evaluate("test", data={"x": SERIES})


def test_going_on_needs_the_data_again(run: Run) -> None:
    """Resuming asks for the data, takes the same, and refuses another."""
    with pytest.raises(InputError, match=r"recurra.resume\(run, data=...\)"):
        recurra.resume(run.path)
    with pytest.raises(InputError, match="RC044"):
        recurra.resume(run.path, data=SERIES[:-1])
    again = recurra.resume(run.path, data=SERIES)
    assert again.result["metrics"] == run.result["metrics"]


def test_other_data_is_told_what_can_be_done_with_it(run: Run) -> None:
    """The calls that the cure names work: other data is measured, and trained on."""
    other = SERIES + 1
    with pytest.raises(InputError) as caught:
        run.evaluate(data=other)
    (problem,) = caught.value.problems
    calls = re.findall(r"(?:run|recurra)\.\w+\(.*?\)", problem.cure)
    measured, trained = (
        eval(
            call.replace("data=...", "data=other"), {"run": run, "recurra": recurra, "other": other}
        )
        for call in calls
    )
    assert measured["split"] == "all" and trained.folder.records.origin() is not None


def test_data_that_is_changed_in_place_is_told(run: Run) -> None:
    """A run holds no copy of an array, and never takes what became of it for what it was given."""
    series = SERIES.copy()
    opened = recurra.run(TASK, {"training.steps": 1}, data=series, runs=run.path.parent)
    figures = opened.evaluate("test")
    series *= 2
    for call in (opened.evaluate, lambda: opened.split("test")):
        with pytest.raises(InputError, match="RC044"):
            call()
    assert opened.evaluate("test", data=SERIES) == figures


def test_runs_in_several_threads_are_those_of_one(run: Run) -> None:
    """A run draws its own numbers, whatever other threads train beside it, and moves no others."""
    before, threads = torch.get_rng_state(), torch.get_num_threads()

    def weights(seed: int) -> dict[str, torch.Tensor]:
        made = recurra.run(TASK, {"seed": seed}, data=SERIES, runs=run.path.parent)
        return made.network.state_dict()

    alone = [weights(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(weights, (1, 2, 1, 2)))
    for one, other in zip([*alone, *alone], together, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads


def test_labels_stand_beside_their_sequences(tmp_path: Path) -> None:
    """A dict of `input` and `label` is a task of classes; new sequences are answered."""
    waves = [np.sin(np.arange(9) * rate) for rate in (1, 2) * 6]
    data = {"input": waves, "label": np.array([1, 2] * 6)}
    run = recurra.run(LABELLED, data=data, runs=tmp_path)
    answers = list(recurra.load(run.path).predict(waves[:2]))
    assert {answer["predicted"] for answer in answers} <= {"1", "2"}
    with pytest.raises(InputError, match="asks for a label"):
        recurra.check(LABELLED, data=waves)


def test_data_takes_the_place_of_a_source(tmp_path: Path) -> None:
    """A source of its own gives way, one that an override names does not, and none takes any."""
    task = {**TASK, "source": {"kind": "inline", "values": [1.0, 2.0]}}
    assert recurra.check(task, data=SERIES)["data"]["elements"] == 60
    with pytest.raises(InputError, match="names a source that has its own"):
        recurra.check(task, {"source.kind": "csv"}, data=SERIES)
    made = recurra.run({**TASK, "sequence": {"length": 2}}, data=SERIES[:9], runs=tmp_path)
    again = recurra.run(made.path / "task.toml", data=SERIES[:8], runs=tmp_path)
    assert "array [8]" in (again.path / "task.toml").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="is given in Python, and is not here"):
        recurra.check(made.path / "task.toml")


def test_a_run_of_files_takes_no_data(tmp_path: Path) -> None:
    """What was made of a source with data of its own is evaluated on that."""
    values = SERIES[:20].tolist()
    source = {"kind": "inline", "values": values}
    run = recurra.run({**TASK, "source": source, "sequence": {"length": 4}}, runs=tmp_path)
    for call in (run.evaluate, lambda data: recurra.resume(run.path, data=data)):
        with pytest.raises(InputError, match="has data of its own, and takes none"):
            call(data=values)
    # An override says that other data is meant: the same numbers have the same figures.
    measured = run.evaluate("all", {"source.kind": "given"}, data=values)
    assert measured["metrics"] == run.evaluate("all")["metrics"]


def test_a_task_as_tables_is_checked_as_a_file_is(tmp_path: Path) -> None:
    """What is wrong is told without a line; a base lies in the folder of the command."""
    with pytest.raises(InputError, match=r"the task cell.hiden_size(.|\n)*hidden_size"):
        recurra.check({**TASK, "cell": {"kind": "gru", "hiden_size": 3}}, data=SERIES)
    with pytest.raises(InputError, match=r"cannot be a set"):
        recurra.check({**TASK, "cell": {1, 2}}, data=SERIES)
    with pytest.raises(InputError, match="is empty"):
        recurra.check({})
    with pytest.raises(InputError, match="task must be a path"):
        recurra.check([TASK])  # type: ignore[arg-type]
    base = write(tmp_path, 'schema = 1\nextends = "task.toml"\n')
    with pytest.raises(InputError, match="circle"):
        recurra.check({"extends": str(base)})


def test_frames_of_pandas_are_tables(tmp_path: Path) -> None:
    """Rows count, not the index; NA is missing; categories and whole numbers are names."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"x": SERIES, "kind": pandas.Categorical(["a", "b"] * 30)})
    frame.index = range(100, 220, 2)
    plain = {"x": SERIES.tolist()}
    told = recurra.check(TASK, {"source.columns": ["x"]}, data=frame)
    assert told["data"] == recurra.check(TASK, data=plain)["data"]
    assert recurra.check(TASK, data=frame["x"])["data"]["elements"] == 60
    twice = pandas.concat([frame, frame], axis=1)
    with pytest.raises(InputError, match="several columns 'x'"):
        recurra.check(TASK, data=twice)
    gone = pandas.DataFrame({"x": pandas.array([1, None, 3], "Int64")})
    with pytest.raises(InputError, match="row 1, column x: n"):
        recurra.check(TASK, data=gone)


def test_frames_of_polars_are_tables() -> None:
    """A table of another library is read as one of pandas is."""
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.DataFrame({"x": SERIES})
    plain = {"x": SERIES.tolist()}
    assert recurra.check(TASK, data=frame)["data"] == recurra.check(TASK, data=plain)["data"]
