"""What is infinite or not a number never reaches a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from trials import PROSE, write

import recurra
from recurra.errors import RunError
from recurra.runs.checkpoints import Checkpoint
from recurra.runs.folder import RunFolder

PLUGIN = """\
import torch
from recurra import CellOptions, Component, Loss, Options, hookimpl
from recurra_cells.rnn import RNN
from recurra_cells.options import RNNOptions

CALLS = {"train": 0}

class Sick(Loss):
    reads = ("symbols",)
    def forward(self, output, target):
        value = torch.nn.functional.cross_entropy(output, target, reduction="none")
        if self.training and output.requires_grad:
            CALLS["train"] += 1
        return WRONG if CALLS["train"] >= AT else value

class SickOptions(Options):
    pass

class Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, grad):
        return grad * float("inf")

class SickCell(RNN):
    def native(self):
        return None
    def step(self, x_t, state):
        y, state = super().step(x_t, state)
        if y.requires_grad:
            CALLS["train"] += 1
        return (Gradient.apply(y) if CALLS["train"] >= AT else y), state

@hookimpl
def recurra_components():
    here = __name__
    return [
        Component("loss", "sick", here + ":Sick", here + ":SickOptions", "turns"),
        Component(kind="cell", name="sick_cell", target=here + ":SickCell",
                  options="recurra_cells.options:RNNOptions", summary="turns"),
    ]
