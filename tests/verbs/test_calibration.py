"""The calibration of a run: what it sees, what it keeps, and what its intervals hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from terminal import command

import recurra
from recurra import InputError
from recurra.errors import Interrupted, RunError
from recurra.generate.conformal import Conformal, missed_by
from recurra.job import calibration
from recurra.job.data import load_data
from recurra.job.origins import origins_of
from recurra.job.run import Run
from recurra.job.train import Silent
from recurra.resolve import resolve
from recurra.runs.folder import RunFolder
from recurra.train.errors import Floats
from recurra.train.series import scale_of

TASK: dict[str, Any] = {
    "schema": 1,
    "name": "waves",
    "source": {"kind": "given"},
    "vocabulary": {"kind": "numeric", "scale_by": "series", "difference": 1},
    "target": {"kind": "next", "conformal": "split"},
    "sequence": {"length": 8, "split": ["rest", 0, 3], "split_by": "time"},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 3},
    "loss": {"kind": "mae"},
    "training": {"steps": 3, "batch_size": 2},
    "generation": {"length": 3},
    "device": {"path": "native"},
}
COUNT = 14


def waves(count: int = COUNT, seed: int = 0) -> list[NDArray[np.float64]]:
    """Return some series, each of another length."""
    draw = np.random.default_rng(seed)
    return [10 * 3.0**row + draw.normal(size=22 + row).cumsum() for row in range(count)]


def changed(**more: Any) -> dict[str, Any]:
    return {**TASK, **more}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run that is calibrated."""
    return recurra.run(TASK, data=waves(), runs=tmp_path_factory.mktemp("runs"))


def test_scores_are_what_another_model_misses_by(run: Run) -> None:
    """Its run lies inside, and knows nothing of what comes after an origin."""
    record = run.folder.records.calibration()
    assert record is not None and record.over == "point"
    inner = recurra.load(run.path / "calibration")
    assert inner.resolved.target.conformal == "none"
    resolved = run.resolved
    origins = origins_of(resolved, run.data(resolved))
    assert len(record.scores) == origins.count == 4
    left = 3 + 3 + origins.count - 1
    assert inner.task.sequence.leave_off == left
    assert max(len(own) for own in record.scores[0][0]) == COUNT

    for origin, steps in enumerate(record.scores):
        want: list[list[float]] = [[] for _ in range(3)]
        for values in waves():
            cutoff = len(values) - left + origin
            known = values[: len(values) - left]
            (session,) = (_fed(inner, values[:cutoff], known),)
            scale = float(scale_of(values[:cutoff, None], 0)[0])
            for step in range(3):
                point = float(session.forecast_step()[0])
                want[step].append((values[cutoff + step] - point) / scale)
        for step in range(3):
            np.testing.assert_allclose(steps[step][0], want[step], rtol=1e-4, atol=1e-5)


def _fed(run: Run, history: Floats, known: Floats) -> Any:
    """Return a session that has read a series, scaled by what is known of it."""
    from recurra.generate.session import Session

    made = Session(run.network, run.vocabulary, known=known[:, None], outlook=run.outlook)
    return made.feed_ids(history[:, None])


def test_nothing_after_training_is_in_it(run: Run, tmp_path: Path) -> None:
    """With other values there every byte of the calibration is the same."""
    other = [np.concatenate([values[:-3], values[-3:] * -7 + 1000]) for values in waves()]
    again = recurra.run(TASK, data=other, runs=tmp_path)
    first, second = ((each.path / "calibration.json").read_bytes() for each in (run, again))
    assert first == second
    within = [values.copy() for values in waves()]
    within[0][-4] += 1.0
    third = recurra.run(TASK, data=within, runs=tmp_path)
    assert (third.path / "calibration.json").read_bytes() != first


def test_the_points_are_those_of_a_run_without(run: Run, tmp_path: Path) -> None:
    """A calibration changes no weight and no forecast."""
    plain = recurra.run(changed(target={"kind": "next"}), data=waves(), runs=tmp_path)
    assert plain.result["generated"] == run.result["generated"]
    for name in ("mae", "mase"):
        figures = (each.result["forecast"]["metrics"][name] for each in (plain, run))
        assert next(figures) == next(figures)
    assert "bounds" not in plain.result and "lo-80" in run.result["bounds"]
    assert not (plain.path / "calibration.json").exists()


