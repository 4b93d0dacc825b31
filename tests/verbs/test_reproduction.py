"""The seed decides everything, and nothing outside a run is touched."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from trials import TRIALS, differences, left, trained

import recurra

QUICK = ("dropout", "lanes", "series")
"""Trials that are run twice by default; those of the resumption of runs show it of the others."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in TRIALS]
)
def test_the_same_seed_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    """Two runs of a task leave the same weights, metrics and text, bit for bit."""
    assert differences(trained(tmp_path / "one", name), trained(tmp_path / "two", name)) == []


@pytest.mark.parametrize("name", ["windows", "dropout", "series"])
def test_another_seed_gives_another_run(name: str, tmp_path: Path) -> None:
    """Another seed changes weights and metrics."""
    one, other = trained(tmp_path / "one", name), trained(tmp_path / "other", name, seed=1)
    assert {"metrics.jsonl", "checkpoints/step-12/weights.safetensors"} & set(
        differences(one, other)
    )
    assert one.result["metrics"] != other.result["metrics"]


def test_generation_does_not_disturb_training(tmp_path: Path) -> None:
    """How much is sampled at each validation, and how, changes no weight."""
    one = trained(
        tmp_path / "one", "dropout", **{"training.validate_every": 1, "generation.length": 30}
    )
    other = trained(tmp_path / "other", "dropout", **{"generation.temperature": 0.0})
    last = [next(v for k, v in left(run).items() if "step-12/weights" in k) for run in (one, other)]
    assert last[0] == last[1]


@pytest.mark.parametrize("name", ["dropout", "accumulation", "series"])
def test_the_generators_of_others_are_left_alone(name: str, tmp_path: Path) -> None:
    """Training, resuming, evaluating and generating draw nothing from torch's, numpy's or Python's
    own generators.
    """
    before = (
        torch.get_rng_state(),
        np.random.get_state()[1].tobytes(),
        random.getstate(),
    )  # noqa: NPY002
    settings = (
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
    )
    run = trained(tmp_path, name, stops=[3], **{"device.threads": 2})
    recurra.check(run.path / "task.toml")
    opened = recurra.load(run.path)
    opened.evaluate()
    list(opened.generate())
    after = (
        torch.get_rng_state(),
        np.random.get_state()[1].tobytes(),
        random.getstate(),
    )  # noqa: NPY002
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert settings == (
        torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(),
        torch.get_default_dtype()
    )  # fmt: skip


def test_what_others_draw_does_not_disturb_a_run(tmp_path: Path) -> None:
    """A run gives the same bits whatever the global generators hold."""
    one = trained(tmp_path / "one", "dropout")
    state = torch.get_rng_state()
    torch.manual_seed(123)
    try:
        assert differences(one, trained(tmp_path / "two", "dropout")) == []
    finally:
        torch.set_rng_state(state)


@pytest.mark.parametrize("which, step", [("best", "weights_of_step"), ("last", "steps")])
def test_a_run_is_opened_with_its_best_weights_or_its_last(
    which: str, step: str, tmp_path: Path
) -> None:
    """Opened again, a run says what its result says: by its best weights, or by its last when
    asked.
    """
    run = trained(tmp_path, "early stopping")
    assert run.result["weights_of_step"] != run.result["steps"], "best and last must differ"
    opened = recurra.load(run.path, which)
    assert run.folder.checkpoints.load(which).step == run.result[step]
    same = opened.evaluate()["metrics"] == run.result["metrics"]
    assert same == (which == "best")
    if which == "best":
        assert opened.generated() == run.result["generated"]
        assert opened.evaluate("test")["metrics"] == run.result["metrics"]
