"""Every bound that a figure is made under, and every baseline that is missing, is said beside the
figure.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import SERIES
from terminal import command
from trials import PROSE, about, write

import recurra
from recurra.cli import show
from recurra.cli.display import excerpt
from recurra.cli.generations import Forecasts
from recurra.cli.visible import visible
from recurra.data import segments
from recurra.job import forecasts
from recurra.job.build import build_network
from recurra.job.data import load_data
from recurra.job.forecasts import history_and_future
from recurra.job.results import figures
from recurra.resolve import resolve


def found(place: Path, text: str, changes: dict[str, Any], split: str = "test") -> dict[str, Any]:
    """Return the figures of an untrained network."""
    resolved = resolve(write(place, text), changes)
    data = load_data(resolved)
    network, _ = build_network(resolved, data.vocabulary.size)
    return figures(resolved.task, data, network, split)  # type: ignore[arg-type]


def many(count: int, steps: int = 4) -> str:
    return about(
        SERIES,
        "inline",
        series=[[float(row + step) for step in range(steps)] for row in range(count)],
    )


def test_a_sample_of_series_is_drawn_over_all_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more series than are forecast, those that are lie over all of them, and both numbers are
    told.
    """
    changes = {"sequence.split": [2, 0, 40], "generation.length": 1}
    whole = found(tmp_path, many(42), changes)["forecast"]
    assert whole["series"] == whole["of_series"] == 40 and whole["notes"] == []
    monkeypatch.setattr(forecasts.foreseen, "__defaults__", (10, None))
    some = found(tmp_path, many(42), changes)["forecast"]
    assert (some["series"], some["of_series"]) == (10, 40)
    assert "10 of 40 series" in some["notes"][0]
    resolved = resolve(tmp_path / "task.toml", changes)
    data = load_data(resolved)
    pairs, total = history_and_future(data, "test", 1, 10)
    first = [float(series.history[0, 0]) for series in pairs]
    every = sorted(float(data.store.values[low, 0]) for low in data.splits["test"].low)
    assert total == 40 and len(set(first)) == 10 and {every[0], every[-1]} <= set(first)


