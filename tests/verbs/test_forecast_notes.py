"""What a figure or a forecast lacks is said and counted: values that are 0, series that do not
change or are too short, covariates that end, series that end at other times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurra

TASK: dict[str, Any] = {
    "name": "noted",
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 4, "split": ["rest", 0, 4], "split_by": "time"},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "rnn", "hidden_size": 2},
    "loss": {"kind": "mse"},
    "training": {"steps": 1, "batch_size": 1},
    "generation": {"length": 4},
    "device": {"path": "native"},
}


def noted(place: Path, data: Any, **source: Any) -> tuple[dict[str, Any], list[str]]:
    """Return what a run came to, and all that is said of its figures."""
    result = recurra.run({**TASK, "source": source}, data=data, runs=place).result
    return result, [*result["notes"], *result["forecast"]["notes"]]


@pytest.mark.parametrize(("zero", "width"), [("", 1), ("02", 2), ("0123", 1)])
def test_values_that_are_0_are_counted(zero: str, width: int, tmp_path: Path) -> None:
    """mape leaves them out, and of nothing else there is neither mape nor wape; so too in a
    backtest of the same steps.
    """
    series = np.arange(1.0, 13.0)
    series[[8 + int(at) for at in zero]] = 0.0
    data: NDArray[np.float64] = series if width == 1 else np.stack([series, series], axis=1)
    done = recurra.backtest({**TASK}, data=data, folds=1, backtests=tmp_path / "b").result
    result, _ = noted(tmp_path, data, kind="given")
    for metrics, notes in (
        (result["metrics"], result["notes"]),
        (result["forecast"]["metrics"], result["forecast"]["notes"]),
        (done["metrics"], done["notes"]),
    ):
        said = [note for note in notes if "mape" in note]
        count, some = len(zero) * width, 4 * width
        if not count:
            assert not said and "mape" in metrics
        elif count < some:
            assert said == [f"mape leaves out {count} of {some} values, which are 0"]
            assert "mape" in metrics and "wape" in metrics
        else:
            assert said == [f"no mape and no wape: all {some} values that came are 0"]
            assert "mape" not in metrics and "wape" not in metrics


def test_what_has_no_mase_and_what_has_no_part_is_counted(tmp_path: Path) -> None:
    """Of one series that does not change there is no mase; series without a part are counted."""
    result, notes = noted(tmp_path, np.ones(20), kind="given")
    assert "mase" not in result["metrics"] and "mase" not in result["forecast"]["metrics"]
    assert sum("no mase" in note for note in notes) == 2

    lengths = {"a": 20, "b": 4, "c": 3, "d": 20}
    table = {
        "id": [name for name, count in lengths.items() for _ in range(count)],
        "y": [float(step % 5) for count in lengths.values() for step in range(count)],
    }
    _, notes = noted(tmp_path, table, kind="given", columns=["y"], group="id")
    short = [note for note in notes if "too short to have a part in the test split" in note]
    assert short == ["2 of 4 series are too short to have a part in the test split"], notes


@pytest.mark.parametrize("ahead", [0, 2, 4, 5])
def test_what_cannot_be_generated_is_said_before_and_after(ahead: int, tmp_path: Path) -> None:
    """Future covariates of the last series that end too early: `check` and `run` say at which."""
    nothing = float("nan")
    table = {
        "id": ["a"] * 20 + ["b"] * (20 + ahead),
        "y": [float(step % 5) for step in range(40)] + [nothing] * ahead,
        "x": [float(step % 3) for step in range(40 + ahead)],
    }
    source = {"kind": "given", "columns": ["y"], "group": "id", "future_covariates": ["x"]}
    said = f"{ahead} of 4 steps can be generated behind the last series"
    told = recurra.check({**TASK, "source": source}, data=table)["data"]["notes"]
    result, notes = noted(tmp_path, table, **source)
    assert len(result["generated"]) == min(ahead, 4)
    for some in (told, notes):
        assert any(said in note and "not known: x" in note for note in some) == (ahead < 4)


def test_series_that_end_at_other_times_are_counted(tmp_path: Path) -> None:
    """In a backtest each is cut from its own end, so that others may go on behind its cutoff."""
    days = [str(day) for day in np.datetime64("2024-02-20") + np.arange(20)]

    def notes(count: int) -> list[str]:
        table = {
            "id": ["a"] * 20 + ["b"] * 20 + ["c"] * count,
            "ds": days + days + days[:count],
            "y": [float(step % 5) for step in range(40 + count)],
        }
        source = {"kind": "given", "columns": ["y"], "group": "id", "time": "ds"}
        task = {**TASK, "source": source}
        done = recurra.backtest(task, data=table, folds=1, backtests=tmp_path)
        return [note for note in done.result["notes"] if "another time" in note]

    assert not notes(20)
    (said,) = notes(14)
    assert said.startswith("1 of 3 series end at another time than most")
