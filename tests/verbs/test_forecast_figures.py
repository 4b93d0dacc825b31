"""Figures of forecasts, over all, by column, by step ahead and by series, against a plain loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import about, write

import recurra
from recurra.cli import show
from recurra.generate.session import Session
from recurra.job import forecasts
from recurra.job.build import build_network
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.train.errors import Errors

OF_STEP = 3
"""Steps that are forecast."""
OF_OTHERS = {"mean of all", "drift in logs", "seasonal drift in logs"}
"""Rules that hang on other series, or on a unit."""


def forecast(data: Any, network: Any, split: Any, horizon: int, season: int) -> Any:
    """Return the figures of the forecasts of a split, if there are any."""
    made = forecasts.foreseen(data, network, split, horizon)
    return made and forecasts.forecast(data, split, horizon, season, made)


def panel(tmp: Path, rows: list[Any], **changes: Any) -> Any:
    """Return the data of a panel of which the last steps are held out, and a network for it."""
    changes = {
        "sequence.split": ["rest", 0, OF_STEP], "sequence.split_by": "time",
        "generation.length": OF_STEP, "device.precision": "float64", **changes,
    }  # fmt: skip
    resolved = resolve(write(tmp, about(SERIES, "inline", series=rows)), changes)
    data = load_data(resolved)
    network, _ = build_network(resolved, data.vocabulary.size, data.names)
    return data, network


def plain(predicted: Any, actual: Any, scale: Any) -> dict[str, float]:
    """Return the figures of one column by their formulas, value by value."""
    pairs = list(zip(np.ravel(predicted).tolist(), np.ravel(actual).tolist(), strict=True))
    gaps = [abs(ours - came) for ours, came in pairs]
    found = {
        "mae": float(np.mean(gaps)),
        "rmse": math.sqrt(np.mean([gap**2 for gap in gaps])),
        "smape": float(
            np.mean(
                [
                    200 * abs(ours - came) / (abs(ours) + abs(came)) if ours or came else 0.0
                    for ours, came in pairs
                ]
            )
        ),
    }
    if any(came for _, came in pairs):
        found["mape"] = float(
            np.mean([100 * abs((ours - came) / came) for ours, came in pairs if came])
        )
        found["wape"] = 100 * sum(gaps) / sum(abs(came) for _, came in pairs)
    if scale:
        found["mase"] = found["mae"] / scale
    return found


@given(
    rows=st.lists(
        st.lists(st.integers(-9, 9), min_size=OF_STEP + 1, max_size=9), min_size=2, max_size=5
    ),
    season=st.integers(0, 2),
)
@settings(max_examples=12, deadline=None)
def test_figures_of_a_panel_are_those_of_a_plain_loop(
    rows: list[list[int]], season: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of each series, each step ahead and all: each error is measured by the change of its own
    series in training, mase is the mean over series, and one that does not change is left out.
    """
    rows = [[float(value) for value in row] for row in rows]
    rows[0] = [float(value) for value in range(9)]
    data, network = panel(tmp_path_factory.mktemp("panel"), rows, **{"sequence.season": season})
    found = forecast(data, network, "test", OF_STEP, season)
    assert found is not None and found["series"] == len(rows)

    lag, kept = season or 1, []
    for place, row in enumerate(rows):
        history, came = np.array(row[:-OF_STEP]), np.array(row[-OF_STEP:])
        session = Session(network, data.vocabulary)
        session.feed(history[:, None])
        ours = []
        for _ in came:
            ours.append(float(session.forecast_step()[0]))
        gaps = np.abs(history[lag:] - history[:-lag])
        scale = float(gaps.mean()) if len(gaps) else 0.0
        kept.append((np.array(ours), came, scale, history[-1]))

        told = found["by_series"][place]
        assert told["series"] == place + 1
        assert told["metrics"] == pytest.approx(plain(ours, came, scale), rel=1e-6, abs=1e-9)
        naive = plain(np.full(OF_STEP, history[-1]), came, scale)
        assert told["baselines"]["naive"] == pytest.approx(naive)

    def mase(pairs: list[tuple[float, float]]) -> dict[str, float]:
        ratios = [gap / scale for gap, scale in pairs if scale]
        return {"mase": float(np.mean(ratios))} if ratios else {}

    ours, came = (np.stack([each[part] for each in kept]) for part in (0, 1))
    last = np.array([each[3] for each in kept])[:, None] + np.zeros(OF_STEP)
    for metrics, said in ((found["metrics"], ours), (found["baselines"]["naive"], last)):
        gaps = np.abs(said - came)
        scales = [each[2] for each in kept]
        wanted = plain(said, came, 0) | mase(
            list(zip(gaps.mean(axis=1).tolist(), scales, strict=True))
        )
        assert metrics == pytest.approx(wanted, rel=1e-6, abs=1e-9)

    assert [step["ahead"] for step in found["by_step"]] == list(range(1, OF_STEP + 1))
    for at, step in enumerate(found["by_step"]):
        gaps = np.abs(ours - came)[:, at]
        wanted = plain(ours[:, at], came[:, at], 0) | mase(
            list(zip(gaps.tolist(), [each[2] for each in kept], strict=True))
        )
        assert step["metrics"] == pytest.approx(wanted, rel=1e-6, abs=1e-9)

    still = sum(not each[2] for each in kept)
    said = [note for note in found["notes"] if "no mase" in note]
    assert len(said) == bool(still)
    if still:
        assert f"no mase of {still} of {len(rows)} series" in said[0]


