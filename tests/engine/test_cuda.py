"""Laws of a CUDA device: the numbers of the CPU, bits that repeat, no word of warning, and no
needless wait.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from trials import TRIALS, Stopper, differences, trained, write

import recurra
from recurra.bench.layers import built
from recurra.bench.records import Shape
from recurra.catalog import discover
from recurra.engine.paths import PATHS
from recurra.engine.proof import PROOFS
from recurra.errors import Interrupted, RunError
from recurra.job.train import Silent
from recurra.model.device import arithmetic
from recurra.spec.tables import Device

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="these laws are about a CUDA device"
)
CUDA = {"device.kind": "cuda"}
KINDS = sorted(entry.component.name for entry in discover().of_kind("cell"))
BATCH, STEPS, WIDTH = 3, 40, 16
WAITS = 1
"""Times that an update has to wait for the device: for the loss and the norm of the gradient."""


def traced(cell, x, flags):
    """Return the output, and the gradients of the input and of every weight."""
    x = x.clone().requires_grad_()
    y, _ = cell(x, **flags)
    weights = [*cell.parameters()]
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *weights], allow_unused=True)]


@pytest.mark.parametrize("case", ["plain", "reset", "lengths"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_path_gives_what_the_loop_gives_on_the_cpu(kind, case):
    """Outputs and gradients in float32, under strict determinism, beside the loop over `step` in
    float64.
    """
    cell = built(kind, Shape(BATCH, STEPS, WIDTH))
    x = torch.randn(BATCH, STEPS, WIDTH)
    flags = {
        "plain": {},
        "reset": {"reset": torch.rand(BATCH, STEPS) < 0.1},
        "lengths": {"lengths": torch.tensor([STEPS, 1, STEPS // 2])},
    }[case]
    loop = copy.deepcopy(cell).double()
    loop.path = "eager"
    wanted = traced(loop, x.double(), flags)

    cell.cuda()
    with arithmetic(Device(kind="cuda")):
        refused = PROOFS.refused(cell)
        for name in [path for path in PATHS if path not in refused]:
            cell.path = name
            found = traced(cell, x.cuda(), {key: flag.cuda() for key, flag in flags.items()})
            for a, b in zip(found, wanted, strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    assert (a.cpu() - b).abs().max() <= 1e-5 * b.abs().max().clamp(min=1), name


@pytest.mark.parametrize("name", TRIALS)
def test_a_run_repeats_its_bits_stopped_or_not(name, tmp_path):
    """A run on a device that is made again, and one that is stopped on its way, leave what the
    first one left.
    """
    whole = trained(tmp_path / "whole", name, **CUDA)
    assert whole.network.device.type == "cuda"
    assert differences(whole, trained(tmp_path / "again", name, **CUDA)) == []
    assert differences(whole, trained(tmp_path / "cut", name, stops=[3, 7], **CUDA)) == []


@pytest.mark.parametrize("name", TRIALS)
def test_a_run_ends_where_it_ends_on_the_cpu(name, tmp_path):
    """Where no noise is drawn, the figures are those of the CPU, up to what rounding makes of them
    in a few steps.
    """
    if "cell.dropout" in TRIALS[name][1] or name in (
        "early stopping",
        "plateau",
    ):
        # Whose rates let nothing converge.
        pytest.skip("each device has noise of its own, and these rates are far too large")
    here, there = (
        trained(tmp_path / kind, name, **{"device.kind": kind}) for kind in ("cuda", "cpu")
    )
    assert here.result["metrics"]["loss"] == pytest.approx(
        there.result["metrics"]["loss"], rel=1e-3
    )


OPEN = """
import json, sys, recurra
run = recurra.load(sys.argv[1])
nats = [row["nats"] for row in run.predict(["the cat", "a frog"])]
print(json.dumps([str(run.network.device), nats]))
"""


@pytest.mark.parametrize("kind", ["cuda", "auto"])
def test_a_run_of_a_device_opens_where_there_is_none(kind, tmp_path):
    """It is opened on the CPU, predicts the same, and says so if the task asks for the device by
    name.
    """
    run = trained(tmp_path, "windows", **{"device.kind": kind})
    wanted = [row["nats"] for row in run.predict(["the cat", "a frog"])]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", OPEN, str(run.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert ("cpu is used" in done.stderr) == (kind == "cuda")
    device, found = json.loads(done.stdout)
    assert device == "cpu" and found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adagrad", "sgd", "rmsprop"])
def test_a_run_of_the_cpu_goes_on_on_a_device(optimizer, tmp_path, monkeypatch):
    """Whatever form its optimizer had there; and it says that the device is another."""
    text, changes = TRIALS["windows"]
    changes = {**changes, "training.optimizer": {"kind": optimizer}, "device.kind": "auto"}
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(torch.cuda, "device_count", lambda: 0)
        patch.setattr(torch.cuda, "is_available", lambda: False)
        recurra.run(write(tmp_path, text), changes, runs=tmp_path / "runs", observer=Stopper([4]))
    with pytest.warns(
        recurra.errors.OtherVersion, match="was trained on cpu, and goes on on cuda:0"
    ):
        run = recurra.resume(tmp_path / "runs" / "task")
    assert run.network.device.type == "cuda" and run.result["steps"] == 12


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_run_says_on_which_gpu_it_ran(kind, tmp_path):
    """One of the CPU says nothing of a GPU beside it."""
    run = trained(tmp_path, "windows", **{"device.kind": kind})
    said = json.loads((run.path / "environment.json").read_text())
    gpu = {"cpu": None, "cuda": torch.cuda.get_device_name(0)}[kind]
    assert said["device"] == str(run.network.device) and said.get("gpu") == gpu


class Listener(Silent):
    """Notes how often an update waits for the device, by where it does."""

    def __init__(self):
        self.where = []

    def stepped(self, progress):
        """Listen from after the second update to after the third."""
        torch.cuda.set_sync_debug_mode("warn" if progress.step == 2 else "default")


@pytest.mark.parametrize("name", ["windows", "lanes", "labels", "series"])
def test_an_update_waits_for_the_device_no_more_than_it_must(name, tmp_path):
    """Nothing of recurra's own waits for the device but the one look at loss and gradient."""
    text, changes = TRIALS[name]
    changes = {
        **changes,
        **CUDA,
        "device.path": "eager",
        "training.validate_every": 6,
        "training.checkpoint_every": 6,
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            recurra.run(write(tmp_path, text), changes, runs=tmp_path / "runs", observer=Listener())
        finally:
            torch.cuda.set_sync_debug_mode("default")
    where = [
        f"{Path(w.filename).name}:{w.lineno}"
        for w in caught
        if "called a synchronizing" in str(w.message)
    ]
    assert len(where) <= WAITS, where


def test_a_device_without_memory_is_told_in_a_line(tmp_path):
    """The error has a code and a cure, and none of what torch says of other processes."""
    torch.cuda.empty_cache()
    text, changes = TRIALS["windows"]
    torch.cuda.set_per_process_memory_fraction(1e-3)
    try:
        with pytest.raises(RunError) as caught:
            recurra.run(
                write(tmp_path, text),
                {**changes, **CUDA, "cell.hidden_size": 4000},
                runs=tmp_path / "runs",
            )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert caught.value.problems[0].code == "RC061"
    assert "is free" in str(caught.value) and "PyTorch" not in str(caught.value)


def test_the_time_of_a_step_is_that_of_the_device(tmp_path, monkeypatch):
    """`recurra check` reads the clock once the device is done, not once it was told what to do."""
    from recurra.job import summary

    waits = []
    monkeypatch.setattr(summary, "wait", lambda device: waits.append(device.type))
    recurra.check(write(tmp_path, TRIALS["windows"][0]), CUDA)
    assert set(waits) == {"cuda"}
