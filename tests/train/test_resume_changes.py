"""A run that goes on with more steps, another rate, or data that has moved: what may change, and
what is recorded of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import witnesses
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trials import PROSE, STEPS, TAGS, about, trained, write
from typer.testing import CliRunner

import recurra
from recurra.cli.main import app
from recurra.errors import InputError, RunError
from recurra.job.run import Run
from recurra.runs.folder import RunFolder
from recurra.runs.records import CHANGES, Records

STEADY = ["windows", "lanes", "dropout", "accumulation", "labels", "series", "answers", "tags"]
"""Trials whose updates do not hang on how many are still to come."""
SGD = {"training.optimizer": {"kind": "sgd", "lr": 0.1}}


def weights(run: Run) -> dict[str, bytes]:
    """Return the weights and the optimizer of a run's last checkpoint."""
    folder = run.path / "checkpoints" / f"step-{run.folder.checkpoints.index()['last']}"
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def entries(run: Run) -> list[dict[str, Any]]:
    """Return what the run's folder says of its changes."""
    return json.loads((run.path / CHANGES).read_text(encoding="utf-8"))


@given(name=st.sampled_from(STEADY), first=st.integers(1, STEPS))
@example("lanes", 5)
@settings(max_examples=4, deadline=None)
def test_more_steps_are_those_of_a_longer_run(name: str, first: int) -> None:
    """A finished run that goes on to step 12 holds the weights and the optimizer, bit for bit, of
    one that was asked for 12 steps from the start; its task says 12 as well.
    """
    with TemporaryDirectory() as folder:
        long = trained(Path(folder) / "long", name)
        short = trained(Path(folder) / "short", name, **{"training.steps": first})
        more = recurra.resume(short.path, {"training.steps": STEPS})
        assert weights(more) == weights(long)
        assert more.resolved.tables() == long.resolved.tables()
        assert recurra.load(more.path).resolved.tables() == long.resolved.tables()


def test_the_schedule_is_that_of_the_new_total(tmp_path: Path) -> None:
    """Under a schedule that falls to the end, the rate goes on where the longer one stands."""
    rates = {}
    for total in (6, 12):
        run = trained(tmp_path / str(total), "cosine", **{"training.steps": total})
        rates[total] = {line["step"]: line["rate"] for line in run.metrics() if "rate" in line}
    short = recurra.resume(tmp_path / "6" / "runs" / "task", {"training.steps": 12})
    made = {line["step"]: line["rate"] for line in short.metrics() if "rate" in line}
    assert made == rates[6] | {step: rate for step, rate in rates[12].items() if step > 6}


def test_numbers_of_the_optimizer_change_from_the_step_on(tmp_path: Path) -> None:
    """At rate 0 nothing moves; a decay that was not there decays, and stands in the checkpoint."""
    run = trained(tmp_path, "windows", **SGD)
    before = weights(run)
    still = recurra.resume(run.path, {"training.steps": 14, "training.optimizer.lr": 0.0})
    assert weights(still)["weights.safetensors"] == before["weights.safetensors"]

    more = {"training.steps": 16, "training.optimizer": {"lr": 0.1, "weight_decay": 0.5}}
    decayed = recurra.resume(run.path, more)
    (group,) = decayed.folder.checkpoints.load("last").state["optimizer"]["groups"]
    assert group["weight_decay"] == 0.5
    assert [(entry["step"], sorted(entry["changed"])) for entry in entries(run)] == [
        (12, ["training.optimizer.lr", "training.steps"]),
        (14, ["training.optimizer.lr", "training.optimizer.weight_decay", "training.steps"]),
    ]
    assert entries(run)[1]["changed"]["training.optimizer.weight_decay"] == [None, 0.5]


