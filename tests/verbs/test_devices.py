"""A run on another device than it was made on, and a device whose memory is full."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trials import PROSE, Stopper, as_before, left, trained, write

import recurra
from recurra.engine import measure
from recurra.errors import Interrupted, OtherVersion, RunError, Unverified
from recurra.job.run import Run
from recurra.model.network import Network
from recurra.train import optimizer as optimizers
from recurra.train.lean import lean

HERE = {"device.kind": "cpu"}


def stopped(folder: Path, **changes: Any) -> Path:
    """Train a run up to its fifth step."""
    with pytest.raises(Interrupted):
        recurra.run(
            write(folder, PROSE), {**HERE, **changes}, runs=folder / "runs", observer=Stopper([5])
        )
    return folder / "runs" / "task" / "1"


def moved(run: Path, device: str) -> None:
    """Let a run be one that was made on a device that is not here, asked for by its name."""
    for name, key in (("task.toml", "kind = {}"), ("environment.json", '"device": {}')):
        text = (run / name).read_text(encoding="utf-8")
        old, new = (key.format(json.dumps(kind)) for kind in ("cpu", device))
        assert old in text
        (run / name).write_text(text.replace(old, new), encoding="utf-8")
    as_before(run)


def said(verb: Callable[[Path], Run], path: Path) -> tuple[Run, list[str]]:
    """Return the run that a verb gives, and what it warns of as the fault of whoever called it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = verb(path)
    assert {w.filename for w in caught} == {__file__}
    assert {w.category for w in caught} <= {OtherVersion, Unverified}
    return run, [str(w.message) for w in caught if w.category is OtherVersion]


def test_a_run_of_a_device_that_is_not_here_is_opened(tmp_path: Path) -> None:
    """It says which device it asks for and which it gets, and is then the run that it was."""
    run = trained(tmp_path, "windows", **HERE)
    wanted = [
        "".join(run.generate("the ", 20)),
        list(run.predict(["the cat"])),
        run.evaluate()["metrics"],
    ]
    moved(run.path, "cuda:99")
    again, (words,) = said(recurra.load, run.path)
    assert re.fullmatch(r"the run asks for cuda:99, and this machine has cpu.*: .* is used", words)
    if again.network.device.type == "cpu":
        found = [
            "".join(again.generate("the ", 20)),
            list(again.predict(["the cat"])),
            again.evaluate()["metrics"],
        ]
        assert found == wanted


def test_a_run_goes_on_on_another_device_with_a_warning(tmp_path: Path) -> None:
    """Its bits are no more those of a run that was never stopped, and it says so."""
    path = stopped(tmp_path)
    moved(path, "cuda:99" if torch.cuda.is_available() else "mps")
    again, words = said(recurra.resume, path)
    assert again.result["steps"] == 12
    if again.network.device.type == "cpu":
        assert (
            "is used" in words[0]
            and "was trained on mps, and goes on on cpu: it is equal up to" in words[1]
        )


def test_a_run_goes_on_where_it_was_made_without_a_word(tmp_path: Path) -> None:
    """The same device is no news, and neither is one of the same kind."""
    whole = trained(tmp_path / "whole", "windows", **HERE)
    path = stopped(tmp_path / "cut")
    record = json.loads((path / "environment.json").read_text())
    assert record["device"] == "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = recurra.resume(path)
    assert left(again)["result"] == left(whole)["result"]


def test_an_optimizer_goes_on_in_the_form_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was fused where it began goes on where torch has no such form of it, and gives the
    same.
    """
    changes = {"training.optimizer": {"kind": "adagrad", "lr": 0.05}}
    whole = trained(tmp_path / "whole", "windows", **HERE, **changes)
    path = stopped(tmp_path / "cut", **changes)
    (saved,) = groups(recurra.load(path, "last"))
    assert saved["fused"], "the run must begin fused"

    made = []
    adagrad = lean(torch.optim.Adagrad)
    real = adagrad.step
    monkeypatch.setattr(optimizers, "FUSED", {})
    monkeypatch.setattr(
        adagrad,
        "step",
        lambda self: made.append(self.param_groups[0]["fused"]) or real(self),
    )
    again = recurra.resume(path)
    assert made and not any(made)
    assert again.result["metrics"]["loss"] == pytest.approx(
        whole.result["metrics"]["loss"], rel=1e-5
    )


def groups(run: Run) -> list[dict[str, Any]]:
    """Return the groups of a run's optimizer as its last checkpoint holds them."""
    return run.folder.checkpoints.load("last").state["optimizer"]["groups"]


FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of"
    " which 1.06 GiB is free."
)
MORE = (
    " Process 7 has 78.05 GiB memory in use. Of the allocated memory 77 GiB is allocated by"
    " PyTorch."
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError(FULL + MORE), FULL),
        (MemoryError(), "out of memory"),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"),
            "CUDA error: out of memory",
        ),
        (
            RuntimeError(
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
            ),
            "ALLOC_FAILED",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "can't allocate memory",
        ),
    ],
)
def test_a_lack_of_memory_has_a_code_and_a_cure(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has none, the machine, a device or a library on it: a line, and what to make
    smaller.
    """

    def forward(self: Network, *given: Any, **more: Any) -> None:
        raise error

    monkeypatch.setattr(Network, "forward", forward)
    with pytest.raises(RunError) as caught:
        recurra.run(write(tmp_path, PROSE), HERE, runs=tmp_path / "runs")
    (problem,) = caught.value.problems
    assert problem.code == "RC061" and said in problem.fact and "batch_size" in problem.cure
    assert len(problem.fact.splitlines()) == 1 and "Process 7" not in problem.fact


def test_who_times_a_device_waits_for_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for the first of several; a CPU is not waited for."""
    asked = []
    monkeypatch.setattr(torch.cuda, "synchronize", asked.append)
    for name in ("cuda:1", "cpu"):
        measure.wait(torch.device(name))
    assert asked == [torch.device("cuda:1")]
