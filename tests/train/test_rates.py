"""Learning rates: closed forms, the law of the plateau, and what an update adds up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim
from trainers import EVEN, RAGGED, trainer_of
from trials import PROSE, write

import recurra
from recurra.job.data import load_data
from recurra.job.run import Run
from recurra.spec.schedules import Constant, Cosine, Linear, Plateau
from recurra.train.loop import Trainer
from recurra.train.optimizer import Rate

totals = st.integers(2, 500)
warmups = st.integers(0, 40)
finals = st.floats(0, 1)


@given(
    kind=st.sampled_from([Constant, Cosine, Linear, Plateau]),
    warmup=st.integers(1, 40),
    total=totals,
)
def test_warm_up_is_a_line_from_nothing_to_the_whole(kind: Any, warmup: int, total: int) -> None:
    """Update i of w in the warm-up has the share (i + 1) / w, and the one after it the whole
    rate.
    """
    rate = Rate(kind(warmup_steps=warmup), total)
    assert [rate.share(step) for step in range(warmup)] == pytest.approx(
        [(s + 1) / warmup for s in range(warmup)]
    )
    assert rate.share(warmup) == (
        1.0 if warmup < total or kind in (Constant, Plateau) else pytest.approx(1.0)
    )


@given(warmup=warmups, length=st.integers(1, 300), final=finals)
def test_cosine_and_linear_are_their_closed_forms(warmup: int, length: int, final: float) -> None:
    """Both begin at 1 after the warm-up, end at `final` once all steps are done, and never rise
    between.
    """
    total = warmup + length
    for kind, form in (
        (Cosine, lambda part: final + (1 - final) * (1 + math.cos(math.pi * part)) / 2),
        (Linear, lambda part: 1 + (final - 1) * part),
    ):
        rate = Rate(kind(warmup_steps=warmup, final=final), total)
        shares = [rate.share(step) for step in range(warmup, total + 1)]
        assert shares == pytest.approx([form(i / length) for i in range(length + 1)])
        assert shares[0] == pytest.approx(1) and shares[-1] == pytest.approx(final)
        assert all(
            after <= before + 1e-12 for before, after in zip(shares, shares[1:], strict=False)
        )
        assert rate.share(total + 7) == pytest.approx(final), (
            "nor does it go on falling after the end"
        )


@given(
    values=st.lists(st.sampled_from([1.0, 2.0, 3.0, 0.5, 0.25]), min_size=1, max_size=40),
    patience=st.integers(0, 4), factor=st.sampled_from([0.1, 0.5, 0.9]), cut=st.integers(0, 40),
)  # fmt: skip
@settings(deadline=None)
def test_a_plateau_cuts_as_torchs_does(
    values: list[float], patience: int, factor: float, cut: int
) -> None:
    """The rate falls at the same validations as under ReduceLROnPlateau, also when it is saved and
    restored between.
    """
    theirs = optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = optim.lr_scheduler.ReduceLROnPlateau(
        theirs, factor=factor, patience=patience, threshold=0.0, eps=0.0
    )
    ours = Rate(Plateau(patience=patience, factor=factor), 100)
    for index, value in enumerate(values):
        oracle.step(value)
        ours.observe(value)
        if index == cut:
            fresh = Rate(Plateau(patience=patience, factor=factor), 100)
            fresh.restore(ours.save())
            ours = fresh
        assert ours.share(index) == pytest.approx(theirs.param_groups[0]["lr"])


def test_only_a_plateau_minds_validations() -> None:
    """Other schedules stay as they are, whatever validation says."""
    for schedule in (Constant(), Cosine(), Linear()):
        rate = Rate(schedule, 10)
        before = [rate.share(step) for step in range(10)]
        for _ in range(20):
            rate.observe(1.0)
        assert [rate.share(step) for step in range(10)] == before


def test_the_rate_that_is_recorded_is_the_rate_of_the_update(tmp_path: Path) -> None:
    """metrics.jsonl tells the schedule as it was used, update by update."""
    schedule = {"kind": "linear", "warmup_steps": 4, "final": 0.5}
    run = _run(tmp_path, PROSE, {"training.schedule": schedule})
    rate = Rate(Linear(warmup_steps=4, final=0.5), 12)
    rates = [r["rate"] for r in run.metrics() if r["split"] == "train" and not r.get("final")]
    assert rates == pytest.approx([0.02 * rate.share(step) for step in range(12)])


def _run(folder: Path, text: str, changes: dict[str, Any], observer: Any = None) -> Run:
    return recurra.run(write(folder, text), changes, runs=folder / "runs", observer=observer)


def _weights(run: Run) -> torch.Tensor:
    tensors = run.folder.checkpoints.load("last").tensors["weights"]
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


@pytest.mark.parametrize("text", [EVEN, RAGGED], ids=["windows", "ragged"])
@pytest.mark.parametrize(
    "optimizer", [{"kind": "sgd", "lr": 0.1, "momentum": 0.9}, {"kind": "adam", "lr": 0.01}]
)
@pytest.mark.parametrize("times", [2, 3])
def test_batches_added_up_are_one_large_batch(
    text: str, optimizer: dict[str, Any], times: int, tmp_path: Path
) -> None:
    """k batches accumulated train as one batch of k times the size, also where windows are of
    unequal length.
    """
    shared = {
        "training.optimizer": optimizer, "sequence.split": [1.0, 0.0, 0.0],
        "device.precision": "float64",
        "generation.prompt": "a", "training.clip_norm": 0.5, "sequence.length": 7,
    }  # fmt: skip
    small = {"training.batch_size": 2, "training.accumulate": times}
    large = {"training.batch_size": 2 * times, "training.accumulate": 1}
    one, other = (
        _run(tmp_path / name, text, {**shared, **size})
        for name, size in (("a", small), ("b", large))
    )
    torch.testing.assert_close(_weights(one), _weights(other), rtol=1e-10, atol=1e-12)
    losses = [[r["loss"] for r in run.metrics() if r["split"] == "train"] for run in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)


@pytest.mark.parametrize("changes", [{}, {"training.accumulate": 2}, {"sequence.carry": True}])
def test_epochs_are_so_many_steps(changes: dict[str, Any], tmp_path: Path) -> None:
    """Two epochs and the steps that they make are the same training."""
    text = PROSE.replace("steps = 12\n", "")
    epochs = _run(tmp_path / "epochs", text, {"training.epochs": 2, **changes})
    data = load_data(epochs.resolved)
    steps = 2 * math.ceil(data.feed.batches / changes.get("training.accumulate", 1))
    assert epochs.result["steps"] == steps
    assert torch.equal(
        _weights(epochs),
        _weights(_run(tmp_path / "steps", text, {"training.steps": steps, **changes})),
    )


def test_a_step_that_is_not_scored_has_no_gradient_at_all(tmp_path: Path) -> None:
    """In a padded batch the gradient of what is filled in is exactly zero, and that of each scored
    step is not.
    """
    trainer = trainer_of(
        tmp_path, RAGGED, {"training.steps": 1, "training.batch_size": 8, "sequence.length": 20}
    )
    outputs: list[torch.Tensor] = []

    def keep(module: Any, args: Any, result: Any) -> None:
        result.retain_grad()
        outputs.append(result)

    trainer.network.head.register_forward_hook(keep)
    batch = next(iter(trainer.feed.epoch(0)))
    list(trainer.events())
    (output,) = outputs
    assert not batch.mask.all(), "the batch must be padded"
    assert bool((output.grad[~batch.mask] == 0).all())
    assert bool((output.grad[batch.mask].abs().sum(-1) > 0).all())


def hear_states(trainer: Trainer, before: list[Any], after: list[Any]) -> None:
    """Keep the states that each window of training begins with, and those that it ends with."""
    plain = trainer.network.hidden

    def heard(x: torch.Tensor, states: Any = None, **more: Any) -> Any:
        hidden, ended = plain(x, states, **more)
        before.append(states)
        after.append(ended)
        return hidden, ended

    trainer.network.hidden = heard


def test_gradients_never_reach_the_window_before(tmp_path: Path) -> None:
    """With carry, each window starts from the values that the one before ended with, cut from its
    graph.
    """
    changes = {"sequence.carry": True, "sequence.restart": 0.0, "generation.prompt": "the "}
    trainer = trainer_of(tmp_path, PROSE, changes)
    before: list[Any] = []
    after: list[Any] = []
    hear_states(trainer, before, after)
    list(trainer.events())
    inside = [(s, a) for s, a in zip(before[1:], after, strict=False) if s is not None]
    assert len(inside) > 3 and before[0] is None
    for states, ended in inside:
        for field, end in zip(states[0], ended[0], strict=True):
            assert not field.requires_grad and field.grad_fn is None
            assert end.requires_grad and torch.equal(field, end)
    epochs = [index for index, states in enumerate(before) if states is None]
    assert epochs == list(range(0, len(before), trainer.feed.batches)), (
        "an epoch begins with fresh states"
    )


def test_without_carry_no_state_goes_on(tmp_path: Path) -> None:
    """Independent windows each begin with a state of their own."""
    trainer = trainer_of(tmp_path, PROSE, {"generation.prompt": "the "})
    given: list[Any] = []
    hear_states(trainer, given, [])
    list(trainer.events())
    assert given and all(states is None for states in given)


def test_clipping_bounds_the_norm_of_the_whole_gradient(tmp_path: Path) -> None:
    """Under plain sgd with rate 1 an update is as long as clip_norm where the gradient is
    longer.
    """
    changes = {
        "training.optimizer": {"kind": "sgd", "lr": 1.0},
        "training.steps": 1,
        "device.precision": "float64",
    }
    moved = []
    for name, norm in (("a", 0.0), ("b", 1e-3)):
        trainer = trainer_of(tmp_path / name, EVEN, {**changes, "training.clip_norm": norm})
        start = nn.utils.parameters_to_vector(trainer.network.parameters()).detach()
        list(trainer.events())
        moved.append(
            float(
                (nn.utils.parameters_to_vector(trainer.network.parameters()) - start)
                .norm()
                .detach()
            )
        )
    assert moved[0] > 1e-2 and moved[1] == pytest.approx(1e-3, rel=1e-3)
