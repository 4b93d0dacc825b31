"""What a carried run says of its beginnings, and how generation begins warm."""

from __future__ import annotations

import json
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from conftest import SERIES
from terminal import command
from trials import PROSE, write

import recurra
from recurra.bench import suite
from recurra.errors import InputError, OtherVersion
from recurra.generate.beginning import begun
from recurra.job import results
from recurra.job.run import Run
from recurra.resolve import resolve
from recurra.spec import versions
from recurra.spec.tables import MOST, RESTART, Sequence

CARRIED = {
    "sequence.carry": True,
    "training.steps": 3,
    "source.text": "the cat sat\non the mat " * 8 + "and",
}


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("carried")
    return recurra.run(write(folder, PROSE), CARRIED, runs=folder / "runs")


def test_a_carried_run_measures_its_beginnings(carried: Run) -> None:
    """Cold and warm stand in the result, in metrics.jsonl, in `evaluate` of each split and on the
    terminal.
    """
    result = json.loads((carried.path / "result.json").read_text())
    assert {"cold", "warm"} <= result["metrics"].keys()
    assert result["beginnings"] == {"places": 18, "steps": 64, "before": 1024}
    assert carried.metrics()[-1]["cold"] == result["metrics"]["cold"]
    for split in ("train", "validation", "test"):
        found = carried.evaluate(split)
        assert {"cold", "warm"} <= found["metrics"].keys()
    assert found["metrics"]["cold"] == pytest.approx(result["metrics"]["cold"])
    shown = command("evaluate", carried.path).tidy(0).out
    assert "cold" in shown and "warm" in shown and "18 places of the split" in shown
    assert "cold" not in json.dumps(carried.folder.metrics()[:-1]), "a validation is not slowed"


def test_a_run_of_windows_has_no_beginnings(tmp_path: Path) -> None:
    """Windows begin with a fresh state, each of them: there is nothing to be warned of."""
    run = recurra.run(write(tmp_path, PROSE), {"training.steps": 2}, runs=tmp_path / "runs")
    assert "beginnings" not in run.result and "cold" not in run.result["metrics"]


