"""A backtest forecasts from what precedes a cutoff, and nothing else can reach a forecast."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pages import block

import recurra
from recurra import InputError
from recurra.errors import Interrupted
from recurra.job.backtest import Backtest
from recurra.job.run import Run
from recurra.job.train import Silent

TASK: dict[str, Any] = {
    "name": "waves",
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 8, "split": [0.8, 0.1, 0.1], "split_by": "time", "season": 4},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 3},
    "loss": {"kind": "mse"},
    "training": {"steps": 3, "batch_size": 2},
    "generation": {"length": 3},
    "device": {"path": "native"},
}


def waves(*lengths: int) -> list[NDArray[np.float64]]:
    """Return some series above 0."""
    return [
        10 + 3 * np.sin(np.arange(length) / (2 + row)) + np.arange(length) / 9
        for row, length in enumerate(lengths)
    ]


def forecasts(done: Backtest) -> list[NDArray[np.float64]]:
    """Return what was forecast in each fold, `[n, H, F]`."""
    made = [done.folder.forecasts(fold) for fold in range(1, done.result["folds"] + 1)]
    return [each.values for each in made if each is not None]


@pytest.fixture(scope="module")
def panel_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of three series, each of which has a scale of its own."""
    changes = {"vocabulary.scale_by": "series", "generation.length": 4}
    folder = tmp_path_factory.mktemp("panel")
    return recurra.run(TASK, changes, data=waves(40, 40, 40), runs=folder)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"vocabulary.scale_by": "series", "vocabulary.difference": 1}, id="series"),
        pytest.param({"vocabulary.box_cox": "fit"}, id="box_cox", marks=pytest.mark.slow),
        pytest.param(
            {"target": {"kind": "horizon", "length": 3}}, id="horizon", marks=pytest.mark.slow
        ),
    ],
)
def test_what_comes_after_a_cutoff_changes_no_byte(changes: dict[str, Any], tmp_path: Path) -> None:
    """Whatever comes after a cutoff, its forecasts are the same, and later ones see it."""

    def made(data: list[NDArray[np.float64]], place: str) -> list[NDArray[np.float64]]:
        options: dict[str, Any] = {"folds": 2, "step": 4, "retrain": True}
        done = recurra.backtest(TASK, changes, data=data, backtests=tmp_path / place, **options)
        return forecasts(done)

    before = made(waves(30, 36), "before")
    later, earlier = waves(30, 36), waves(30, 36)
    for late, early in zip(later, earlier, strict=True):
        late[-3:] *= 7.5
        early[-7:-3] *= 0.25
    after = made(later, "later")
    assert [each.tobytes() for each in after] == [each.tobytes() for each in before]
    between = made(earlier, "earlier")
    assert between[0].tobytes() == before[0].tobytes()
    assert between[1].tobytes() != before[1].tobytes()


def test_one_model_knows_what_precedes_the_first_cutoff(tmp_path: Path) -> None:
    """Without `retrain` later values reach later forecasts, and neither weights nor scales."""

    def made(data: NDArray[np.float64], place: str) -> Backtest:
        return recurra.backtest(TASK, data=data, backtests=tmp_path / place, folds=2)

    before, changed = made(waves(40)[0], "before"), waves(40)[0]
    changed[-6:-3] *= 3
    after = made(changed, "after")
    runs = [recurra.load(done.path / "fold-1") for done in (before, after)]
    mine, other = (run.network.state_dict() for run in runs)
    assert all(torch.equal(weight, other[name]) for name, weight in mine.items())
    assert runs[0].vocabulary.save() == runs[1].vocabulary.save()
    assert not (before.path / "fold-2").exists()
    assert forecasts(before)[0].tobytes() == forecasts(after)[0].tobytes()
    assert forecasts(before)[1].tobytes() != forecasts(after)[1].tobytes()


