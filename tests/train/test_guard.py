"""No update leaves a weight, or what an optimizer keeps of one, infinite or no number."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from trainers import EVEN, trainer_of
from trials import PROSE, write

import recurra
from recurra.contracts.target import Target
from recurra.errors import InputError, RunError
from recurra.runs.checkpoints import Checkpoint
from recurra.runs.folder import RunFolder
from recurra.train import optimizer as optimizers
from recurra.train.events import Saved, Updated
from recurra.train.guard import CALM, Guard, NotFinite, looked_at

SIZES = [0.0, 1e-40, 1e-20, 1e-8, 1e-3, 0.1, 0.5, 0.9, 0.999, 1.0, 1.5, 10.0, 99.0, 1e3, 1e15, -0.8]


def _state(guard: Guard) -> dict[str, Any]:
    """Return all that an update changes, in memory of its own."""
    kept = {
        (index, name): value.clone() if isinstance(value, torch.Tensor) else value
        for index, weight in enumerate(guard.weights)
        for name, value in guard.optimizer.state.get(weight, {}).items()
    }
    return kept | {index: weight.detach().clone() for index, weight in enumerate(guard.weights)}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name])
        if isinstance(value, torch.Tensor)
        else bool(value == other[name])
        for name, value in one.items()
    )


def _arguments(kind: str, drawn: random.Random) -> dict[str, Any]:
    """Return arguments of an optimizer, some of them absurd."""
    chosen: dict[str, Any] = {}
    for name, field in optimizers.options_of(optimizers.known()[kind]).model_fields.items():
        default = field.default
        if name != "lr" and drawn.random() < 0.6:
            continue
        if isinstance(default, bool):
            chosen[name] = drawn.random() < 0.5
        elif isinstance(default, int | float):
            chosen[name] = drawn.choice(SIZES)
        elif isinstance(default, tuple):
            chosen[name] = [drawn.choice(SIZES) for _ in default]
    return chosen


def _holds(kind: str, drawn: random.Random) -> None:
    """Check some updates of one optimizer: all are finite, or the first that is not is undone."""
    try:
        made, arguments = optimizers.chosen({"kind": kind, **_arguments(kind, drawn)})
        generator = torch.Generator().manual_seed(drawn.randrange(1 << 30))
        size = drawn.choice([1.0, 1.0, 1e5, 1e18])
        first = torch.randn(3, 2, generator=generator) * size
        weights = [nn.Parameter(first), nn.Parameter(torch.zeros(4))]
        guard = Guard(optimizers.build(made, arguments, weights), weights)
    except (InputError, ValidationError):
        return  # torch refuses such arguments itself

    steep = drawn.choice([0.0, 1e-30, 1.0, 1.0, 1e5, CALM, 1e15, 1e18])
    for _ in range(40):
        for weight in weights:
            scale = steep if drawn.random() < 0.9 else drawn.choice([0.0, CALM, 1e18])
            noise = torch.randn(weight.shape, generator=generator)
            weight.grad = noise * scale * (noise > -0.5)
        before = _state(guard)
        try:
            _, _, size = looked_at([], [each.grad for each in weights if each.grad is not None])
            guard.update(size)
        except NotFinite:
            assert _same(before, _state(guard))
            return
        finally:
            assert not guard.harmed(), (kind, arguments, steep)


@pytest.mark.parametrize("kind", sorted(optimizers.known()))
def test_an_update_is_finite_or_is_undone(kind: str) -> None:
    """Whatever arguments an optimizer has, and however steep or flat what it is given."""
    for seed in range(10):
        _holds(kind, random.Random(seed))


@pytest.mark.slow
@settings(deadline=None, max_examples=5000)
@given(st.sampled_from(sorted(optimizers.known())), st.integers(0, 1 << 40))
def test_many_updates_are_finite_or_are_undone(kind: str, seed: int) -> None:
    """The same of many more."""
    _holds(kind, random.Random(seed))


OVERFLOWS: dict[str, tuple[dict[str, Any], float, str]] = {
    "a second moment": ({"kind": "adagrad", "lr": 1e-3}, 1.5e19, "sum"),
    "a moment through decay": (
        {"kind": "adam", "lr": 1e-3, "weight_decay": 1e15}, 1.0, "exp_avg_sq",
    ),
    "a momentum": ({"kind": "sgd", "lr": 1e-30, "momentum": 90.0}, 1.0, "momentum_buffer"),
    "factors": ({"kind": "adafactor", "lr": 1e-3}, 1.7e19, "row_var"),
    "0 by 0": ({"kind": "adam", "lr": 1e-3, "eps": 0.0}, 0.0, "weight"),
    "a weight": ({"kind": "sgd", "lr": 1e30}, 1e15, "weight"),
}  # fmt: skip
"""What overflows, by an optimizer, a gradient, and what the message speaks of."""


@pytest.mark.parametrize("case", OVERFLOWS)
def test_what_overflows_is_named(case: str) -> None:
    """Each gradient is finite, and so is its norm."""
    table, size, what = OVERFLOWS[case]
    kind, arguments = optimizers.chosen(table)
    weights = [nn.Parameter(torch.full((2, 2), 1e5))]
    guard = Guard(optimizers.build(kind, arguments, weights), weights)
    with pytest.raises(NotFinite, match=what):
        for _ in range(40):
            weights[0].grad = torch.full((2, 2), size)
            guard.update(looked_at([], [weights[0].grad])[-1])
    assert not guard.harmed()


def test_a_calm_update_is_torchs_own() -> None:
    """Nothing is copied, and an update is the optimizer's, to the last bit."""
    pairs = []
    for guarded in (True, False):
        weights = [nn.Parameter(torch.ones(3, 2))]
        optimizer = torch.optim.AdamW(weights, lr=0.01)
        guard = Guard(optimizer, weights)
        copies: list[object] = []
        real = guard._copied
        guard._copied = lambda real=real, copies=copies: copies.append(0) or real()  # type: ignore
        for step in range(6):
            weights[0].grad = torch.full((3, 2), 10.0 ** (step - 3))
            guard.update(1.0) if guarded else optimizer.step()
        # The first alone is looked at: what there was before is not known.
        assert len(copies) == guarded
        pairs.append(weights[0].detach())
    assert torch.equal(*pairs)