@pytest.mark.parametrize(("cold", "warm", "restart", "words"), [
    (1.45, 1.4, 0.05, []), (2.0, 1.4, 0.05, ["2 nats", "warm 1.4", "--warm"]),
    (2.0, 1.4, 0.0, ["2 nats", "sequence.restart"]), (1.3, 1.4, 0.0, []), (0.03, 0.005, 0.05, []),
])  # fmt: skip
def test_the_verdict_says_when_a_network_cannot_begin(
    cold: float,
    warm: float,
    restart: float,
    words: list[str],
    carried: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Figures far apart are said in words with what to do; those of nearly certain symbols and
    small gaps are not.
    """
    costs = {"cold": cold, "warm": warm}
    monkeypatch.setattr(results, "cold_and_warm", lambda *args, world: (costs, 64))
    task = carried.task.model_copy(update={"sequence": Sequence(carry=True, restart=restart)})
    monkeypatch.setattr(carried, "task", task)
    verdict = carried.evaluate()["verdict"]
    assert ("begins badly" in verdict) == bool(words)
    assert all(word in verdict for word in words)
    assert ("sequence.restart" in verdict) == (bool(words) and not restart)


def test_a_warm_prompt_is_read_after_the_end_of_training(carried: Run) -> None:
    """It is the generation of a session that has read the last whole line of training, then the
    prompt.
    """
    text = CARRIED["source.text"][: round(0.7 * len(CARRIED["source.text"]))]
    before = text[: text.rindex("\n") + 1]
    session = carried.session().feed(before).feed("the")
    warm, cold = (
        begun(partial(carried.session, 0, 1), carried.folder, "the", 0, flag).chances()
        for flag in (True, False)
    )
    assert torch.equal(warm, session.chances()) and not torch.allclose(warm, cold, atol=1e-6)

    data = json.loads((carried.path / "data.json").read_text())
    assert (
        carried.vocabulary.text(np.array(data["ending"])) == before and data["ending_position"] == 0
    )
    shown = command("generate", carried.path, "--warm", "--length", "40").tidy(0).out
    assert shown == f"the {''.join(recurra.load(carried.path).generate(length=40, warm=True))}\n"


def test_a_penalty_of_repetition_is_for_what_is_shown(carried: Run) -> None:
    """What is read before a warm prompt counts as nothing that has come already."""
    session = begun(partial(carried.session, 0, 1), carried.folder, "t", 0, warm=True)
    assert int(session.seen.sum()) == 1


def test_a_warm_series_goes_on_from_its_end(tmp_path: Path) -> None:
    """Numbers of a prompt follow the end of the series, and without a prompt that end alone is
    read.
    """
    run = recurra.run(write(tmp_path, SERIES), runs=tmp_path / "runs")
    values = [float(t) for t in range(1, 21)]
    assert list(run.generate(warm=True)) == list(run.generate())
    session = run.session().feed(values).feed([21.0, 22.0])
    assert next(run.generate([21.0, 22.0], warm=True)) == float(session.forecast_step()[0])


def test_what_warm_cannot_be_is_refused(carried: Run, tmp_path: Path) -> None:
    """A position beside it, in a call or in a task; a run of a version that recorded no text."""
    with pytest.raises(InputError, match="leave position or warm out"):
        begun(partial(carried.session, 0, 1), carried.folder, "the", 3, warm=True)
    with pytest.raises(InputError, match="warm cannot be"):
        carried.generate("the", warm="no")  # type: ignore[arg-type]
    more: dict[str, Any] = {**CARRIED, "generation.warm": True, "generation.position": 3}
    with pytest.raises(InputError, match="generation.position"):
        recurra.check(write(tmp_path, PROSE), more)
    old = {
        key: value
        for key, value in json.loads((carried.path / "data.json").read_text()).items()
        if "ending" not in key
    }
    folder = carried.folder
    whole = (folder.path / "data.json").read_bytes()
    try:
        folder.write("data.json", old)
        assert "".join(carried.generate("the", 3)), "it generates as it did"
        with pytest.raises(InputError, match="recorded no text"):
            carried.generate("the", warm=True)
    finally:
        (folder.path / "data.json").write_bytes(whole)


def test_a_lane_restarts_by_default(tmp_path: Path) -> None:
    """With carry the chance is the default unless a task says otherwise; without, it is refused
    with the reason.
    """
    path = write(tmp_path, PROSE)
    assert resolve(path, {"sequence.carry": True}).task.sequence.restart == RESTART > 0
    assert (
        resolve(path, {"sequence.carry": True, "sequence.restart": 0.0}).task.sequence.restart == 0
    )
    assert resolve(path).task.sequence.restart == 0
    with pytest.raises(
        InputError, match=r"sequence\.restart: without carry = true every window begins afresh"
    ):
        resolve(path, {"sequence.restart": 0.1})
    with pytest.raises(InputError, match=r"sequence\.restart"):
        resolve(path, {"sequence.carry": True, "sequence.restart": 1.1})


@pytest.mark.parametrize("carry", [True, False])
def test_a_resolved_task_names_every_key_that_came_later(carry: bool, tmp_path: Path) -> None:
    """So that a run of today is never taken for one of before; and the older value is one that the
    language allows.
    """
    path = write(tmp_path, PROSE)
    tables = resolve(path, {"sequence.carry": carry}).tables()
    older = resolve(path, {"sequence.carry": carry}, recorded=True).tables()
    for (table, name), value in versions.BEFORE.items():
        assert name in tables[table]
        assert older[table][name] == value


def written(path: Path, changes: dict[str, Any]) -> Path:
    """Write changes into a task file, as a run of another version or machine may have them."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        table, name = key.split(".")
        tables.setdefault(table, {})[name] = value
    path.write_text(tomli_w.dumps(tables), encoding="utf-8")
    return path


def test_what_a_run_counts_with_is_read_whatever_it_is(tmp_path: Path) -> None:
    """A number that a task may not name any more is in a run's own task as good as the largest that
    it may.
    """
    path = write(tmp_path, PROSE)
    huge = {
        "sequence.length": 10**30,
        "training.steps": 1 << 63,
        "training.schedule": {"kind": "cosine", "warmup_steps": 10**16},
        "generation.top_k": 10**20,
    }
    with pytest.raises(InputError) as caught:
        resolve(path, huge)
    assert len(caught.value.problems) == len(huge)
    task = resolve(written(path, huge), recorded=True).task
    counts = (
        task.sequence.length,
        task.training.steps,
        task.training.schedule.warmup_steps,
        task.generation.top_k,
    )
    assert set(counts) == {MOST}


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_threads_are_those_of_a_machine(
    cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few times the cores are taken, more refused with their number; a run from a larger machine
    uses all cores.
    """
    path = write(tmp_path, PROSE)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert resolve(path, {"device.threads": 4 * cores}).task.device.threads == 4 * cores
    with pytest.raises(
        InputError, match=rf"device\.threads: this machine has {cores} cores"
    ) as caught:
        resolve(path, {"device.threads": 4 * cores + 1})
    assert caught.value.problems[0].allowed.endswith(str(4 * cores))
    with pytest.raises(InputError, match="--threads"):
        suite.run([], threads=4 * cores + 1)

    # What is asked of a run now is held to this machine as well.
    with pytest.raises(InputError, match=f"has {cores} cores"):
        resolve(path, {"device.threads": 4096}, recorded=True)
    with pytest.warns(OtherVersion, match=f"has {cores} cores"):
        task = resolve(written(path, {"device.threads": 4096}), recorded=True).task
    assert task.device.threads == cores