def test_a_series_multiplied_has_its_intervals_multiplied(run: Run) -> None:
    values = waves()[3].tolist()
    small, large = (
        next(run.predict([[value * factor for value in values]], levels=[80]))
        for factor in (1.0, 1e6)
    )
    for name in ("predicted", "lo-80", "hi-80"):
        np.testing.assert_allclose(large[name], np.array(small[name]) * 1e6, rtol=1e-5)


class Killed(Silent):
    """Kills the training of a calibration at a step."""

    def __init__(self, at: int) -> None:
        self.at, self.trainings = at, 0

    def started(self, total: int, done: int) -> None:
        """Count."""
        self.trainings += 1

    def stepped(self, progress: Any) -> None:
        """Kill."""
        if self.trainings == 2 and progress.step == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("every", [0, 1])
def test_a_calibration_that_was_killed_goes_on(run: Run, tmp_path: Path, every: int) -> None:
    """From its last checkpoint, or from its beginning: the scores and all else are the same."""
    training = {**TASK["training"], "checkpoint_every": every}
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        recurra.run(changed(training=training), data=waves(), runs=tmp_path, observer=Killed(2))
    path = tmp_path / "waves" / "1"
    assert not (path / "calibration.json").exists()
    again = recurra.resume(path, data=waves())
    assert not again.folder.records.hashes().keys() ^ run.folder.records.hashes().keys()
    scores = [each.folder.records.calibration().scores for each in (again, run)]  # type: ignore[union-attr]
    assert scores[0] == scores[1]
    assert again.result["bounds"] == run.result["bounds"]


def test_a_run_that_goes_on_is_calibrated_anew_where_it_trains_otherwise(
    run: Run, tmp_path: Path
) -> None:
    """For the same steps the scores stay, for more they are those of a model with as many."""
    path = tmp_path / "1"
    shutil.copytree(run.path, path)
    before = (path / "calibration.json").read_bytes()
    recurra.resume(path, data=waves())
    assert (path / "calibration.json").read_bytes() == before
    made = recurra.resume(path, {"training.steps": 4}, data=waves())
    inner = recurra.load(path / "calibration")
    assert inner.task.training.steps == 4 and inner.path.name == "2"
    assert (path / "calibration.json").read_bytes() != before
    assert made.folder.records.verify()


def test_a_calibration_is_kept_like_all_else(run: Run, tmp_path: Path) -> None:
    """A file that was changed is refused, and a run of before has none."""
    path = tmp_path / "1"
    shutil.copytree(run.path, path)
    assert recurra.load(path).intervals() is not None
    file = path / "calibration.json"
    file.write_text(file.read_text(encoding="utf-8").replace("[", "[ ", 1), encoding="utf-8")
    with pytest.raises(RunError, match=r"calibration\.json is damaged"):
        recurra.load(path)


def test_both_trainings_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    class Told(Silent):
        lines: list[str] = []  # noqa: RUF012

        def told(self, lines: list[str]) -> None:
            self.lines += lines

    observer = Told()
    recurra.run(TASK, data=waves(), runs=tmp_path, observer=observer)
    text = "\n".join(observer.lines)
    assert "calibration: training without the last 9 steps" in text
    assert "forecasts from 4 origins" in text
    notes = recurra.check(TASK, data=waves())["data"]["notes"]
    assert any("trains twice" in note and "56 scores of each step" in note for note in notes)


@pytest.mark.parametrize(
    ("series", "levels", "words"),
    [
        (waves(1), None, "level 80 needs 9"),
        (waves(), [99], "level 99 needs 199"),
        ([np.ones(30)] * 20, None, "give 0 scores of a step"),
    ],
)
def test_too_few_scores_are_refused_before_training(
    tmp_path: Path, series: list[Any], levels: Any, words: str
) -> None:
    """How many there are is said, and how many the level needs."""
    for verb in (recurra.check, recurra.run):
        more = {} if verb is recurra.check else {"runs": tmp_path}
        task = changed(generation={"length": 3, **({"levels": levels} if levels else {})})
        with pytest.raises(InputError) as error:
            verb(task, data=series, **more)
        (problem,) = error.value.problems
        assert problem.code == "RC041" and problem.key == "target.conformal"
        assert words in problem.fact
        assert "never changes" in (problem.cure or "")
    assert not list(tmp_path.rglob("*.toml"))


