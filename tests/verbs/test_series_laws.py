"""What is said of a series hangs on its own past alone, with covariates and several steps at once:
not on its unit, on its company, on batches, or on what comes after.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra
from recurra.job import predict, results
from recurra.job.run import Run
from recurra.train.evaluate import evaluate

TASK: dict[str, Any] = {
    "name": "laws",
    "vocabulary": {"kind": "numeric", "scale_by": "series"},
    "sequence": {"length": 40, "split": [0.8, 0.1, 0.1], "split_by": "time"},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 3},
    "loss": {"kind": "mse"},
    "training": {"steps": 3, "batch_size": 3},
    "generation": {"length": 4},
    "device": {"kind": "cpu", "path": "native", "precision": "float64"},
}
SOURCE = {
    "kind": "given",
    "columns": ["y"],
    "group": "id",
    "future_covariates": ["price", "sky"],
    "static_covariates": ["area", "kind"],
}
FORMS: dict[str, dict[str, Any]] = {
    "next": {"source": SOURCE},
    "horizon": {
        "source": {**SOURCE, "past_covariates": ["load", "mood"]},
        "target": {"kind": "horizon", "length": 4, "residual": "naive", "decoder": "cell"},
        "vocabulary": {"kind": "numeric", "scale_by": "series", "difference": 1},
    },
}
"""A step after the other by what is known ahead, and several at once by what was too."""
AHEAD = 6
"""Steps that are known ahead."""
FUTURE, LATER = ("price", "sky"), ("y", "load", "mood")
"""What is known of a step before it comes, and what is not."""
Panel = dict[str, dict[str, list[Any]]]


def panel(seed: int = 0, lengths: tuple[int, ...] = (30, 34, 38)) -> Panel:
    """Return series by name, each with its covariates."""
    stream = np.random.default_rng(seed)
    series = {}
    for index, length in enumerate(lengths):
        walk = 20 + stream.normal(size=length).cumsum()
        series[f"s{index}"] = {
            "y": walk.tolist(),
            "load": stream.normal(size=length).tolist(),
            "mood": stream.choice(["good", "bad"], length).tolist(),
            "price": stream.normal(9, 5, length + AHEAD).tolist(),
            "sky": stream.choice(["sun", "rain"], length + AHEAD).tolist(),
            "area": [index * 1.5],
            "kind": ["AB"[index % 2]],
        }
    return series


def table(form: str, series: Panel) -> dict[str, list[Any]]:
    """Return the columns that a form reads, with rows of steps to come."""
    columns: dict[str, list[Any]] = {"id": []}
    for name, own in series.items():
        count = len(own["y"]) + AHEAD
        columns["id"] += [name] * count
        for column, values in own.items():
            full = values * count if len(values) == 1 else [*values, *[None] * AHEAD][:count]
            columns.setdefault(column, []).extend(full)
    named = {"id", "y"} | {name for role in FORMS[form]["source"].values() for name in role}
    return {name: column for name, column in columns.items() if name in named}


def forecast(run: Run, form: str, series: Panel) -> dict[str, list[float]]:
    """Return what a run says of each series."""
    answers = run.predict(data=table(form, series), horizon=4)
    return {answer["row"]: answer["predicted"] for answer in answers}


def times(series: Panel, name: str, factor: float) -> Panel:
    """Return the same series, one of them so many times as large."""
    larger = [value * factor for value in series[name]["y"]]
    return {**series, name: {**series[name], "y": larger}}


@pytest.fixture(scope="module", params=FORMS)
def form(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(form: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs = tmp_path_factory.mktemp(form)
    return recurra.run(TASK, FORMS[form], data=table(form, panel()), runs=runs)


def test_a_unit_is_that_of_one_series_through_training(form: str, run: Run, tmp_path: Path) -> None:
    """A million times the numbers of one series teach the same weights, and give a million times
    its forecasts and all others as they are: bit for bit, where that is a power of 2.
    """
    before = forecast(run, form, panel())
    for factor in (2.0**20, 1e6):
        larger = times(panel(), "s1", factor)
        other = recurra.run(TASK, FORMS[form], data=table(form, larger), runs=tmp_path)
        exactly = factor != 1e6
        apart = 0.0 if exactly else 1e-9
        for name, weight in run.network.state_dict().items():
            torch.testing.assert_close(
                other.network.state_dict()[name], weight, rtol=apart, atol=apart
            )
        after = forecast(other, form, larger)
        for name, steps in before.items():
            own = [value * factor for value in steps] if name == "s1" else steps
            assert after[name] == (own if exactly else pytest.approx(own, rel=1e-8))


@given(order=st.permutations(range(3)), count=st.integers(1, 3), rows=st.integers(1, 3))
@settings(max_examples=4, deadline=None)
def test_company_order_and_batches_change_nothing(
    order: list[int], count: int, rows: int, form: str, run: Run
) -> None:
    """A series among others says what it says alone, to the last bit, in batches of any size."""
    series = panel()
    wanted = forecast(run, form, series)
    assert len(wanted) == 3
    some = {f"s{place}": series[f"s{place}"] for place in order[:count]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "ROWS", rows)
        found = forecast(run, form, some)
    assert found == {name: wanted[name] for name in some}


def test_figures_hang_on_no_order(form: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor on how many series are read at once, and how many steps of them."""
    series = panel(1)
    turned = dict(reversed(series.items()))
    one = run.evaluate("all", data=table(form, series))
    alone = partial(evaluate, rows=1, window=7)
    monkeypatch.setattr(results, "evaluate", alone)
    other = run.evaluate("all", data=table(form, turned))
    for part in ("metrics", "baselines"):
        assert other[part].keys() == one[part].keys()
        for name, value in one[part].items():
            assert other[part][name] == pytest.approx(value, rel=1e-9), name