@pytest.mark.parametrize("size", [1.0, 1e15, 1e25, 1e35])
def test_a_norm_whose_squares_overflow_is_a_norm(size: float) -> None:
    """That of float64 is taken where float32 has none; a gradient that is infinite has none."""
    gradients = [torch.full((4,), size), torch.full((3, 4), size)]
    losses, norm, number = looked_at([torch.tensor(0.1)], gradients)
    assert losses == [float(torch.tensor(0.1))] and number == float(norm)
    assert number == pytest.approx(4 * size, rel=1e-6)
    gradients[0][1] = torch.inf
    losses, norm, number = looked_at([torch.tensor(torch.nan)], gradients)
    assert math.isnan(losses[0]) and number == float(norm) == math.inf


STEEP = """\
import torch
from recurra import CellOptions, Component, Loss, Options, hookimpl

class Steep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, grad):
        return grad * SIZE

class Cliff(Loss):
    \"\"\"A loss whose value says nothing of its slope.\"\"\"
    reads = ("symbols",)
    def forward(self, output, target):
        return torch.nn.functional.cross_entropy(Steep.apply(output), target, reduction="none")

@hookimpl
def recurra_components():
    return [Component("loss", "cliff", __name__ + ":Cliff", "recurra:Options", "steep")]
"""


def _cliff(folder: Path, size: str) -> Path:
    write(folder, STEEP.replace("SIZE", size), "steep.py")
    return write(folder, PROSE + '\n[plugins]\nfiles = ["steep.py"]\n')


