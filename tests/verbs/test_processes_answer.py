"""Several processes answer a file as one would, byte for byte, and the first alone writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asked import table
from conftest import SERIES
from trials import LABELS, about, write
from worlds import side_by_side

import recurra
from recurra.cli import predictions
from recurra.errors import InputError, RunError
from recurra.job import predict, scored
from recurra.job.rolling import backtest_of_run
from recurra.job.scored import Asked, scoring_of
from recurra.job.train import Silent
from recurra.world import World, world

QUICK = {"device.kind": "cpu", "device.path": "eager", "training.steps": 2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that tells labels, one that forecasts series, and new data for them."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["ab" * (at % 5) + "a" * (at % 3) + "b" for at in range(24)]
    rows = [(word, "xy"[at % 2]) for at, word in enumerate(words)]
    table(folder / "words.csv", ["word", "way"], rows)
    table(folder / "new.csv", ["word"], [[word] for word in words[1:]])
    table(folder / "bad.csv", ["word"], [[word] for word in [*words[:9], "", *words[9:]]])
    (folder / "unread.csv").write_text((folder / "new.csv").read_text() + "1,2,3\n")
    text = about(LABELS, "csv", path="words.csv", columns=["word"], label="way")
    told = recurra.run(write(folder, text), QUICK, runs=folder / "runs")

    steps = [
        (f"s{row}", at, (at * (row + 2)) % 7 + at / 10) for row in range(9) for at in range(12)
    ]
    table(folder / "panel.csv", ["place", "when", "y"], steps)
    panel = about(SERIES, "csv", path="panel.csv", columns=["y"], group="place")
    changes = {
        "loss": {"kind": "gaussian_nll"}, "generation.paths": 20,
        "sequence.split_by": "time", "sequence.split": ["rest", 0, 4], **QUICK,
    }  # fmt: skip
    ahead = recurra.run(write(folder, panel, "panel.toml"), changes, runs=folder / "runs")
    return {"words": told.path, "panel": ahead.path, "folder": folder}


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Answer a few rows at a time, so that there are many batches."""
    monkeypatch.setattr(predict, "ROWS", 4)
    monkeypatch.setattr(scored, "SERIES", 2)
    yield


def written(run: Path, file: Path, output: Path, asked: Any = None, **more: Any) -> Any:
    """Return what a process that writes answers, or scores, to a file comes to."""
    opened = recurra.load(run)
    try:
        if asked is not None:
            predictions.write_scores(scoring_of(opened, None, file, None, asked), output, False)
            return None
        return predictions.write(opened.table(None, file=file, **more), output, False)
    except (InputError, RunError) as error:
        return str(error)


ASKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "labels": ("words", "new.csv", {}),
    "a fault": ("words", "bad.csv", {}),
    "faults told": ("words", "bad.csv", {"skip_bad": True}),
    "an unreadable row": ("words", "unread.csv", {}),
    "forecasts": ("panel", "panel.csv", {"horizon": 5}),
    "scores": ("panel", "panel.csv", {"asked": Asked(threshold=0.5)}),
    "scores by the run's own": ("panel", "panel.csv", {"asked": Asked(alarm=0.2, history=2)}),
}


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_file_is_answered_as_by_one(
    runs: dict[str, Path],
    what: str,
    size: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same bytes in the order of the file, the same words on the terminal and the same error,
    which is raised in all; nothing stands under the final name where there is one.
    """
    name, file, more = ASKED[what]
    one, many = tmp_path / "one" / "out.csv", tmp_path / "many" / "out.csv"
    for path in (one, many):
        path.parent.mkdir()
    wanted = written(runs[name], runs["folder"] / file, one, **more)
    said = capsys.readouterr().out
    found = side_by_side(size, lambda _: written(runs[name], runs["folder"] / file, many, **more))

    assert found == [wanted] * size
    assert capsys.readouterr().out == said.replace(str(one), str(many))
    assert one.exists() == many.exists() == (not isinstance(wanted, str))
    if one.exists():
        assert many.read_bytes() == one.read_bytes()
    assert [path.name for path in many.parent.iterdir()] == ["out.csv"] * many.exists()


def test_a_run_is_backtested_as_by_one(runs: dict[str, Path], tmp_path: Path) -> None:
    """Forecasts of series are shared out: one folder, the frame and the figures of one process."""

    def work(_: World) -> Any:
        place = tmp_path / str(world().size)
        shape = 2, 2, 2
        made = backtest_of_run(recurra.load(runs["panel"]), {}, None, shape, [80], place, Silent())
        return made.path, made.result, made.frame()

    path, wanted, frame = work(World())
    found = side_by_side(2, work)
    assert len({made[0] for made in found}) == 1
    for _, result, own in found:
        for key in ("metrics", "baselines", "by_step", "by_fold", "verdict", "notes"):
            _alike(result[key], wanted[key], {"run"})  # type: ignore[literal-required]
        _alike(own, frame, set())
    names = [sorted(each.name for each in place.iterdir()) for place in (path, found[0][0])]
    assert names[0] == names[1]


def _alike(found: Any, wanted: Any, beside: set[str]) -> None:
    """Assert that plain data is the same within what a float32 network rounds."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name in wanted.keys() - beside:
            _alike(found[name], wanted[name], beside)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for own, other in zip(found, wanted, strict=True):
            _alike(own, other, beside)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    else:
        assert found == wanted