def test_the_order_of_series_teaches_nothing(form: str, run: Run, tmp_path: Path) -> None:
    """Where an update reads them all, it is the same in any order but for rounding."""
    turned = dict(reversed(panel().items()))
    other = recurra.run(TASK, FORMS[form], data=table(form, turned), runs=tmp_path)
    for name, weight in run.network.state_dict().items():
        torch.testing.assert_close(other.network.state_dict()[name], weight, rtol=1e-9, atol=1e-9)


def test_what_comes_after_a_cutoff_changes_no_byte(form: str, tmp_path: Path) -> None:
    """Neither values nor past covariates after it, nor future ones beyond the horizon: forecasts of
    its fold stay as they are, to the last bit, and those of a later one do not.
    """
    place = iter(range(9))

    def made(series: Panel) -> list[np.ndarray[Any, Any]]:
        folder = tmp_path / str(next(place))
        options: dict[str, Any] = {"folds": 2, "step": 3, "horizon": 4, "retrain": True}
        done = recurra.backtest(
            TASK, FORMS[form], data=table(form, series), backtests=folder, **options
        )
        folds = [done.folder.forecasts(fold) for fold in (1, 2)]
        return [each.values for each in folds if each is not None]

    before = made(panel())

    def moved(names: tuple[str, ...], cut: int) -> list[bool]:
        """Return of each fold whether it changes when the steps from `cut` before the end do."""
        series, other = panel(), panel(7)
        for name, own in series.items():
            at = len(own["y"]) - cut
            for column in names:
                own[column][at:] = other[name][column][at:]
        after = made(series)
        return [a.tobytes() != b.tobytes() for a, b in zip(after, before, strict=True)]

    # Fold 1 ends 3 steps before the end, and is 4 steps long; the cutoff of fold 2 is 4 before it.
    assert moved(LATER, 4) == [False, False]
    assert moved(LATER, 7) == [False, True]
    assert moved(FUTURE, 3) == [False, True]
    assert moved(FUTURE, 4) == [True, True]