"""


def _fails(folder: Path, changes: dict[str, Any], text: str = PROSE) -> tuple[RunError, RunFolder]:
    with pytest.raises(RunError) as caught:
        recurra.run(write(folder, text), changes, runs=folder / "runs")
    error = caught.value
    assert error.exit_code == 1 and error.problems[0].code == "RC060"
    return error, RunFolder.open(folder / "runs" / "task")


def _finite(checkpoint: Checkpoint) -> bool:
    return all(bool(t.isfinite().all()) for name in ("weights", "optimizer", "carried")
               for t in checkpoint.tensors.get(name, {}).values())  # fmt: skip


def _plugin(folder: Path, wrong: str, at: int) -> None:
    write(folder, PLUGIN.replace("WRONG", wrong).replace("AT", str(at)), "sick.py")


WITH_PLUGIN = PROSE + '\n[plugins]\nfiles = ["sick.py"]\n'


@pytest.mark.parametrize(
    "wrong", ["value * float('nan')", "value + float('inf')", "value - float('inf')"]
)
@pytest.mark.parametrize("carry", [False, True])
def test_a_loss_that_is_not_finite_stops_before_the_weights(
    wrong: str, carry: bool, tmp_path: Path
) -> None:
    """A loss that turns at step 4 leaves the weights of step 3, and carried states of before."""
    _plugin(tmp_path, wrong, at=4)
    changes = {"loss.kind": "sick", "sequence.carry": carry, "cell.dropout": 0.3}
    error, folder = _fails(tmp_path, changes, WITH_PLUGIN)
    saved = folder.checkpoints.load()
    assert saved.step == 3 and _finite(saved)
    said = str(error)
    assert "at step 4" in said and "weights of step 3 are saved" in said
    assert (
        "clip_norm" in said
        and "learning rate (it was 0.02)" in said
        and "orthogonal" in said
        and "warmup" in said
    )


def test_the_state_saved_at_a_failure_is_that_of_the_step_before(tmp_path: Path) -> None:
    """A run that fails in step 5 and is resumed from there equals one that never failed, carried
    state and noise.
    """
    changes = {
        "loss.kind": "sick",
        "sequence.carry": True,
        "cell.dropout": 0.3,
        "training.accumulate": 2,
    }
    _plugin(tmp_path / "well", "value", at=99)
    whole = recurra.run(
        write(tmp_path / "well", WITH_PLUGIN), changes, runs=tmp_path / "well" / "runs"
    )
    # The second batch of the fifth step; an epoch has five.
    _plugin(tmp_path / "sick", "value * float('nan')", at=9)
    _, folder = _fails(tmp_path / "sick", changes, WITH_PLUGIN)
    assert folder.checkpoints.load().step == 4
    _plugin(tmp_path / "sick", "value", at=99)
    healed = recurra.resume(folder.path, trust=True)
    one, other = (run.folder.checkpoints.load("last").tensors for run in (whole, healed))
    assert {n: t.tolist() for n, t in one["weights"].items()} == {
        n: t.tolist() for n, t in other["weights"].items()
    }
    assert {n: t.tolist() for n, t in one["random"].items()} == {
        n: t.tolist() for n, t in other["random"].items()
    }


def test_a_gradient_that_is_not_finite_stops_before_the_weights(tmp_path: Path) -> None:
    """A finite loss with an infinite gradient stops as well."""
    _plugin(tmp_path, "value", at=1)
    error, folder = _fails(
        tmp_path, {"cell.kind": "sick_cell", "device.path": "eager"}, WITH_PLUGIN
    )
    assert "gradient" in str(error)
    assert folder.checkpoints.load().step == 0 and _finite(folder.checkpoints.load())


@pytest.mark.parametrize("lr", [1e9, 1e12, 1e15])
@pytest.mark.parametrize("every", [0, 1])
def test_an_absurd_rate_saves_no_weight_that_is_not_finite(
    lr: float, every: int, tmp_path: Path
) -> None:
    """Whatever the rate, each checkpoint that is there holds finite weights, and the message is
    true of them.
    """
    changes = {
        "training.optimizer": {"kind": "sgd", "lr": lr, "momentum": 0.9, "weight_decay": 1e15},
        "training.checkpoint_every": every,
        "sequence.split": [1.0, 0.0, 0.0],
    }
    error, folder = _fails(tmp_path, changes)
    index = folder.checkpoints.index()
    for which in index:
        assert _finite(folder.checkpoints.load(which))
    told = f"the weights of step {index['last']} are saved" if index else "nothing is saved"
    assert told in str(error)


def test_an_update_too_large_for_torch_is_a_divergence(tmp_path: Path) -> None:
    """Where torch refuses to compute an update, the run stops as it does for a loss that is not
    finite.
    """
    error, folder = _fails(tmp_path, {"training.optimizer": {"kind": "adam", "lr": 1e38}})
    assert "too large" in str(error) and "learning rate" in str(error)
    assert _finite(folder.checkpoints.load())


def test_clipping_is_not_offered_where_it_is_on(tmp_path: Path) -> None:
    """The cure names only what the task does not do yet."""
    changes = {
        "training.optimizer": {"kind": "sgd", "lr": 1e15, "weight_decay": 1e15},
        "training.clip_norm": 1.0,
        "training.schedule": {"kind": "constant", "warmup_steps": 1},
    }
    error, _ = _fails(tmp_path, changes)
    assert (
        "clip_norm" not in str(error)
        and "warmup_steps" not in str(error)
        and "learning rate" in str(error)
    )


def test_the_best_checkpoint_outlives_a_divergence(tmp_path: Path) -> None:
    """What was the best before a loss turned is still there after, and opens."""
    _plugin(tmp_path, "value * float('nan')", at=8)
    changes = {"loss.kind": "sick", "training.validate_every": 2}
    _, folder = _fails(tmp_path, changes, WITH_PLUGIN)
    index = folder.checkpoints.index()
    assert index["best"] <= 6 and index["last"] == 7
    best = min(
        (r for r in folder.metrics() if r["split"] == "validation"),
        key=lambda record: (record["loss"], record["step"]),
    )
    assert index["best"] == best["step"]
    assert math.isfinite(recurra.load(folder.path).evaluate("validation")["metrics"]["nats"])


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_a_validation_that_is_not_finite_is_told_with_its_own_step(
    monitor: str, tmp_path: Path
) -> None:
    """Weights that are finite but overflow in validation are saved, and the step is the one that
    was validated; whatever is monitored, for an accuracy is a number also of outputs that are none.
    """
    sick = PLUGIN.replace("WRONG", "value * (1 if self.training else float('nan'))").replace(
        "AT", "0"
    )
    write(tmp_path, sick, "sick.py")
    changes = {"loss.kind": "sick", "training.validate_every": 2, "training.monitor": monitor}
    error, folder = _fails(tmp_path, changes, WITH_PLUGIN)
    assert "validation loss is nan at step 2; the weights of step 2 are saved" in str(error)
    assert folder.checkpoints.index()["last"] == 2
