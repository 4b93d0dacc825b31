"""A run that was stopped and resumed is the run that never stopped."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import PROSE, STEPS, TRIALS, Stopper, differences, left, trained, write

import recurra
from recurra.errors import Interrupted, RecurraError
from recurra.job.run import Run
from recurra.runs.checkpoints import Checkpoints
from recurra.train import optimizer as optimizers


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory):
    """Give each trial trained in one go, once."""
    return cache(lambda name: trained(tmp_path_factory.mktemp("unbroken"), name))


QUICK = {"windows", "lanes", "dropout", "sparse checkpoints", "labels", "series"}
"""Trials that are stopped after every step by default; the others are where stops are drawn."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in TRIALS],
)
def test_a_stop_after_any_step_changes_no_bit(name: str, unbroken, tmp_path: Path) -> None:
    """Stopped after every single step and resumed each time, a run leaves what an unbroken one
    does, bit for bit.
    """
    assert differences(unbroken(name), trained(tmp_path, name, stops=range(1, STEPS))) == []


@given(
    name=st.sampled_from(sorted(TRIALS)),
    stops=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=3),
)
@settings(max_examples=8, deadline=None)
def test_drawn_stops_change_no_bit(name: str, stops: set[int], unbroken) -> None:
    """Wherever a run is stopped, its end is the same."""
    with TemporaryDirectory() as folder:
        assert differences(unbroken(name), trained(Path(folder), name, stops)) == []


def test_trials_differ_from_each_other(unbroken) -> None:
    """Each trial trains in its own way, so that equal bits are no accident of an option without
    effect.
    """
    weights = [
        next(v for k, v in left(unbroken(name)).items() if k.endswith("weights.safetensors"))
        for name in TRIALS
        if name != "sparse checkpoints"
    ]
    assert len(set(weights)) == len(weights)
    assert unbroken("early stopping").result["steps"] < STEPS, (
        "it must stop early to be a trial of stopping"
    )
    assert unbroken("plateau").folder.checkpoints.load().state["rate"]["cut"] < 1, (
        "the rate must be cut"
    )


LIKE_ADAM = {"adadelta", "adamax", "adamw", "radam", "rmsprop"}
"""Optimizers whose state is, as Adam's, a count and tensors as large as the weights: they are
slow.
"""


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=[pytest.mark.slow] if k in LIKE_ADAM else [])
        for k in sorted(optimizers.known())
    ],
)
def test_every_optimizer_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    """The state of each optimizer of torch survives a checkpoint whole."""
    changes = {
        "training.optimizer": {"kind": kind},
        "training.steps": 4,
        "sequence.split": [1.0, 0.0, 0.0],
    }
    whole = trained(tmp_path / "whole", "windows", **changes)
    assert (
        differences(whole, trained(tmp_path / "cut", "windows", stops=[1, 2, 3], **changes)) == []
    )


