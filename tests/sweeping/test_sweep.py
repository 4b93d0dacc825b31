"""Sweeps: each trial is made once by whoever makes it, and the best is judged once."""

from __future__ import annotations

import json
import math
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import RATE, SPACE, Player, figure, playing, swept
from trials import PROSE, write

import recurra
from recurra.errors import InputError, Interrupted, RecurraError, RunError
from recurra.trials.trial import Trial

__all__ = ["playing"]
optuna = pytest.importorskip("optuna")

SAMPLERS: list[dict[str, Any]] = [
    {"kind": "tpe", "startup": 3},
    {"kind": "random"},
    {"kind": "qmc"},
    {"kind": "grid"},
]
GRID = {RATE: [0.01, 0.1, 0.5], "cell.hidden_size": {"low": 3, "high": 9, "step": 3}}


def varied(sampler: dict[str, Any], pruner: str, seeds: int) -> dict[str, Any]:
    """Return the space with another sampler and pruner."""
    space = SPACE | {"sampler": sampler, "pruner": {"kind": pruner}, "seeds": seeds}
    return space | {"space": GRID} if sampler["kind"] == "grid" else space


@given(
    sampler=st.sampled_from(SAMPLERS),
    how=st.sampled_from([("none", 1), ("asha", 1), ("median", 2)]),
    kills=st.frozensets(st.integers(1, 12), min_size=1, max_size=3),
)
@settings(max_examples=2)
def test_one_that_is_killed_anywhere_goes_on_to_the_same_bytes(
    sampler: dict[str, Any],
    how: tuple[str, int],
    kills: frozenset[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What is finished is not made again, what was begun goes on, and the best is judged once."""
    killed_and_gone_on(varied(sampler, *how), kills, tmp_path_factory)


@pytest.mark.slow
@given(kills=st.frozensets(st.integers(1, 24), min_size=1, max_size=3))
@settings(max_examples=3)
def test_one_of_many_seeds_goes_on_to_the_same_bytes_too(
    kills: frozenset[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What a trial has of its seeds stays, and decides as if nothing had happened."""
    killed_and_gone_on(varied(SAMPLERS[0], "wilcoxon", 5), kills, tmp_path_factory)


def killed_and_gone_on(
    space: dict[str, Any], kills: frozenset[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Sweep a space once whole, and once killed in some runs, and hold one against the other."""
    whole, broken = Player(), Player(killed=kills)
    folder = Path(swept(tmp_path_factory.mktemp("whole"), [whole], space).folder)

    home = tmp_path_factory.mktemp("broken")
    into = home / "sweep"
    for _ in range(len(kills) + 1):
        try:
            swept(home, [broken], space, folder=into)
            break
        except Interrupted as told:
            assert f"recurra sweep {into}" in str(told)
    assert (into / "sweep.json").read_bytes() == (folder / "sweep.json").read_bytes()
    assert (into / "best.toml").read_bytes() == (folder / "best.toml").read_bytes()
    assert broken.made == whole.made and len(set(whole.made)) == len(whole.made)
    assert len(broken.judged) == len(whole.judged) == 1
    swept(into, [broken])
    assert len(broken.judged) == 1


def test_a_trial_that_is_ended_again_and_again_fails_where_it_comes_no_further(
    tmp_path: Path,
) -> None:
    """With a later checkpoint each time it goes on, however often it is ended."""
    space = SPACE | {"trials": 1}
    for step in range(1, 7):
        with pytest.raises(Interrupted):
            swept(tmp_path, [Player(killed=frozenset([1]))], space, folder=tmp_path / "further")
        kept = tmp_path / "further" / "trials" / "0" / "seed-0" / "1" / "checkpoints"
        kept.mkdir(exist_ok=True)
        index = {"last": step, "best": step, "sha256": {f"step-{step}": "0" * 64}}
        (kept / "index.json").write_text(json.dumps(index))
    made = swept(tmp_path, [Player()], space, folder=tmp_path / "further")
    assert made.counts == {"done": 1, "pruned": 0, "failed": 0}
    for _ in range(3):
        with pytest.raises(Interrupted):
            swept(tmp_path, [Player(killed=frozenset([1]))], space, folder=tmp_path / "vain")
    with pytest.raises(RunError, match="3 processes that made it were gone"):
        swept(tmp_path, [Player()], space, folder=tmp_path / "vain")


@pytest.mark.parametrize("sampler", SAMPLERS[::3], ids=lambda each: str(each["kind"]))
def test_several_processes_make_each_trial_once(sampler: dict[str, Any], tmp_path: Path) -> None:
    """Told the same folder they share the trials, and one judges.

    What is drawn by the number of a trial alone is what one process draws.
    """
    space = varied(sampler, "none", 1) | {"trials": 7}
    write(tmp_path, PROSE)
    crowd = [[Player(), Player()] for _ in range(3)]
    came: list[Any] = [None] * 3

    def take_part(at: int) -> None:
        came[at] = swept(tmp_path, crowd[at], space, folder=tmp_path / "shared")

    threads = [threading.Thread(target=take_part, args=(at,)) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [name for players in crowd for player in players for name in player.made]
    assert sorted(made) == [f"{number}/seed-0" for number in range(7)]
    assert sum(len(player.judged) for players in crowd for player in players) == 1
    assert came[0] is not None and came[0] == came[1] == came[2]
    if sampler["kind"] != "tpe":
        alone = swept(tmp_path, [Player()], space)
        assert came[0].record() == alone.record()


def test_the_best_is_that_of_a_search_by_hand(tmp_path: Path) -> None:
    """A grid has every point once, the least figure is the best, and both figures are told."""
    made = swept(tmp_path, [Player()], varied({"kind": "grid"}, "none", 1) | {"trials": None})
    points = [(row.values[RATE], row.values["cell.hidden_size"]) for row in made.trials]
    assert sorted(points) == sorted((r, w) for r in (0.01, 0.1, 0.5) for w in (3, 6, 9))
    best = min(made.trials, key=lambda row: figure(row.values))
    assert made.best == best.number and made.front == [best.number]
    assert made.validation == {"loss": figure(best.values) + 0.25}
    assert made.test == {"loss": figure(best.values) + 1}


def test_the_front_is_what_optuna_says(tmp_path: Path) -> None:
    """Of two metrics those trials are told that none is better than in both."""
    space = SPACE | {"trials": 12, "metrics": ["loss", "parameters"], "sampler": {"kind": "qmc"}}
    made = swept(tmp_path, [Player()], space)
    backend = optuna.storages.journal.JournalFileBackend(f"{made.folder}/storage.jsonl")
    study = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
    assert 1 < len(made.front) < 12
    assert made.front == sorted(trial.number for trial in study.best_trials)
    losses = {row.number: row.figures["loss"] for row in made.trials}
    assert made.best == min(losses, key=lambda number: losses[number] or 0)


def test_what_is_not_there_is_not_drawn(tmp_path: Path) -> None:
    """A key with a condition has a value in those trials alone in which that holds."""
    space = {
        "trials": 12,
        "sampler": {"kind": "grid"},
        "space": {
            "cell.kind": ["gru", "lstm"],
            "cell.forget_bias": {"choices": [0.0, 1.0, 2.0], "when": {"cell": {"kind": "lstm"}}},
        },
    }
    made = swept(tmp_path, [Player()], space)
    found = [tuple(row.values.values()) for row in made.trials]
    assert found == [("gru",), ("lstm", 0.0), ("lstm", 1.0), ("lstm", 2.0)]
    drawn = swept(tmp_path, [Player()], space | {"sampler": {"kind": "tpe", "startup": 2}})
    for row in drawn.trials:
        assert ("cell.forget_bias" in row.values) == (row.values["cell.kind"] == "lstm")


def test_trials_that_fail_count(tmp_path: Path) -> None:
    """They are told, with the reason, and none is made in their place; where all fail, too."""

    def unlucky(trial: Trial) -> float:
        bad = trial.overrides["cell.hidden_size"] > 5
        return math.nan if bad else figure(trial.overrides)

    player = Player(unlucky)
    made = swept(tmp_path, [player], SPACE)
    failed = [row for row in made.trials if row.state == "failed"]
    assert made.counts["failed"] == len(failed) > 0 and len(player.made) == 8
    assert {row.why for row in failed} == {"the loss became infinite"}
    assert any(note.startswith(f"{len(failed)} of 8 trials failed") for note in made.notes)
    with pytest.raises(RunError, match="none of 8 trials has come to its end"):
        swept(tmp_path, [Player(lambda trial: math.nan)], SPACE)


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_what_is_worse_is_pruned_early(pruner: str, tmp_path: Path) -> None:
    """The best of the same points is never pruned, and the worst costs fewer validations."""
    space = SPACE | {"trials": 12, "sampler": {"kind": "qmc"}, "pruner": {"kind": pruner}}
    player = Player()
    found = swept(tmp_path, [player], space)
    figures = [figure(row.values) for row in found.trials]
    assert found.best == figures.index(min(figures)) and found.counts["pruned"] > 2
    assert len(player.reports) < 0.9 * 12 * 4
    worst = figures.index(max(figures))
    assert found.trials[worst].state == "pruned" or worst < 5


@pytest.mark.slow
def test_seeds_that_are_all_worse_end_a_trial(tmp_path: Path) -> None:
    """Of many seeds only the first are made of a trial that is worse than the best in each."""
    space = SPACE | {"trials": 6, "seeds": 6, "sampler": {"kind": "qmc"}}
    space["pruner"] = {"kind": "wilcoxon"}
    player = Player()
    made = swept(tmp_path, [player], space)
    states = [row.state for row in made.trials]
    assert states.count("pruned") >= 2 and len(player.made) < 6 * 6
    for row in made.trials:
        runs = sum(name.startswith(f"{row.number}/") for name in player.made)
        assert runs == 6 if row.state == "done" else 3 < runs < 6
        if row.state == "done":
            mean = figure(row.values) + 0.25 + sum(range(6)) / 6000
            assert row.figures["loss"] == pytest.approx(mean)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a sweep that is made."""
    return Path(swept(tmp_path_factory.mktemp("finished"), [Player()], SPACE).folder)


@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=5)
def test_a_storage_that_is_damaged_never_tells_anything_else(
    place: float,
    byte: int,
    cut: bool,
    finished: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With one byte that is another it is refused, or all comes out as it was.

    One that is cut off goes on from where it ends.
    """
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("damaged") / "1"))
    (folder / "sweep.json").unlink()
    content = bytearray((folder / "storage.jsonl").read_bytes())
    at = min(int(place * len(content)), len(content) - 1)
    if cut:
        content = content[:at]
    else:
        content[at] = byte
    (folder / "storage.jsonl").write_bytes(content)
    try:
        swept(folder, [Player()])
    except RecurraError as error:
        assert not cut, str(error)
        assert (
            "storage.jsonl" in str(error)
            and "another sweep" in str(error)
            or "folder" in str(error)
        )
    else:
        assert (folder / "sweep.json").read_bytes() == (finished / "sweep.json").read_bytes()


def test_another_sweep_in_the_folder_is_refused(finished: Path, tmp_path: Path) -> None:
    """A folder, and a storage, belong to one task, one space and its data."""
    folder = Path(shutil.copytree(finished, tmp_path / "1"))
    with pytest.raises(InputError, match="another space"):
        swept(tmp_path, [Player()], SPACE | {"trials": 9}, folder=folder)
    with pytest.raises(InputError, match="another task"):
        swept(tmp_path, [Player()], SPACE, folder=folder, overrides={"training.steps": 3})
    other = Path(swept(tmp_path, [Player()], SPACE | {"seed": 1}).folder)
    (folder / "sweep.json").unlink()
    shutil.copy(other / "storage.jsonl", folder / "storage.jsonl")
    with pytest.raises(InputError, match="storage of another study"):
        swept(folder, [Player()])


def test_without_optuna_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written, and the extra is named."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"recurra\[sweep\]"):
        swept(tmp_path, [Player()], SPACE)
    assert not (tmp_path / "sweeps").exists()


def test_a_task_alone_is_no_sweep(tmp_path: Path, finished: Path) -> None:
    """What is varied must be said; in a sweep that goes on nothing is."""
    with pytest.raises(InputError, match="no space"):
        recurra.sweep({"source": {}})
    with pytest.raises(InputError, match="says itself"):
        recurra.sweep(finished, None, {"seed": 1})
    assert json.loads((finished / "sweep.json").read_text())["best"] == recurra.sweep(finished).best
