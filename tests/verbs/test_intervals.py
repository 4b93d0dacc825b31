"""Intervals of forecasts: whoever gives a spread, it reaches every output the same."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminal import command

import recurra
from recurra import InputError
from recurra.generate import levels as written
from recurra.generate.abreast import Floats, Start
from recurra.generate.foretold import Intervals
from recurra.job import intervals
from recurra.job.interval_figures import IntervalScores
from recurra.job.intervals import Teller
from recurra.job.run import Run

TASK: dict[str, Any] = {
    "schema": 1,
    "name": "panel",
    "source": {"kind": "csv", "columns": ["y"], "group": "unique_id"},
    "vocabulary": {"kind": "numeric", "scale_by": "series", "difference": 1},
    "sequence": {"length": 8, "split": ["rest", 0, 3], "split_by": "time"},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 3},
    "loss": {"kind": "mse"},
    "training": {"steps": 3, "batch_size": 2},
    "generation": {"length": 3},
    "device": {"path": "native"},
}
LENGTHS = {f"s{index}": 20 + 3 * index for index in range(8)}
BOUNDS = ["lo-95", "lo-80", "hi-80", "hi-95"]


class Even:
    """A spread that tells by hand what it gives: wider the later a step, and the higher a series.

    Of a chance below `least` it knows nothing.
    """

    def __init__(self, steps: int = 0, least: float = 0.0) -> None:
        self.steps, self.least = steps, least

    def lacks(self, chance: float) -> str:
        """Refuse what is too rare."""
        return "it is too rare" if min(chance, 1 - chance) < self.least else ""

    def quantiles(
        self, starts: Sequence[Start], points: Sequence[Floats], chances: Sequence[float]
    ) -> Iterator[Floats]:
        """Give quantiles."""
        for start, point in zip(starts, points, strict=True):
            yield even(start.history, point, chances)


def even(history: Floats, point: Floats, chances: Sequence[float]) -> Floats:
    """Return the quantiles of a series, `[Q, H, F]`."""
    ahead = np.arange(1, len(point) + 1)[:, None]
    width = ahead * np.abs(history).mean()
    return np.stack([point + (chance - 0.5) * width for chance in chances])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a panel."""
    folder = tmp_path_factory.mktemp("panel")
    rows = ["unique_id,y\n"]
    for index, (name, length) in enumerate(LENGTHS.items()):
        rows += [f"{name},{(3 + np.sin(step / 3)) * 2**index}\n" for step in range(length)]
    (folder / "panel.csv").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> Even:
    """Give every task of numbers a spread."""
    made = Even()
    monkeypatch.setattr(intervals, "TELLERS", [Teller(lambda resolved: True, lambda run: made)])
    return made


def task(folder: Path, **changes: Any) -> dict[str, Any]:
    source = {**TASK["source"], "path": str(folder / "panel.csv")}
    return {**TASK, "source": source, **changes}


@pytest.fixture(scope="module")
def trained(folder: Path) -> Run:
    """Return a run that has no spread by itself."""
    return recurra.run(task(folder), runs=folder / "runs")


@pytest.fixture
def run(trained: Run, spread: Even) -> Run:
    """Return the same run, opened where it has one."""
    return recurra.load(trained.path)


def new(folder: Path) -> tuple[dict[str, Any], Any]:
    """Return the columns of a new series, and its values."""
    values = [5.0, 7.0, 6.0, 9.0]
    return {"unique_id": ["n"] * 4, "y": values}, np.array(values)[:, None]


def test_a_frame_has_the_bounds_behind_the_model(folder: Path, run: Run, trained: Run) -> None:
    """They stand from the lowest to the highest, and are those that the spread says of a series."""
    data, values = new(folder)
    frame = run.forecast(data=data)
    plain = trained.forecast(data=data)
    names = [f"panel-{name}" for name in BOUNDS]
    assert list(frame) == ["unique_id", "ds", "panel", *names]
    assert frame["panel"] == plain["panel"] and list(plain) == ["unique_id", "ds", "panel"]

    point = np.array(frame["panel"])[:, None]
    expected = even(values, point, [0.025, 0.1, 0.9, 0.975])
    np.testing.assert_array_equal([frame[name] for name in names], expected[..., 0])

    some = run.forecast(data=data, levels=[97.5])
    assert list(some)[3:] == ["panel-lo-97.5", "panel-hi-97.5"]
    (answer,) = run.predict([values[:, 0].tolist()], levels="80")
    assert list(answer) == ["row", "predicted", "lo-80", "hi-80"]
    assert answer["lo-80"] == frame["panel-lo-80"]