def test_a_single_series_gives_many_origins(tmp_path: Path) -> None:
    """As many as the levels need, while half of it is left to learn from."""
    (values,) = waves(1)
    series = np.tile(values, 8) + np.random.default_rng(3).normal(size=len(values) * 8)
    resolved = resolve(TASK, data=[series])
    origins = origins_of(resolved, load_data(resolved))
    assert origins.count == (len(series) - 3) // 4 - 2
    assert origins.cutoffs(origins.count - 1).tolist() == [len(series) - 6]


def test_whole_series_that_are_held_out_are_not_calibrated_on(tmp_path: Path) -> None:
    """Where series are split as a whole, the calibration model sees none of the others."""
    vocabulary = {"kind": "numeric", "difference": 1}
    sequence = {"length": 8, "split": [0.6, 0.2, 0.2], "split_by": "sequence"}
    task = changed(vocabulary=vocabulary, sequence=sequence)
    made = recurra.run(task, data=waves(20), runs=tmp_path)
    inner = recurra.load(made.path / "calibration")
    assert inner.task.sequence.split_by == "sequence"
    own, seen = (each.data(each.resolved.giving(waves(20))) for each in (made, inner))
    rows = [np.unique(each.store.sequence(each.splits["train"].begin)) for each in (own, seen)]
    np.testing.assert_array_equal(*rows)
    record = made.folder.records.calibration()
    assert record is not None and len(record.scores[0][0][0]) == len(rows[0])
    with pytest.raises(InputError, match="others would be held out"):
        recurra.check(task, data=[*waves(20), np.arange(7.0)])


@pytest.mark.parametrize("retrain", [False, True])
def test_a_backtest_calibrates_inside_the_past_of_each_fold(tmp_path: Path, retrain: bool) -> None:
    """A value that comes after a cutoff changes no bound of that fold."""
    task = changed(sequence={"length": 8, "split_by": "time"})
    series = waves(12)
    done = recurra.backtest(
        task, data=series, folds=2, levels=[80], retrain=retrain, backtests=tmp_path
    )
    later = [np.concatenate([values[:-3], values[-3:] + 50]) for values in series]
    other = recurra.backtest(
        task, data=later, folds=2, levels=[80], retrain=retrain, backtests=tmp_path
    )
    for fold in (1, 2):
        one, two = (each.folder.forecasts(fold) for each in (done, other))
        assert one is not None and two is not None and one.levels == (80.0,)
        np.testing.assert_array_equal(one.quantiles, two.quantiles)
    assert done.result["metrics"]["coverage_80"] > other.result["metrics"]["coverage_80"]
    trained = sorted(path.name for path in done.path.glob("fold-*") if path.is_dir())
    assert trained == (["fold-1", "fold-2"] if retrain else ["fold-1"])


def test_levels_move_from_fold_to_fold(tmp_path: Path) -> None:
    """What one model missed in a fold, as far as it is known at the next cutoff, moves that one."""
    task = changed(
        target={"kind": "next", "conformal": "adaptive"}, sequence={"length": 8, "split_by": "time"}
    )
    series = waves(12)
    done = recurra.backtest(task, data=series, folds=3, step=2, levels=[80], backtests=tmp_path)
    model = recurra.load(done.path / "fold-1")
    spread = model.spread
    assert isinstance(spread, Conformal) and spread.adaptive
    alpha = missed_by(0.9)
    moved = spread.missing(alpha).copy()
    for fold in (1, 2, 3):
        made = done.folder.forecasts(fold)
        assert made is not None
        low, high = (made.chances.index(chance) for chance in (0.1, 0.9))
        own = Conformal(spread.scores, 0, None, True, {alpha: moved})
        for row, values in enumerate(series):
            cutoff = len(values) - 3 - (3 - fold) * 2
            scale = float(scale_of(values[:cutoff, None], 0)[0])
            want = made.values[row] + own.quantile(0.9) * scale
            np.testing.assert_allclose(made.quantiles[row, high], want, rtol=1e-9)
        if fold == 1:
            future = np.stack([values[len(values) - 7 : len(values) - 4] for values in series])
            out = (future[..., None] < made.quantiles[:, low]) | (
                future[..., None] > made.quantiles[:, high]
            )
            known = np.arange(3)[:, None] < 2
            moved = np.where(known, moved + 0.05 * (alpha - out.mean(axis=0)), moved)
        if fold == 2:
            break