def test_a_clipped_gradient_may_be_as_steep_as_numbers_go(tmp_path: Path) -> None:
    """Its norm overflows float32, and is clipped as that of one less steep is."""
    weights = []
    for size in ("1e4", "1e30"):
        changes = {"loss.kind": "cliff", "training.clip_norm": 0.5, "training.steps": 3}
        run = recurra.run(_cliff(tmp_path / size, size), changes, runs=tmp_path / size / "runs")
        weights.append(run.folder.checkpoints.load("last").tensors["weights"])
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(optimizers.known()))
@pytest.mark.parametrize("size", ["1e22", "1e38 * 10"])
def test_a_finite_loss_with_a_steep_gradient_stops_every_optimizer(
    kind: str, size: str, tmp_path: Path
) -> None:
    """It stops at its step, and what is saved is finite and goes on."""
    changes = {
        "loss.kind": "cliff", "training.optimizer": {"kind": kind, "lr": 0.01}, "training.steps": 3,
        "sequence.split": [1.0, 0.0, 0.0],
    }  # fmt: skip
    with pytest.raises(RunError) as caught:
        recurra.run(_cliff(tmp_path, size), changes, runs=tmp_path / "runs")
    said = str(caught.value)
    assert caught.value.exit_code == 1 and "gradient" in said and "at step 1" in said
    assert "the weights of step 0 are saved" in said and "clip_norm" in said
    saved = RunFolder.open(tmp_path / "runs" / "task").checkpoints.load()
    assert saved.step == 0 and _finite(saved)


def _finite(checkpoint: Checkpoint) -> bool:
    return all(
        bool(tensor.isfinite().all())
        for name in ("weights", "optimizer", "carried")
        for tensor in checkpoint.tensors.get(name, {}).values()
    )