def test_what_is_generated_has_bounds(run: Run, trained: Run) -> None:
    """A step is what it is without them, and the bounds are about what was read."""
    values = [5.0, 7.0, 6.0, 9.0]
    steps = list(run.generate(values, levels=(95, 80)))
    points = list(run.generate(values))
    assert [step["predicted"] for step in steps] == points == list(trained.generate(values))
    expected = even(np.array(values), np.array(points)[:, None], [0.025, 0.1, 0.9, 0.975])
    made = [[step[name] for step in steps] for name in BOUNDS]
    np.testing.assert_array_equal(made, expected[..., 0])

    (first, *_), (named, *_) = (
        run.generate(levels=[80], **more) for more in ({}, {"series": list(LENGTHS)[-1]})
    )
    assert first == named


def test_the_command_line_tells_intervals(
    folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """generate, predict, evaluate and backtest take --levels, and print what they hold."""
    monkeypatch.chdir(tmp_path)
    path = str(run.path)
    line = command("generate", path, "--values", "5,7,6,9", "--levels", "80").tidy(0).out
    assert "  lo-80 " in line.splitlines()[0] and "hi-80" in line
    made = command("generate", path, "--values", "5,7,6,9", "--json").tidy(0).last
    assert list(made["bounds"]) == BOUNDS and len(made["bounds"]["lo-80"]) == 3  # type: ignore[arg-type, index]
    told = command(
        "predict", path, str(folder / "panel.csv"), "--levels", "80", "--output", "f.csv"
    )
    told.tidy(0)
    with Path("f.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[2:] == ["panel", "panel-lo-80", "panel-hi-80"]
    assert all(float(row["panel-lo-80"]) < float(row["panel"]) for row in rows)

    shown = command("evaluate", path, "--levels", "50").tidy(0).out
    assert (
        "by interval" in shown and "lo-50" in shown and "coverage by the scale of series" in shown
    )


def test_figures_are_those_of_the_spread(folder: Path, run: Run) -> None:
    """Coverage, width and the rest, over all and by step, are a plain loop over every series."""
    figures = run.evaluate("test", levels=[60])["forecast"]
    data = run.data(run.resolved)
    covered = np.zeros(3)
    width = np.zeros(3)
    for row, (begin, end) in enumerate(zip(data.store.starts, data.store.ends, strict=True)):
        history = data.store.values[begin : end - 3]
        came = data.store.values[end - 3 : end, 0]
        (answer,) = run.predict([history[:, 0].tolist()], levels=[60])
        low, high = np.array(answer["lo-60"]), np.array(answer["hi-60"])
        covered += (low <= came) & (came <= high)
        width += high - low
        assert row < len(LENGTHS)
    assert figures["levels"] == [60.0]
    assert figures["metrics"]["coverage_60"] == pytest.approx(covered.sum() / 24)
    assert figures["metrics"]["width_60"] == pytest.approx(width.sum() / 24, rel=1e-6)
    by_step = [row["metrics"]["coverage_60"] for row in figures["by_step"]]
    assert by_step == pytest.approx((covered / 8).tolist())
    assert sum(part["series"] for part in figures["by_scale"]) == 8
    assert {"crps", "wql", "pinball_10"} <= set(figures["metrics"])
    assert "coverage_80" not in figures["metrics"]


def test_a_backtest_has_them_and_goes_on_with_them(folder: Path, spread: Even) -> None:
    """The frame has the bounds of each fold, and the folder says the same once it is opened."""
    done = recurra.backtest(task(folder), folds=2, levels=[80], backtests=folder / "backtests")
    frame = done.frame()
    assert list(frame)[4:] == ["panel", "panel-lo-80", "panel-hi-80"]
    inside = [
        low <= y <= high
        for y, low, high in zip(frame["y"], frame["panel-lo-80"], frame["panel-hi-80"], strict=True)
    ]
    result = done.result
    assert result["metrics"]["coverage_80"] == pytest.approx(np.mean(inside))
    assert result["levels"] == [80.0] and result["by_fold"][0]["metrics"]["width_80"] > 0
    again = recurra.backtest(done.path)
    assert again.frame() == frame
    assert again.result["metrics"] == result["metrics"]
    first = (done.path / "forecasts.csv").read_text(encoding="utf-8").splitlines()[0]
    assert first.endswith("panel,panel-lo-80,panel-hi-80")


def test_a_run_keeps_them(folder: Path, spread: Even) -> None:
    """result.json has the bounds of what comes next, and the task says its levels."""
    made = recurra.run(task(folder), levels="50,90", runs=folder / "runs")
    result = json.loads((made.path / "result.json").read_text(encoding="utf-8"))
    assert list(result["bounds"]) == ["lo-90", "lo-50", "hi-50", "hi-90"]
    assert len(result["bounds"]["lo-90"]) == len(result["generated"]) == 3
    assert result["forecast"]["levels"] == [50.0, 90.0]
    assert list(result["forecast"]["last_series"])[2:6] == list(result["bounds"])
    assert recurra.load(made.path).task.generation.levels == [50.0, 90.0]
    assert list(made.forecast(data=new(folder)[0]))[3:5] == ["panel-lo-90", "panel-lo-50"]


@pytest.mark.parametrize(
    "levels", [0, 100, [80, 80.0], "80,80", "eighty", "", [], [True], [None], -5, "nan", [80, "95"]]
)
def test_what_is_no_level_is_refused(run: Run, levels: Any) -> None:
    """What came and what is allowed is said, wherever levels are asked for."""
    for asked in (
        lambda: run.forecast(data=new(Path())[0], levels=levels),
        lambda: run.evaluate(levels=levels),
        lambda: run.generate([1.0, 2.0, 3.0], levels=levels),
    ):
        with pytest.raises(InputError) as error:
            asked()
        (problem,) = error.value.problems
        assert problem.code == "RC080" and "between 0 and 100" in problem.allowed


@pytest.mark.parametrize("levels", [[0], [100], [80, 80], [], ["a"]])
def test_a_task_names_levels_as_strictly(folder: Path, spread: Even, levels: Any) -> None:
    with pytest.raises(InputError) as error:
        recurra.check(task(folder, generation={"length": 3, "levels": levels}))
    assert error.value.problems[0].key.startswith("generation.levels")


def test_where_there_is_no_spread_levels_are_refused(folder: Path, trained: Run) -> None:
    """The cure is said; nothing is trained for a backtest that could not tell them."""
    before = sorted(folder.rglob("*"))
    for asked in (
        lambda: trained.forecast(data=new(folder)[0], levels=[80]),
        lambda: trained.generate(levels=[80]),
        lambda: recurra.backtest(task(folder), levels=[80], backtests=folder / "none"),
        lambda: recurra.run(task(folder), levels=[80], runs=folder / "none"),
    ):
        with pytest.raises(InputError) as error:
            asked()
        assert "target.conformal" in error.value.problems[0].cure
    assert sorted(folder.rglob("*")) == before


def test_what_a_spread_lacks_is_refused_and_left_out_by_default(run: Run, spread: Even) -> None:
    """A level that cannot be told is refused where it is asked for; so are more steps."""
    spread.least, spread.steps = 0.05, 3
    assert list(run.forecast(data=new(Path())[0]))[3:] == ["panel-lo-80", "panel-hi-80"]
    for levels, horizon, word in (([95], 3, "too rare"), ([80], 4, "3 steps ahead")):
        with pytest.raises(InputError, match=word):
            run.forecast(data=new(Path())[0], levels=levels, horizon=horizon)
    assert list(run.forecast(data=new(Path())[0], horizon=4))[3:] == []


@given(st.lists(st.integers(1, 999), min_size=1, max_size=6, unique=True))
def test_bounds_are_named_from_the_lowest_to_the_highest(tenths: list[int]) -> None:
    """As other tools order them, and as their chances rise."""
    levels = written.parsed("levels", [tenth / 10 for tenth in tenths])
    chances, names = written.chances(levels), written.bounds(levels)
    assert list(chances) == sorted(chances) and len(set(chances)) == len(names) == 2 * len(tenths)
    for name, chance in zip(names, chances, strict=True):
        side, level = name.split("-")
        tail = chance if side == "lo" else 1 - chance
        assert tail == pytest.approx((100 - float(level)) / 200)


def test_scores_leave_out_what_has_no_interval() -> None:
    """Neither a step without a bound nor a value that is missing counts."""
    intervals = Intervals(Even(), (80.0,))
    scores = IntervalScores(intervals.levels, 2, tenths=False)
    quantiles = np.array([[[0.0], [0.0]], [[1.0], [np.nan]]])
    scores.add(quantiles, intervals.chances, np.array([[0.5], [9.0]]), np.ones(1))
    scores.add(quantiles * np.nan, intervals.chances, np.array([[0.5], [9.0]]), np.ones(1))
    assert scores.metrics()["coverage_80"] == 1.0
    assert (scores.none, scores.ended) == (1, 1)
    assert scores.at(1) == {}