@pytest.mark.parametrize("fails", ["rewind", "task.toml", CHANGES])
def test_a_kill_right_then_leaves_what_is_true(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once both files are written, a run goes on with the change; killed before, without:
    and no record says else.
    """
    run = trained(tmp_path, "windows", **SGD)
    other = shutil.copytree(run.path, tmp_path / "other")
    more = {"training.steps": 14, "training.optimizer.weight_decay": 0.5}
    amend = Records.amend

    def killed(*_: Any) -> None:
        raise RunError.of("RC053", "killed")

    def amended(self: Records, name: str, text: str) -> None:
        killed() if name == fails else amend(self, name, text)

    with monkeypatch.context() as patch:
        patch.setattr(Records, "amend", amended)
        if fails == "rewind":
            patch.setattr(RunFolder, "rewind", killed)
        with pytest.raises(RunError, match="killed"):
            recurra.resume(run.path, more)

    made = fails == "rewind"
    again = recurra.resume(run.path)
    assert again.task.training.steps == (14 if made else 12)
    assert (entries(run) if (run.path / CHANGES).exists() else []) == (entries(run) if made else [])
    if made:
        assert weights(again) == weights(recurra.resume(other, more))


REFUSED = {
    "seed": 1,
    "name": "x",
    "cell.hidden_size": 7,
    "cell.dropout": 0.1,
    "cell.kind": "lstm",
    "encoder.kind": "embedding",
    "loss.label_smoothing": 0.1,
    "vocabulary.unknown": "skip",
    "sequence.length": 6,
    "sequence.carry": True,
    "training.batch_size": 2,
    "training.accumulate": 2,
    "training.monitor": "accuracy",
    "training.optimizer.kind": "sgd",
    "training.optimizer.amsgrad": True,
    "device.precision": "float64",
    "device.path": "eager",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run, which nothing here changes."""
    return trained(tmp_path_factory.mktemp("finished"), "windows")


@pytest.mark.parametrize("key", REFUSED)
def test_what_makes_another_run_is_refused(key: str, finished: Run) -> None:
    """Each key of the network, the data, the batches and the draws is refused by its name, with how
    to begin a new run, and no byte of the folder changes.
    """
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="RC080") as caught:
        recurra.resume(finished.path, {key: REFUSED[key]})
    assert key in str(caught.value) and "--from" in str(caught.value)
    assert before == {p: p.read_bytes() for p in finished.path.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("target.scheme", "BIOES", "its figures so far are of what it was asked"),
        ("target.causal", False, "its figures so far are of what it was asked"),
        ("loss.focal", 2.0, "what was made small so far would be something else"),
        ("cell.dropout", 0.5, "or trains it otherwise"),
        ("encoder.kind", "embedding", "it makes another network"),
        ("loss", {"kind": "cross_entropy", "class_weights": "balanced"}, "made small"),
    ],
)
def test_the_reason_is_that_of_the_key(
    key: str, value: Any, why: str, tagging: Run, tmp_path: Path
) -> None:
    """One problem for each key that was asked to change; the options of another kind are none."""
    with pytest.raises(InputError) as caught:
        recurra.resume(tagging.path, {key: value})
    (problem,) = caught.value.problems
    assert problem.code == "RC080" and why in problem.fact and problem.got and problem.allowed