def test_other_data_has_the_intervals_of_the_run(run: Run) -> None:
    """evaluate measures other series by the scores that the run keeps."""
    figures = run.evaluate("all", data=waves(9, seed=5), levels=[80])
    assert 0 < figures["forecast"]["metrics"]["coverage_80"] <= 1
    assert figures["forecast"]["levels"] == [80.0]


def test_horizon_is_calibrated_too(tmp_path: Path) -> None:
    target = {"kind": "horizon", "length": 3, "residual": "naive", "conformal": "split"}
    expect = {"metrics": {"coverage_80": [0.0, 1.0]}}
    made = recurra.run(
        changed(target=target, generation={}, expect=expect), data=waves(), runs=tmp_path
    )
    assert made.result["broken_bands"] == []
    assert made.result["forecast"]["by_step"][2]["metrics"]["width_80"] > 0
    more = changed(target={**target, "conformal": "none"}, generation={})
    from_it = recurra.run(more, data=waves(), start=made, runs=tmp_path)
    origin = json.loads((from_it.path / "origin.json").read_text(encoding="utf-8"))
    assert "begins anew" not in origin["parts"]["head"]
    with pytest.raises(InputError, match="must not have seen"):
        recurra.run(changed(target=target, generation={}), data=waves(), start=made)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"target": {"kind": "next", "conformal": "both"}}, "target.conformal"),
        ({"generation": {"length": 0}}, "target.conformal"),
        ({"expect": {"metrics": {"coverage_70": [0, 1]}}}, "expect.metrics.coverage_70"),
        ({"training": {"monitor": "coverage_80"}}, "training.monitor"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as error:
        recurra.check(changed(**changes), data=waves())
    assert key in [problem.key for problem in error.value.problems]


def test_symbols_have_no_intervals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="forecasts of numbers"):
        recurra.check(
            {
                "source": {"kind": "inline", "text": "abcabc"},
                "vocabulary": {"kind": "character"},
                "target": {"kind": "next", "conformal": "split"},
                "encoder": {"kind": "one_hot"},
                "cell": {"kind": "gru", "hidden_size": 3},
                "loss": {"kind": "cross_entropy"},
            }
        )


def test_check_prints_that_it_trains_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ["unique_id,y"]
    rows += [f"s{row},{value}" for row, values in enumerate(waves()) for value in values]
    Path("waves.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    source = 'kind = "csv", path = "waves.csv", columns = ["y"], group = "unique_id"'
    text = "\n".join(f"{key} = {_toml(value)}" for key, value in TASK.items() if key != "source")
    Path("waves.toml").write_text(f"source = {{ {source} }}\n{text}\n", encoding="utf-8")
    assert "target.conformal trains twice" in command("check", "waves.toml").tidy(0).out
    shown = command("run", "waves.toml").tidy(0).out
    assert "coverage" in shown and "lo-80" in shown


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


@pytest.mark.parametrize(
    "count", [200, pytest.param(2000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_white_noise_is_covered_as_often_as_is_said(tmp_path: Path, count: int) -> None:
    """Of series that are all drawn alike, in whatever units, 80 % lie inside."""
    draw = np.random.default_rng(11)
    series = [draw.normal(size=30) * 10.0 ** draw.integers(-3, 4) for _ in range(count)]
    sequence = {"length": 8, "split_by": "time"}
    task = changed(vocabulary={"kind": "numeric", "scale_by": "series"}, sequence=sequence)
    done = recurra.backtest(task, data=series, folds=1, levels=[80], backtests=tmp_path)
    wide = 0.02 if count == 2000 else 0.06
    assert abs(done.result["metrics"]["coverage_80"] - 0.8) <= wide


def test_the_folder_of_a_calibration_has_its_name(run: Run) -> None:
    """It is a run as any other, which `load` opens."""
    assert RunFolder.open(run.path / calibration.NAME).path.name == "1"
