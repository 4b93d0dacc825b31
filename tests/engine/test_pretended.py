"""Laws of any device but the CPU, on one that is pretended: they hold where there is none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from pretended import DEVICE, pretended
from trials import TRIALS, trained, write

import recurra
from recurra.job.train import Silent

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="there is a device; test_cuda.py is about it"
)
SHORT = {
    "device.kind": "cuda",
    "device.path": "eager",
    "training.steps": 4,
    "training.validate_every": 6,
    "training.checkpoint_every": 6,
}

SLOW = [name for name in TRIALS if name not in ("lanes", "series")]


class Listener(Silent):
    """Notes what is looked at from after the second update to after the third."""

    def __init__(self, looks: list[str]) -> None:
        self.looks, self.seen = looks, [0, 0]

    def stepped(self, progress: Any) -> None:
        """Note how many looks there were before."""
        if progress.step in (2, 3):
            self.seen[progress.step - 2] = len(self.looks)


@pytest.mark.parametrize(
    "name",
    ["lanes", "series", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)],
)
def test_an_update_looks_at_the_device_once(name, tmp_path):
    """Loss and norm of the gradient come from the device together, and nothing else does."""
    text, changes = TRIALS[name]
    with pretended() as device:
        listener = Listener(device.looks)
        options = {"runs": tmp_path / "runs", "observer": listener}
        run = recurra.run(write(tmp_path, text), {**changes, **SHORT}, **options)
        assert run.network.device == DEVICE
    first, last = listener.seen
    assert len(device.looks[first:last]) == 1, device.looks[first:last]


def test_a_run_ends_where_it_ends_on_the_cpu(tmp_path):
    """Up to rounding, and it says that the device was another."""
    short = {**SHORT, "training.validate_every": 4}
    with pretended():
        there = trained(tmp_path / "there", "windows", **short)
        told = json.loads((there.path / "environment.json").read_text())
    here = trained(tmp_path / "here", "windows", **{**short, "device.kind": "cpu"})
    assert told["device"] == "cuda:0" and told["gpu"] == "a GPU that is pretended"
    assert "gpu" not in json.loads((here.path / "environment.json").read_text())
    loss, wanted = (run.result["metrics"]["loss"] for run in (there, here))
    assert loss == pytest.approx(wanted, rel=1e-5)


def test_answers_ahead_are_measured_where_they_are_undone(tmp_path):
    """What a device gives is measured in the data's own units, each step ahead by itself."""
    task = {
        "schema": 1,
        "source": {"kind": "numbers"},
        "vocabulary": {"kind": "numeric", "difference": 1},
        "target": {"kind": "horizon", "length": 3},
        "sequence": {"length": 6, "split": [0.6, 0.2, 0.2]},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "gru", "hidden_size": 3},
        "loss": {"kind": "gaussian_nll"},
        "training": {"steps": 2, "batch_size": 4},
    }
    rows = np.sin(np.arange(80.0))[:, None]
    figures = {}
    for kind in ("cpu", "cuda"):
        asked = {**task, "device": {"kind": kind, "path": "eager"}}
        if kind == "cpu":
            run = recurra.run(asked, data=rows, runs=tmp_path / kind)
        else:
            with pretended():
                run = recurra.run(asked, data=rows, runs=tmp_path / kind)
        figures[kind] = [run.result["metrics"]["mae"]]
        figures[kind] += [each["metrics"]["mae"] for each in run.result["by_step"]]
    assert len(figures["cpu"]) == 4
    assert figures["cuda"] == pytest.approx(figures["cpu"], rel=1e-4)


def test_what_is_pretended_does_not_mix():
    """The laws above can fail: a pretended device refuses what a GPU refuses."""
    with pretended() as device:
        there, here = torch.ones(3).to(DEVICE), torch.ones(3)
        assert there.device == DEVICE and (there * 2.0 + torch.tensor(1.0)).device == DEVICE
        with pytest.raises(RuntimeError, match="not on the device"):
            there + here
        with pytest.raises(RuntimeError, match="not on the device"):
            here[there > 0]
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        device.looks.clear()
        assert float(there.sum()) == 3.0 and there.cpu().tolist() == [1.0] * 3
        assert there[there > 0].device == DEVICE and len(device.looks) == 3
    assert here.device.type == "cpu" and not torch.cuda.is_available()