def _sparse(self: Target[Any], window: Any) -> Any:
    """Score the first three steps of a sequence alone: those of its first window."""
    steps = torch.arange(window.x.shape[1])
    return (window.position[:, None] + steps) < 3


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_update_of_which_nothing_is_scored_is_none(
    carry: bool, accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and moments stay to the last bit, whatever decays; steps and rate go on, the mean
    loss is that of the updates which were made, and the state is carried on.
    """
    from recurra_targets.next import Next

    monkeypatch.setattr(Next, "scored", _sparse)
    optimizer = {"kind": "adamw", "lr": 0.1, "weight_decay": 0.5}
    trainer = trainer_of(tmp_path, EVEN, {
        "training.optimizer": optimizer, "training.steps": 12, "training.batch_size": 1,
        "training.accumulate": accumulate, "sequence.carry": carry, "sequence.length": 6,
        "sequence.restart": 0.0,
        "training.schedule": {"kind": "linear", "final": 0.5},
    })  # fmt: skip
    made, before, rates = 0, _state(trainer.guard), []
    for event in trainer.events():
        if isinstance(event, Updated):
            after = _state(trainer.guard)
            moved = not _same(before, after)
            scored = trainer.progress.tokens > made
            assert moved == scored
            made, before = trainer.progress.tokens, after
            rates.append(trainer.progress.rate)
            # Of nothing there is no mean.
            assert (event.loss is None) == (not scored)
            if carry and trainer.progress.batch:
                assert trainer.passes.carried is not None
        elif isinstance(event, Saved):
            assert _finite(event.checkpoint)
    assert 0 < made and trainer.progress.step == 12 and len(set(rates)) == 12


@pytest.mark.parametrize("kind", sorted(optimizers.known()))
def test_a_rate_of_zero_moves_nothing_far(kind: str) -> None:
    """Where a schedule has come to 0 an optimizer goes on, and all stays finite."""
    weights = [nn.Parameter(torch.ones(3))]
    made, arguments = optimizers.chosen({"kind": kind, "lr": 0.1})
    guard = Guard(optimizers.build(made, arguments, weights), weights)
    for step in range(6):
        for group in guard.optimizer.param_groups:
            group["lr"] = 0.0 if step > 2 else 0.1
        weights[0].grad = torch.tensor([1.0, -2.0, 0.0])
        before = weights[0].detach().clone()
        guard.update(3.0)
        # Rprop's steps are its own after the first, and those of ASGD come one late.
        if step > 3 and kind != "rprop":
            assert torch.equal(before, weights[0])
    assert not guard.harmed()


def test_a_carried_state_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    """It is told by its name, at its step."""
    trainer = trainer_of(tmp_path, EVEN, {"sequence.carry": True, "training.steps": 4})
    assert trainer._harmed() == ""
    states = trainer.passes.carried = trainer.network.initial_states(3)
    for field in (each for state in states for each in state):
        field[0] = torch.inf
    with pytest.raises(RunError, match=r"the carried state 0\.h is not finite at step 0"):
        list(trainer._save())


@pytest.mark.parametrize("size", ["1e22", "1e38 * 10"])
def test_bfloat16_is_guarded_as_float32_is(size: str, tmp_path: Path) -> None:
    """What is narrow overflows where float32 does: the gradient is found before an update."""
    changes = {
        "loss.kind": "cliff", "device.precision": "bfloat16", "training.steps": 3,
        "training.optimizer": {"kind": "adamw", "lr": 0.01}, "sequence.split": [1.0, 0.0, 0.0],
    }  # fmt: skip
    with pytest.raises(RunError, match=r"gradient(.|\n)*at step 1") as caught:
        recurra.run(_cliff(tmp_path, size), changes, runs=tmp_path / "runs")
    assert caught.value.problems[0].code == "RC060"
    assert _finite(RunFolder.open(tmp_path / "runs" / "task").checkpoints.load())


GROWS = """\
from typing import NamedTuple

import torch
from recurra import Cell, CellOptions, Component, hookimpl

class Sum(NamedTuple):
    h: torch.Tensor

class Grows(Cell[CellOptions]):
    \"\"\"A state that is kept whole and added to, and an output that hides how large it is.\"\"\"
    State = Sum

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.of_input = torch.nn.Linear(input_size, options.hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        size = (batch_size, self.options.hidden_size)
        return Sum(torch.zeros(size, device=device, dtype=dtype))

    def step(self, x_t, state):
        new = torch.sigmoid(self.of_input(x_t))
        return new * torch.sigmoid(state.h.detach()), Sum(FACTOR * state.h.detach() + 1 + new)

@hookimpl
def recurra_components():
    return [Component("cell", "grows", __name__ + ":Grows", "recurra:CellOptions", "grows")]
"""


@pytest.mark.parametrize("factor", [1.0, 1e6])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_state_that_grows_without_end_is_saved_while_it_is_a_number(
    factor: float, precision: str, tmp_path: Path
) -> None:
    """One that stays finite is carried on and comes back; one that does not is never saved."""
    write(tmp_path, GROWS.replace("FACTOR", str(factor)), "grows.py")
    task = write(tmp_path, PROSE + '\n[plugins]\nfiles = ["grows.py"]\n')
    changes = {
        "cell.kind": "grows", "sequence.carry": True, "sequence.restart": 0.0,
        "device.precision": precision, "device.path": "eager", "training.steps": 6,
        "training.checkpoint_every": 1, "sequence.split": [1.0, 0.0, 0.0],
    }  # fmt: skip
    runs = tmp_path / "runs"
    if factor == 1.0:
        run = recurra.run(task, changes, runs=runs)
        saved = run.folder.checkpoints.load("last")
        assert saved.step == 6 and float(saved.tensors["carried"]["0.h"].min()) > 6
    else:
        with pytest.raises(RunError, match=r"the carried state 0\.h is not finite") as caught:
            recurra.run(task, changes, runs=runs)
        assert caught.value.problems[0].code == "RC060"
        saved = RunFolder.open(runs / "task").checkpoints.load()
    assert _finite(saved)