@pytest.mark.parametrize(
    ("bound", "said"), [("SCORED", "first 3 of"), ("SEGMENT", "2 predictions")]
)
@pytest.mark.parametrize("text", [PROSE, SERIES], ids=["symbols", "numbers"])
def test_a_bounded_split_says_so(
    bound: str, said: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only a part of a split is scored, or only a part of the past is read, a note says how
    much.
    """
    plain = found(tmp_path, text, {})
    assert plain["notes"] == []
    for module in ("job.results", "job.forecasts", "job.elements", "data.splits", "data.segments"):
        monkeypatch.setattr(
            f"recurra.{module}.{bound}", 3 if bound == "SCORED" else 2, raising=False
        )
    if bound == "SEGMENT":
        monkeypatch.setattr(segments, "CONTEXT", 1)
    notes = " ".join(found(tmp_path, text, {})["notes"])
    assert said in notes


def test_a_bounded_history_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forecast that reads less than the whole past says how much it reads."""
    monkeypatch.setattr(forecasts, "HISTORY", 3)
    assert "the last 3 steps" in found(tmp_path, SERIES, {})["forecast"]["notes"][0]


def test_a_missing_seasonal_baseline_says_why(tmp_path: Path) -> None:
    """In both tables a rule that some series are too short for is named, with how many they are."""
    ahead = found(
        tmp_path,
        many(8),
        {"sequence.split": [4, 0, 4], "sequence.season": 6, "generation.length": 2},
    )
    for table in (ahead, ahead["forecast"]):
        assert "seasonal naive" not in table["baselines"]
        assert any(
            "no seasonal naive" in note and "4 of 4 series" in note for note in table["notes"]
        )
    alone = found(tmp_path, SERIES, {"sequence.season": 4})
    assert (
        "seasonal naive" in alone["baselines"]
        and alone["notes"] == alone["forecast"]["notes"] == []
    )


def test_notes_are_printed_beside_their_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is to be said of a table stands under it."""
    show.figures(
        found(
            tmp_path,
            many(8),
            {"sequence.split": [4, 0, 4], "sequence.season": 6, "generation.length": 2},
        )
    )
    assert capsys.readouterr().out.count("note: no seasonal naive") == 2


MINUS_ZERO = re.compile(r"(?<![\w.])-0(\.0+)?(?![\w.])")


@pytest.mark.parametrize("value", [-0.0, 0.0])
def test_no_figure_is_less_than_nothing_by_a_sign(
    value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 is printed as 0, whatever sign the arithmetic has left on it."""
    table = {"mae": value, "rmse": value}
    forecast = {
        "steps": 1,
        "metrics": table,
        "baselines": {"naive": table},
        "by_step": [{"ahead": 1, "metrics": table, "baselines": {"naive": table}}] * 2,
        "by_series": [{"series": 1, "metrics": table, "baselines": {"naive": table}}] * 2,
        "notes": [],
        "last_series": {"actual": [[value]], "model": [[value]], "naive": [[value]]},
    }
    shown = {
        "split": "test",
        "metrics": table,
        "baselines": {"naive": table},
        "notes": [],
        "forecast": forecast,
        "verdict": "",
        "best_baseline": "naive",
    }
    show.figures(shown)
    Forecasts().write(iter([value, [value, value]]), "", 1)
    assert not MINUS_ZERO.search(capsys.readouterr().out)


def test_json_holds_no_minus_zero(tmp_path: Path) -> None:
    """Neither do the files of a run: a series that stands still is forecast without a sign on 0."""
    task = write(tmp_path, about(SERIES, "inline", values=[-0.0] * 20))
    run = recurra.run(task, {"training.steps": 1}, runs=tmp_path / "runs")
    for name in ("result.json", "metrics.jsonl", "samples.txt"):
        assert not MINUS_ZERO.search((run.path / name).read_text()), name
    assert not MINUS_ZERO.search(command("evaluate", run.path, "--json").tidy(0).out)


def test_a_terminal_obeys_no_text() -> None:
    """Control characters of a text are shown as escapes, and what is not one stays as it is."""
    text = "a\x1b[31m\0b\r\x85\u202e c\td\né日本"
    assert visible(text) == "a\\x1b[31m\\x00b\\x0d\\x85\\u202e c\td\né日本"
    assert "\x1b" not in excerpt(text) and "\n" not in excerpt(text)


def test_generated_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """No markup is read in what a network writes, and no name of a smiley."""
    text = "[bold] :smiley: [/bold]"
    done = {
        "task": "t",
        "parameters": 1,
        "steps": 1,
        "weights_of_step": 1,
        "seconds": 0.0,
        "run": "r",
        "generated": text,
        "split": "test",
        "metrics": {},
        "baselines": {},
        "notes": [],
        "verdict": "",
    }
    show.result(done)
    assert f"generated: {text}" in capsys.readouterr().out


def test_columns_of_other_units_are_compared_each_in_its_own(tmp_path: Path) -> None:
    """A column's baselines are those of a task on it alone, and the verdict is about scaled errors,
    not mixed units.
    """
    rows = [[float(step % 7), 1e6 * (step * 5 % 11)] for step in range(60)]
    changes = {"sequence.split": [0.6, 0.2, 0.2], "generation.length": 4, "sequence.season": 5}
    both = found(tmp_path / "both", about(SERIES, "inline", values=rows), changes)
    for index in range(2):
        text = about(SERIES, "inline", values=[row[index] for row in rows])
        alone = found(tmp_path / str(index), text, changes)
        for part, other in ((both, alone), (both["forecast"], alone["forecast"])):
            assert part["columns"][index]["baselines"] == other["baselines"]
            assert part["columns"][index]["metrics"].keys() == other["metrics"].keys() - {"loss"}
            assert "columns" not in other
    assert (
        "mean absolute scaled error" in both["verdict"]
        and "mean absolute error" in alone["verdict"]
    )
    scaled = [column["metrics"]["mase"] for column in both["forecast"]["columns"]]
    assert both["forecast"]["metrics"]["mase"] == pytest.approx(sum(scaled) / 2)
    show.figures(both)