@pytest.mark.parametrize("kind", ["adafactor", "adam", "sgd"])
def test_a_state_is_looked_at_where_torch_looks_out_for_graphs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CUDA on a machine torch asks the copy of an optimizer for what not every one has."""

    def check(self: torch.optim.Optimizer) -> None:
        if not getattr(self, "_warned_capturable_if_run_uncaptured", False):
            assert not all(group["capturable"] for group in self.param_groups)

    for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        monkeypatch.setattr(torch.optim.Optimizer, name, check, raising=False)
    changes = {
        "training.optimizer": {"kind": kind},
        "training.steps": 3,
        "sequence.split": [1.0, 0.0, 0.0],
    }
    assert trained(tmp_path, "windows", stops=[1], **changes).result["steps"] == 3


@pytest.mark.parametrize("name", ["windows", "early stopping"])
def test_resuming_a_finished_run_trains_no_more(name: str, tmp_path: Path) -> None:
    """A run that is over, by its steps or by early stopping, keeps every bit when it is resumed."""
    run = trained(tmp_path, name)
    before = left(run)
    again = recurra.resume(run.path)
    assert left(again) == before
    assert recurra.resume(run.path).result["ended"] == run.result["ended"]


def test_a_run_killed_before_its_final_figures_makes_them_when_resumed(tmp_path: Path) -> None:
    """What was written last may be missing or cut off: resuming makes it whole."""
    run = trained(tmp_path, "plateau")
    before = left(run)
    (run.path / "result.json").unlink()
    lines = (run.path / "metrics.jsonl").read_text()
    (run.path / "metrics.jsonl").write_text(lines[: len(lines) - 9])
    (run.path / "samples.txt").write_text((run.path / "samples.txt").read_text()[:-2])
    assert left(recurra.resume(run.path)) == before


@pytest.mark.parametrize("name", ["sparse checkpoints", "labels"])
def test_records_after_the_last_checkpoint_are_made_anew(
    name: str, unbroken, tmp_path: Path
) -> None:
    """A run killed long after its last checkpoint repeats the steps and records each of them
    once.
    """
    whole = unbroken(name)
    path = _killed(tmp_path / "killed", name, at=STEPS - 1)
    assert Checkpoints(path / "checkpoints").index()["last"] < STEPS - 1
    again = recurra.resume(path)
    assert differences(whole, again) == []
    steps = [r["step"] for r in again.metrics() if r["split"] == "train"]
    assert steps == sorted(set(steps))


class _Killed(BaseException):
    """Stands for the end of the process: nothing of recurra catches it."""


def _killed(folder: Path, name: str, at: int) -> Path:
    class Killer(Stopper):
        def stepped(self, progress) -> None:
            if progress.step == at:
                raise _Killed

    text, changes = TRIALS[name]
    with pytest.raises(_Killed):
        recurra.run(write(folder, text), changes, runs=folder / "runs", observer=Killer(()))
    return folder / "runs" / "task" / "1"


def test_samples_that_look_like_headings_survive(tmp_path: Path) -> None:
    """A sample that holds the mark between samples in mid-line is not taken for one."""
    run = trained(tmp_path, "windows")
    (run.path / "samples.txt").write_text(
        "--- step 2\na --- step 99\n--- step 4\nb\n--- step 12, final\nc\n"
    )
    run.folder.rewind(3)
    assert (run.path / "samples.txt").read_text() == "--- step 2\na --- step 99\n"


@pytest.mark.parametrize("new", ["the cat sat on the hat and so on", "x", ""])
def test_changed_data_stops_a_resume(new: str, tmp_path: Path) -> None:
    """Other data, also too little of it or of other symbols, is told as changed data before
    anything else.
    """
    (tmp_path / "data.txt").write_text("the cat sat on the mat and the dog sat on the log. " * 3)
    text = PROSE.replace('kind = "inline"', 'kind = "text"')
    text = "\n".join(
        'path = "data.txt"' if line.startswith("text = ") else line for line in text.splitlines()
    )
    with pytest.raises(Interrupted):
        recurra.run(write(tmp_path, text), runs=tmp_path / "runs", observer=Stopper([2]))
    (tmp_path / "data.txt").write_text(new)
    with pytest.raises(RecurraError) as caught:
        recurra.resume(tmp_path / "runs" / "task" / "1")
    assert caught.value.problems[0].code == ("RC044" if new else "RC041")
    if new:
        assert "bring back the data" in str(caught.value)


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    """The message of an interruption holds the command that goes on, and the state is whole at that
    very step.
    """
    with pytest.raises(Interrupted) as caught:
        recurra.run(write(tmp_path, PROSE), runs=tmp_path / "runs", observer=Stopper([5]))
    path = tmp_path / "runs" / "task" / "1"
    assert caught.value.exit_code == 130
    assert f"recurra resume {path}" in str(caught.value) and "step 5 of 12" in str(caught.value)
    assert Checkpoints(path / "checkpoints").load().step == 5


def test_ctrl_c_after_training_keeps_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while the final figures are made, a run still says how to get them."""

    def press(run: Run, limit: int | None = None) -> str:
        if limit is None:
            raise KeyboardInterrupt
        return ""

    with monkeypatch.context() as patch:
        patch.setattr(Run, "generated", press)
        with pytest.raises(Interrupted, match="recurra resume"):
            recurra.run(
                write(tmp_path, PROSE), {"training.validate_every": 4}, runs=tmp_path / "runs"
            )
    assert recurra.resume(tmp_path / "runs" / "task").result["steps"] == 12


def test_state_holds_no_more_than_plain_json(tmp_path: Path) -> None:
    """The state beside the tensors is JSON that reads back equal."""
    run = trained(Path(mkdtemp(dir=tmp_path)), "plateau")
    state = run.folder.checkpoints.load().state
    assert json.loads(json.dumps(state, allow_nan=False)) == state


@pytest.mark.parametrize(
    ("name", "stream", "told"),
    [
        ("more", torch.zeros(8, dtype=torch.uint8), "random holds 'more'"),
        ("cpu", torch.zeros(8, dtype=torch.uint8), "random stream cpu is (8,)"),
        ("cpu", None, "random stream cpu is missing"),
    ],
    ids=["one more", "another size", "missing"],
)
def test_streams_that_are_none_are_refused(name, stream, told, tmp_path: Path) -> None:
    """A checkpoint whose hashes are right may hold no stream of random numbers but a run's own."""
    with pytest.raises(Interrupted):
        recurra.run(write(tmp_path, PROSE), runs=tmp_path / "runs", observer=Stopper([3]))
    run = tmp_path / "runs" / "task" / "1"
    checkpoint = Checkpoints(run / "checkpoints").load()
    checkpoint.tensors["random"][name] = stream
    if stream is None:
        del checkpoint.tensors["random"][name]
    shutil.rmtree(run / "checkpoints")
    forged = Checkpoints(run / "checkpoints")
    forged.create()
    forged.save(checkpoint, best=False)
    with pytest.raises(RecurraError) as caught:
        recurra.resume(run)
    assert caught.value.problems[0].code == "RC052" and told in str(caught.value)