@pytest.mark.parametrize("split", [[50, 0, 10], [44, 6, 10]])
def test_one_fold_is_a_run_that_is_split_there(split: list[int], tmp_path: Path) -> None:
    """One fold as long as the test split gives the forecast of a run, and its figures, whether or
    not steps validate: the errors of both are scaled by all that precedes the cutoff.
    """
    changes = {"sequence.split": split, "generation.length": 10}
    series = waves(60)[0]
    run = recurra.run(TASK, changes, data=series, runs=tmp_path)
    done = recurra.backtest(TASK, changes, data=series, folds=1, backtests=tmp_path / "b")
    assert forecasts(done)[0][0].tolist() == run.result["forecast"]["last_series"]["model"]
    for mine, other in (
        (done.result["metrics"], run.result["forecast"]["metrics"]),
        (done.result["baselines"]["naive"], run.result["forecast"]["baselines"]["naive"]),
    ):
        assert mine == pytest.approx(other, rel=1e-12) and "mase" in mine


def test_a_run_forecasts_its_own_data_after_training(panel_run: Run, tmp_path: Path) -> None:
    """One fold at the beginning of a test split of as many steps is what `evaluate` says of it, in
    every figure of the model and of every rule; one step ahead errors are scaled by the same.
    """
    series = waves(40, 40, 40)
    done = panel_run.backtest(folds=1, horizon=4, data=series, backtests=tmp_path)
    evaluated = panel_run.evaluate("test", data=series)
    forecast = evaluated["forecast"]
    assert done.result["metrics"] == pytest.approx(forecast["metrics"], rel=1e-12)
    for rule, metrics in done.result["baselines"].items():
        # The mean of all is one of training there, and of what precedes the cutoff here.
        if rule != "mean of all":
            assert metrics == pytest.approx(forecast["baselines"][rule], rel=1e-12)

    history = [values[:36] for values in series]
    scales = [float(np.abs(values[4:] - values[:-4]).mean()) for values in history]
    gaps = [np.abs(np.diff(values[35:])).mean() for values in series]
    told = np.mean([gap / scale for gap, scale in zip(gaps, scales, strict=True)])
    assert evaluated["baselines"]["naive"]["mase"] == pytest.approx(told)
    with pytest.raises(InputError, match="inside what the run was trained on") as error:
        panel_run.backtest(folds=2, horizon=4, data=series, backtests=tmp_path)
    assert "folds = 1 at most" in str(error.value)
    assert len([*(tmp_path / "waves").iterdir()]) == 1, "a refused one leaves nothing"