@pytest.fixture(scope="module")
def tagging(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run of tags that was told its epochs, which nothing here changes."""
    folder = tmp_path_factory.mktemp("tagging")
    changes = {"training.steps": None, "training.epochs": 2, "training.patience": 50}
    changes |= {"training.validate_every": 2, "device.path": "native"}
    return recurra.run(write(folder, TAGS), changes, runs=folder / "runs")


@pytest.mark.parametrize(("key", "value"), [("training.steps", 1), ("training.epochs", 1)])
def test_a_run_does_not_go_back(key: str, value: int, tagging: Run) -> None:
    """Fewer steps, or epochs, than were made are refused at the key that asks for them."""
    made = tagging.result["steps"]
    with pytest.raises(InputError, match="RC013") as caught:
        recurra.resume(tagging.path, {key: value})
    (problem,) = caught.value.problems
    assert f"override {key}" in str(caught.value)
    assert problem.allowed == f"{made} steps or more"
    assert problem.got == ("1 step" if key == "training.steps" else f"{made // 2} steps")


@pytest.mark.parametrize(
    "more",
    [
        {"training.steps": 12},
        {"training.epochs": 3},
        {"training.optimizer.lr": 0.1},
        {"training.patience": 1, "training.epochs": 3},
        {"training.schedule": {"kind": "cosine"}, "training.steps": 12},
    ],
)
def test_length_rates_and_patience_of_tags_may_change(
    more: dict[str, Any], tagging: Run, tmp_path: Path
) -> None:
    """Each is recorded with the step since which it holds, and the run goes on to its new end."""
    shutil.copytree(tagging.path, tmp_path / "run")
    made = tagging.result["steps"]
    run = recurra.resume(tmp_path / "run", more)
    (entry,) = entries(run)
    assert entry["step"] == made and set(more) <= {
        *entry["changed"],
        *(name.rpartition(".")[0] for name in entry["changed"]),
    }
    wanted = more.get("training.steps") or made // 2 * more.get("training.epochs", 2)
    # Of less patience it may end before.
    assert run.result["steps"] == wanted or "training.patience" in more


@pytest.mark.parametrize(
    "overrides, code",
    [
        ({"training.steps": 11}, "RC013"),
        ({"training.steps": 10**18}, "RC013"),
        ({"training.steps": "x"}, "RC012"),
        ({"training.nosuch": 1}, "RC011"),
        ({"unset": ["training.optimizer.lr"]}, "RC080"),
        ({"generation.prompt": "Z"}, "RC043"),
        ({"expect.forecast": [1.0]}, "RC0"),
        ({"source.text": "the cat sat on the mat and that is not all"}, "RC044"),
        ({"device.threads": 4000}, "RC031"),
        ([1], "RC080"),
    ],
)
def test_what_is_wrong_is_refused_as_in_a_task(overrides: Any, code: str, finished: Run) -> None:
    """A value that no task may have, or that this run cannot go on with, has its code."""
    with pytest.raises(InputError, match=code):
        recurra.resume(finished.path, overrides)
    assert not (finished.path / CHANGES).exists()


def test_data_that_has_moved_is_found_again(tmp_path: Path) -> None:
    """The same text in another place is taken, and the task says where; other text is refused."""
    (tmp_path / "here.txt").write_text("to and fro and back and forth " * 4, encoding="utf-8")
    task = write(tmp_path, about(PROSE, "text", path="here.txt"))
    run = recurra.run(task, {"generation.prompt": "to"}, runs=tmp_path / "runs")
    moved = tmp_path / "there.txt"
    (tmp_path / "here.txt").rename(moved)
    with pytest.raises(InputError, match=r"-o source\.path"):
        recurra.resume(run.path)
    again = recurra.resume(run.path, [f"source.path={moved}", "training.steps=14"])
    assert again.result["steps"] == 14
    assert recurra.resume(run.path).result["steps"] == 14  # the folder knows the place now

    moved.write_text("to and fro and back and fro and " * 4, encoding="utf-8")
    with pytest.raises(InputError, match="RC044(.|\n)*--from"):
        recurra.resume(run.path)


def test_a_run_of_before_goes_on_with_more_steps(tmp_path: Path) -> None:
    """An old run, without hashes or with those of then, takes changes as one of today does."""
    with witnesses.installed(), witnesses.own_warnings_alone():
        path = witnesses.copied("hello_lstm", tmp_path)
        run = recurra.resume(path, {"training.steps": witnesses.STEPS + 2})
        assert run.result["steps"] == witnesses.STEPS + 2
        assert recurra.load(path).task.training.steps == witnesses.STEPS + 2
        assert len(entries(run)) == 1


def test_the_command_says_what_changes(finished: Run, tmp_path: Path) -> None:
    """`recurra resume -o` tells each key with both values, and the step from which it holds."""
    path = shutil.copytree(finished.path, tmp_path / "run")
    done = CliRunner().invoke(app, ["resume", str(path), "-o", "training.steps=13"])
    assert done.exit_code == 0, done.output
    assert "from step 12 on: training.steps 12 -> 13" in done.output