def test_columns_have_figures_of_their_own_at_each_step(tmp_path: Path) -> None:
    """Of two columns in units far apart mase and wape of a step are the mean of theirs."""
    rng = np.random.default_rng(0)
    rows = [(rng.normal(size=(9, 2)).cumsum(axis=0) * [1, 1e6]).tolist() for _ in range(3)]
    data, network = panel(tmp_path, rows)
    found = forecast(data, network, "test", OF_STEP, 0)
    assert found is not None
    for rule in ("naive", "drift"):
        series = [np.array(row) for row in rows]
        for ahead in range(1, OF_STEP + 1):
            shares, ratios = [], []
            for column in range(2):
                gaps, sizes, scaled = [], [], []
                for row in series:
                    past, came = row[:-OF_STEP, column], row[-OF_STEP + ahead - 1, column]
                    slope = (past[-1] - past[0]) / (len(past) - 1) if rule == "drift" else 0.0
                    gaps.append(abs(past[-1] + ahead * slope - came))
                    sizes.append(abs(came))
                    scaled.append(gaps[-1] / np.abs(np.diff(past)).mean())
                shares.append(100 * sum(gaps) / sum(sizes))
                ratios.append(np.mean(scaled))
            told = found["by_step"][ahead - 1]["baselines"][rule]
            assert told["wape"] == pytest.approx(np.mean(shares))
            assert told["mase"] == pytest.approx(np.mean(ratios))


def test_a_series_in_other_units_changes_nothing_of_the_others(tmp_path: Path) -> None:
    """A series a million times as large is forecast a million times as large, and the mase of no
    series changes, but that of the rule which is about all of them.
    """
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=12).cumsum().tolist() for _ in range(4)]
    larger = [[value * 2.0**20 for value in rows[0]], *rows[1:]]
    changes = {"vocabulary.scale_by": "series", "sequence.season": 4}
    told = []
    for name, series in (("as they are", rows), ("one larger", larger)):
        (tmp_path / name).mkdir()
        data, network = panel(tmp_path / name, series, **changes)
        found = forecast(data, network, "test", OF_STEP, 4)
        assert found is not None
        told.append(found)
    for plain_row, other in zip(*(found["by_series"] for found in told), strict=True):
        for ours, theirs in [
            (plain_row["metrics"], other["metrics"]),
            *((plain_row["baselines"][rule], other["baselines"][rule])
                for rule in plain_row["baselines"].keys() - OF_OTHERS),
        ]:  # fmt: skip
            assert theirs["mase"] == pytest.approx(ours["mase"], rel=1e-9)
    assert told[1]["metrics"]["mase"] == pytest.approx(told[0]["metrics"]["mase"], rel=1e-9)