def test_a_panel_is_its_series_alone(panel_run: Run, tmp_path: Path) -> None:
    """What is forecast of a series hangs on no other, nor on its place; each has its own scale."""
    series = waves(25, 31, 40)
    series[1] *= 1e6

    def made(data: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        return forecasts(panel_run.backtest(folds=2, step=5, data=data, backtests=tmp_path))

    together = made(series)
    for row, own in enumerate(series):
        alone = made([own])
        for fold in range(2):
            assert alone[fold][0].tobytes() == together[fold][row].tobytes()


@pytest.mark.parametrize(("folds", "step", "horizon"), [(1, 1, 1), (4, 1, 3), (3, 5, 2), (6, 4, 4)])
def test_each_step_is_forecast_from_what_precedes_it(
    folds: int, step: int, horizon: int, panel_run: Run, tmp_path: Path
) -> None:
    """The frame holds the steps of each cutoff that a count by hand finds, with what came."""
    series = waves(9, 24, 60)
    done = panel_run.backtest(
        folds=folds, step=step, horizon=horizon, data=series, backtests=tmp_path
    )
    counted = []
    for fold in range(folds):
        for row, values in enumerate(series, 1):
            ends = range(len(values), -1, -step)
            cutoffs = [end - horizon for end in ends]
            place = folds - 1 - fold
            # Of one step alone a series cannot be scaled.
            if place < len(cutoffs) and cutoffs[place] >= 2:
                first = cutoffs[place]
                steps = range(first, first + horizon)
                counted += [(str(row), ds, first - 1, values[ds]) for ds in steps]
    frame = done.frame()
    assert list(frame) == ["unique_id", "ds", "cutoff", "y", "waves"]
    assert [*zip(*[*frame.values()][:4], strict=True)] == counted
    assert np.isfinite(frame["waves"]).all()
    left = [fold["left_out"] for fold in done.result["by_fold"]]
    short = sum(left)
    assert len(counted) == (3 * folds - short) * horizon
    assert ("too short before the cutoff" in " ".join(done.result["notes"])) == bool(short)


def test_the_frame_is_written_as_it_is_given(panel_run: Run, tmp_path: Path) -> None:
    """A csv and JSON lines hold the numbers of the frame, to the last bit."""
    done = panel_run.backtest(folds=2, data=waves(30, 40), backtests=tmp_path)
    columns = done.frame()
    names, *lines = (done.path / "forecasts.csv").read_text(encoding="utf-8").splitlines()
    assert names.split(",") == list(columns)
    rows = [line.split(",") for line in lines]
    assert [float(row[4]) for row in rows] == columns["waves"]
    assert [int(row[2]) for row in rows] == columns["cutoff"]
    done.write(tmp_path / "frame.jsonl")
    lines = (tmp_path / "frame.jsonl").read_text(encoding="utf-8").splitlines()
    objects = [json.loads(line) for line in lines]
    assert {name: [row[name] for row in objects] for name in columns} == columns
    with pytest.raises(InputError, match="does not tell how the frame is to be written"):
        done.write(tmp_path / "frame.txt")


def test_a_frame_of_parquet(panel_run: Run, tmp_path: Path) -> None:
    """pyarrow writes the same columns."""
    parquet = pytest.importorskip("pyarrow.parquet")
    done = panel_run.backtest(folds=2, data=waves(30, 40), backtests=tmp_path)
    done.write(tmp_path / "frame.parquet")
    assert parquet.read_table(tmp_path / "frame.parquet").to_pydict() == done.frame()


def test_naive_stands_in_for_a_rule_that_needs_more(panel_run: Run, tmp_path: Path) -> None:
    """A rule is measured on all series, by naive where their history is too short; one that could
    forecast none of them is not told.
    """
    series = waves(30, 7)  # of the second 3 steps come before the cutoff, and 4 are a season
    done = panel_run.backtest(folds=1, data=series, backtests=tmp_path)
    (fold,) = done.result["by_fold"]
    assert any("seasonal naive (1 series)" in note for note in fold["notes"])
    guesses = [np.tile(series[0][22:26], 1), np.repeat(series[1][2], 4)]
    errors = [np.abs(guess - values[-4:]) for guess, values in zip(guesses, series, strict=True)]
    assert fold["baselines"]["seasonal naive"]["mae"] == pytest.approx(np.mean(errors))

    level = np.concatenate([series[0][:-4], series[1][:-4]]).mean()
    errors = [np.abs(level - values[-4:]) for values in series]
    assert fold["baselines"]["mean of all"]["mae"] == pytest.approx(np.mean(errors))

    alone = panel_run.backtest(folds=1, data=series[1:], backtests=tmp_path)
    assert "seasonal naive" not in alone.result["baselines"]
    assert "Theta" in alone.result["baselines"]
    assert "stands in" not in " ".join(alone.result["by_fold"][0]["notes"])


def test_a_run_forecasts_series_that_it_has_not_seen(tmp_path: Path) -> None:
    """Where whole series were dealt out, those that trained or validated are left out of all folds,
    and the others are forecast at any cutoff.
    """
    series = waves(*range(20, 30))
    changes = {"sequence.split_by": "sequence", "sequence.split": [0.6, 0.2, 0.2]}
    run = recurra.run(TASK, changes, data=series, runs=tmp_path)
    held = {str(part.row + 1) for part in run.split("test", data=series)}
    done = run.backtest(folds=4, data=series, backtests=tmp_path / "b")
    assert set(done.frame()["unique_id"]) == held and len(held) == 2
    assert "8 series are left out" in " ".join(done.result["notes"])
    with pytest.raises(InputError, match="was trained on all of this data"):
        everything = {**changes, "sequence.split": [1.0, 0.0, 0.0]}
        recurra.run(TASK, everything, data=series, runs=tmp_path).backtest(
            data=series, backtests=tmp_path
        )


def test_steps_that_are_left_off_are_in_no_fold(tmp_path: Path) -> None:
    """A recipe can be chosen on what precedes held out steps: these are as if not there."""
    series, changes = waves(30, 36), {"sequence.leave_off": 6}
    options: dict[str, Any] = {"folds": 2, "step": 2}
    mine = recurra.backtest(TASK, changes, data=series, backtests=tmp_path, **options)
    past = [values[:-6] for values in series]
    other = recurra.backtest(TASK, data=past, backtests=tmp_path, **options)
    assert mine.frame() == other.frame()
    assert mine.result["metrics"] == other.result["metrics"]


def test_groups_and_columns_name_series(tmp_path: Path) -> None:
    """A series is called by its group, and of several columns each is a series of its own."""
    table = {
        "shop": np.repeat(["b", "a"], 30),
        "milk": np.arange(60.0) % 7,
        "tea": np.arange(60.0) % 5 + 1,
    }
    source = {"kind": "given", "group": "shop", "columns": ["milk", "tea"]}
    done = recurra.backtest(
        {**TASK, "source": source}, data=table, folds=1, horizon=2, backtests=tmp_path
    )
    frame = done.frame()
    assert frame["unique_id"][::2] == ["b/milk", "b/tea", "a/milk", "a/tea"]
    assert frame["y"][:4] == [*table["milk"][28:30], *table["tea"][28:30]]
    assert [column["name"] for column in done.result["columns"]] == ["milk", "tea"]


MONTHS = [f"{1990 + month // 12}-{month % 12 + 1:02d}" for month in range(30)]
HOURS = np.datetime64("2024-10-26T20:00") + np.arange(30) * np.timedelta64(1, "h")
STAMPS: dict[str, tuple[list[Any], dict[str, Any], list[Any]]] = {
    "months": (MONTHS, {}, [datetime(*map(int, month.split("-")), 1) for month in MONTHS]),
    "years": ([*range(1970, 2000)], {}, [*range(1970, 2000)]),
    "offsets": (
        [f"{hour}Z" for hour in HOURS],
        {},
        [hour.astype(datetime).replace(tzinfo=UTC) for hour in HOURS],
    ),
    "days": ([str(day) for day in np.arange(30) + np.datetime64("2024-02-20")], {}, []),
}


@pytest.mark.parametrize("name", STAMPS)
def test_steps_are_told_by_their_stamps(name: str, panel_run: Run, tmp_path: Path) -> None:
    """A frame has the stamps of the data: in text as they stand there, else moments or numbers."""
    stamps, more, moments = STAMPS[name]
    table = {"unique_id": ["a"] * 30 + ["b"] * 30, "ds": stamps * 2, "y": np.arange(60.0) % 7}
    source = {"kind": "given", "group": "unique_id", "time": "ds", "columns": ["y"], **more}
    options: dict[str, Any] = {"folds": 2, "step": 3, "horizon": 2, "backtests": tmp_path}
    done = recurra.backtest({**TASK, "source": source}, data=table, **options)
    moments = moments or [datetime.fromisoformat(stamp) for stamp in stamps]
    frame = done.frame()
    places = [25, 26, 25, 26, 28, 29, 28, 29]
    assert frame["ds"] == [moments[place] for place in places]
    assert frame["cutoff"] == [moments[place] for place in (24, 24, 24, 24, 27, 27, 27, 27)]
    _, *lines = (done.path / "forecasts.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[1] for line in lines] == [str(stamps[place]) for place in places]
    if find_spec("pyarrow"):
        done.write(tmp_path / "frame.parquet")
        read = import_module("pyarrow.parquet").read_table(tmp_path / "frame.parquet")
        assert read.to_pydict() == frame


def test_a_constant_series_and_forecasts_that_are_no_numbers(
    panel_run: Run, tmp_path: Path
) -> None:
    """A series that never changes has no mase, which is told; nor has a broken model figures."""
    series = [*waves(30), np.full(30, 4.0)]
    done = panel_run.backtest(folds=1, data=series, backtests=tmp_path)
    notes = done.result["by_fold"][0]["notes"]
    assert any("no mase of 1 of 2 series" in note for note in notes)
    notes = done.result["notes"]
    assert any("no mase of 1 of 2 forecasts of series" in note for note in notes)
    assert np.isfinite(done.result["metrics"]["mase"])

    broken = recurra.load(panel_run)
    with torch.no_grad():
        for weight in broken.network.parameters():
            weight.fill_(float("nan"))
    done = broken.backtest(folds=1, data=series, backtests=tmp_path)
    assert np.isnan(done.frame()["waves"]).all()
    assert not done.result["beats_baselines"]
    assert any("2 of 2 forecasts are not finite" in note for note in done.result["notes"])
    lines = (done.path / "forecasts.csv").read_text(encoding="utf-8").splitlines()
    assert all(line.endswith(",") for line in lines[1:])
    assert json.loads((done.path / "result.json").read_text())["metrics"]["mae"] == "nan"


class Impatient(Silent):
    """Ends the training of a fold."""

    def __init__(self, fold: int) -> None:
        self.left = fold

    def stepped(self, progress: Any) -> None:
        """Count down, and interrupt the second update of the fold."""
        self.left -= progress.step == 2
        if not self.left:
            raise KeyboardInterrupt


def test_an_interrupted_backtest_goes_on(tmp_path: Path) -> None:
    """Folds that are done are not made again, and in the end all is as if nothing had happened."""
    options: dict[str, Any] = {"data": waves(40), "retrain": True, "folds": 2}
    whole = recurra.backtest(TASK, backtests=tmp_path / "whole", **options)
    with pytest.raises(Interrupted, match="fold 2 of 2; fold 1 of 2 is done") as error:
        recurra.backtest(TASK, backtests=tmp_path / "cut", observer=Impatient(2), **options)
    folder = tmp_path / "cut" / "waves" / "1"
    assert f"`recurra backtest {folder}` goes on" in str(error.value)
    assert not (folder / "result.json").exists()

    first = folder / "fold-1.safetensors"
    before = first.stat().st_mtime_ns
    with pytest.raises(InputError, match="says itself how it goes on"):
        recurra.backtest(folder, folds=2, data=waves(40))
    with pytest.raises(InputError, match="has changed since it was begun"):
        recurra.backtest(folder, data=waves(41))
    done = recurra.backtest(folder, data=waves(40))
    assert first.stat().st_mtime_ns == before
    assert done.frame() == whole.frame()
    assert done.result["metrics"] == whole.result["metrics"]
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    with pytest.raises(recurra.RecurraError, match="hash is not the recorded one"):
        recurra.backtest(folder, data=waves(40))


def test_a_backtest_of_a_run_goes_on(panel_run: Run, tmp_path: Path) -> None:
    """What is missing is forecast by the same run on the same data; two do not go on at once."""
    series = waves(30, 40)
    done = panel_run.backtest(folds=3, data=series, backtests=tmp_path)
    record = json.loads((done.path / "backtest.json").read_text(encoding="utf-8"))
    del record["done"]["2"]
    (done.path / "backtest.json").write_text(json.dumps(record), encoding="utf-8")
    (done.path / "fold-2.safetensors").unlink()
    with done.folder.held(), pytest.raises(InputError, match=r"\[RC055\]"):
        recurra.backtest(done.path, data=series)
    again = recurra.backtest(done.path, data=series)
    assert again.frame() == done.frame()
    assert again.result["metrics"] == done.result["metrics"]
    assert again.result["by_fold"][1]["run"] == str(panel_run.path.absolute())


def test_a_backtest_leaves_what_the_page_says(tmp_path: Path) -> None:
    """The files that are listed are those of a backtest that trains."""
    done = recurra.backtest(TASK, data=waves(40), folds=1, backtests=tmp_path)
    listed = block("", "backtests/airline/1/").splitlines()[1:]
    left = [path for path in done.path.iterdir()]
    assert sorted(line.split()[0].split("/")[0] for line in listed) == sorted(
        path.name for path in left
    )
    assert recurra.load(done.path / "fold-1").path == done.path / "fold-1" / "1"


WRONG = [
    ({"folds": 0}, "folds cannot be 0"),
    ({"step": 0}, "step cannot be 0"),
    ({"horizon": 0}, "horizon cannot be 0"),
    ({"horizon": 40}, "take 121 steps of a series"),
    ({"folds": 30}, "folds = 13"),
    ({"folds": True}, "folds cannot be True"),
    ({"retrain": 1}, "retrain cannot be 1"),
    ({"output": "frame.xls"}, "does not tell how the frame"),
    ({"overrides": {"generation.length": 0}}, "no horizon is given"),
    ({"overrides": {"sequence.split": [30, 7, 3]}, "folds": 12}, "validation takes 7"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_cannot_be_backtested_is_refused(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Each wrong argument is refused with its reason, before anything is written."""
    with pytest.raises(InputError) as error:
        recurra.backtest(TASK, data=waves(40)[0], backtests=tmp_path / "b", **options)
    assert words in str(error.value)
    assert not (tmp_path / "b").exists()


def test_what_a_fold_cannot_do_is_refused_before_any_training(tmp_path: Path) -> None:
    """Past covariates that nobody knows, values that cannot be read before a later cutoff, a share
    of nothing: all of it is told with its place, and no folder is made.
    """
    place = tmp_path / "b"

    def refused(words: str, changes: dict[str, Any], data: Any, **options: Any) -> None:
        with pytest.raises(InputError) as error:
            recurra.backtest(TASK, changes, data=data, backtests=place, **options)
        assert words in str(error.value) and not place.exists()

    table = {"y": waves(40)[0], "load": np.arange(40.0)}
    read = {"source": {"columns": ["y"], "past_covariates": ["load"]}, "generation.length": 1}
    for horizon in (2, 3):
        words = f"1 of {horizon} steps can be forecast: nobody knows the past covariates"
        refused(words, read, table, horizon=horizon)

    logs = {"vocabulary.log": True}
    for at, fold in ((-5, 3), (-8, 2)):
        series = waves(40, 44)
        series[1][at] = 0.0
        words = f"no logarithm: step {44 + at} of series 2"
        refused(words, logs, series, retrain=fold == 3)
    series = waves(40, 44)
    series[1][-1] = 0.0
    last = recurra.backtest(TASK, logs, data=series, backtests=tmp_path / "last")
    assert last.result["folds"] == 3, "what comes after all cutoffs need not be read"
    run = recurra.run(TASK, logs, data=waves(40, 44), runs=tmp_path / "runs")
    series[1][-5] = 0.0
    with pytest.raises(InputError, match="no logarithm: step 39 of series 2"):
        run.backtest(data=series, backtests=place)
    with pytest.raises(InputError, match="no logarithm: position 39 of sequence 2"):
        run.evaluate("all", data=series)

    words = "of the model of fold 1 of 2, 24 steps before the end: the validation split, 0.2 of"
    changes = {"sequence.split": [0.6, 0.15, 0.25]}
    refused(words, changes, waves(27, 27), folds=2, horizon=12)


def test_other_tasks_and_folders_are_refused(panel_run: Run, tmp_path: Path) -> None:
    """Symbols have no forecast, a run trains nothing, and a folder that is not there is named."""
    with pytest.raises(InputError, match="reads symbols"):
        recurra.backtest("tasks/hello_lstm.toml", backtests=tmp_path)
    with pytest.raises(InputError, match="there is no run at nowhere"):
        recurra.backtest("nowhere", backtests=tmp_path)
    with pytest.raises(InputError, match="trains none"):
        recurra.backtest(panel_run, retrain=True, backtests=tmp_path)
    with pytest.raises(InputError) as error:
        panel_run.backtest({"cell.hidden_size": 4}, backtests=tmp_path)
    assert "cell.hidden_size" in str(error.value)
    assert not [*tmp_path.iterdir()]