def test_the_verdict_on_a_panel_is_by_mase(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors of series in units of their own cannot be added up: scaled ones can. What the terminal
    sums up stands whole in the result.
    """
    rng = np.random.default_rng(2)
    rows = [(rng.normal(size=15).cumsum() * size).tolist() for size in (1.0, 1e3, 1e6)]
    changes = {
        "sequence.split": ["rest", 0, OF_STEP], "sequence.split_by": "time",
        "generation.length": OF_STEP, "training.steps": 1,
    }  # fmt: skip
    task = write(tmp_path, about(SERIES, "inline", series=rows))
    result = recurra.run(task, changes, runs=tmp_path / "runs").result
    assert result["judged"] == "mase" and "mean absolute scaled error" in result["verdict"]
    best = min(result["forecast"]["baselines"].items(), key=lambda rule: rule[1]["mase"])
    assert result["best_baseline"] == best[0]

    show.figures(result)
    out = capsys.readouterr().out
    assert "mase by step ahead" in out and "mase by series: " in out
    assert "of 3; each is in --json" in out


def test_naive_stands_in_where_history_is_too_short(tmp_path: Path) -> None:
    """A short series among longer ones takes no rule from them: its own last value is said in the
    place of what needs more, and how many there are is told. What none is long enough for is none.
    """
    rng = np.random.default_rng(4)
    lengths = (12, 12, 2, 12)
    rows = [rng.normal(size=length + OF_STEP).cumsum().tolist() for length in lengths]
    data, network = panel(tmp_path, rows, **{"sequence.season": 6})
    found = forecast(data, network, "test", OF_STEP, 6)
    assert found is not None
    short, long = found["by_series"][2]["baselines"], found["by_series"][0]["baselines"]
    for rule in ("seasonal naive", "seasonal drift", "damped Holt", "Theta"):
        assert short[rule] == short["naive"] and long[rule] != long["naive"]
    assert short["drift"] != short["naive"]
    said = [note for note in found["notes"] if "naive stands in for" in note]
    assert len(said) == 3 and all("1 of 4 series" in note for note in said)

    none = forecast(data, network, "test", OF_STEP, 50)
    assert none is not None and "seasonal naive" not in none["baselines"]
    assert any("no seasonal naive: 4 of 4 series" in note for note in none["notes"])


def test_missing_values_enter_no_figure() -> None:
    """What did not come is not a number, and counts for nothing; what a model does not say does."""
    rng = np.random.default_rng(3)
    predicted, actual = rng.normal(size=(2, 20, 2))
    holes = rng.random(actual.shape) < 0.3
    errors, wanted = Errors(np.ones(2)), [Errors(np.ones(1)), Errors(np.ones(1))]
    errors.add(predicted, np.where(holes, np.nan, actual))
    for index, column in enumerate(wanted):
        there = ~holes[:, index]
        column.add(predicted[there, index], actual[there, index])
        assert errors.columns[index].metrics() == pytest.approx(column.metrics())
    errors.add(np.full((1, 2), np.nan), np.ones((1, 2)))
    assert math.isnan(errors.metrics()["mae"])


def test_the_naive_rule_on_m1_is_the_published_one() -> None:
    """Through the task that is shipped, the last 6 years of each of 181 series: 4.894322, as the
    evaluation of Chronos has it, to six digits; whatever the network says.
    """
    resolved = resolve(REPOSITORY / "tasks" / "m1_yearly.toml", {"device.path": "eager"})
    data = load_data(resolved)
    network, _ = build_network(resolved, data.vocabulary.size, data.names)
    found = forecast(data, network, "test", 6, 0)
    assert found is not None and found["series"] == 181
    assert round(found["baselines"]["naive"]["mase"], 6) == 4.894322
    assert found["baselines"]["damped Holt"]["mase"] == pytest.approx(3.385, abs=5e-3)
    assert found["by_step"][-1]["ahead"] == 6 and len(found["by_series"]) == 181


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.0, 10.0])
@pytest.mark.parametrize("scale_by", ["all", "series"])
def test_nothing_is_better_than_the_mean_of_white_noise(
    level: float, scale_by: str, tmp_path: Path
) -> None:
    """Of 2,000 series of white noise, about one mean or each about its own, a network knows no more
    than the mean.
    """
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2000, 60)) + level * rng.normal(size=(2000, 1))
    lines = [f"s{at},{value:.6f}\n" for at, row in enumerate(noise) for value in row.tolist()]
    (tmp_path / "noise.csv").write_text("unique_id,y\n" + "".join(lines), encoding="utf-8")
    path = str(tmp_path / "noise.csv")
    changes = {
        "sequence.split": ["rest", 0, 12], "sequence.split_by": "time", "sequence.length": 60,
        "vocabulary.scale": "standard", "vocabulary.scale_by": scale_by, "generation.length": 12,
        "training.batch_size": 64, "training.steps": 100, "loss.kind": "mae",
    }  # fmt: skip
    task = write(tmp_path, about(SERIES, "csv", path=path, columns=["y"], group="unique_id"))
    result = recurra.run(task, changes, runs=tmp_path / "runs").result
    assert result["verdict"].startswith("does not beat"), result["verdict"]
    assert result["best_baseline"] in ("mean", "mean of all")
