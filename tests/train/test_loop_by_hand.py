"""The loop and its optimizers are those that one would write by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim
from torch.nn import functional
from trainers import EVEN, RAGGED, trainer_of

from recurra.train import optimizer as optimizers

FUSED: dict[str, dict[str, Any]] = {
    "adam": {"betas": (0.8, 0.95), "weight_decay": 0.1, "amsgrad": True, "maximize": True},
    "adamw": {"betas": (0.8, 0.95), "weight_decay": 0.1, "amsgrad": True, "maximize": True},
    "adagrad": {
        "lr_decay": 0.1,
        "weight_decay": 0.1,
        "initial_accumulator_value": 0.5,
        "maximize": True,
    },
}
"""The optimizers that are taken in their fused form on a CPU, and values of their arguments that
change something.
"""

AFTER = 4
"""Updates after which weights are compared."""


@pytest.mark.parametrize("text", [EVEN, RAGGED], ids=["windows", "ragged"])
@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize("kind", ["adam", "adamw", "adagrad", "rmsprop"])
def test_training_is_the_loop_by_hand(text: str, clip: float, kind: str, tmp_path: Path) -> None:
    """Weights and loss after some updates are those of backward, clip_grad_norm_ and torch's plain
    optimizer.
    """
    trainer = trainer_of(tmp_path, text, {
        "training.optimizer": {"kind": kind, "lr": 0.02}, "training.steps": AFTER,
        "training.batch_size": 2,
        "training.clip_norm": clip, "device.precision": "float64",
        "sequence.split": [1.0, 0.0, 0.0],
        "generation.prompt": "a", "sequence.length": 7,
    })  # fmt: skip
    network = copy.deepcopy(trainer.network)
    plain = optimizers.find(kind)(network.parameters(), lr=0.02, foreach=False)
    done = 0
    while done < AFTER:
        for batch in trainer.feed.epoch(done // trainer.feed.batches):
            plain.zero_grad()
            output, _ = network(batch.x, None, position=batch.position)
            loss = functional.cross_entropy(output[batch.mask], batch.y[batch.mask])
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            plain.step()
            done += 1
            if done == AFTER:
                break
    list(trainer.events())
    assert trainer.progress.loss == pytest.approx(loss.item(), rel=1e-10)
    for ours, theirs in zip(trainer.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def _moved(made: optim.Optimizer, weights: list[nn.Parameter]) -> list[torch.Tensor]:
    """Return the weights after five updates, each with gradients and a rate of its own."""
    stream = torch.Generator().manual_seed(5)
    for index in range(5):
        made.param_groups[0]["lr"] = 0.1 / (index + 1)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=stream, dtype=torch.float64).to(
                weight
            )
        made.step()
    return [weight.detach() for weight in weights]


def _weights(dtype: torch.dtype) -> list[nn.Parameter]:
    """Return weights whose sizes fill no vector register evenly, and one that is empty of rows but
    one.
    """
    stream = torch.Generator().manual_seed(4)
    return [
        nn.Parameter(torch.randn(shape, generator=stream, dtype=torch.float64).to(dtype))
        for shape in ((37, 19), (5,), (1, 1))
    ]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kind", FUSED)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_fused_optimizer_is_the_plain_one(
    kind: str, dtype: torch.dtype, bound: float, data: st.DataObject
) -> None:
    """Under any of its arguments the fused form moves the weights as torch's loop over them
    does.
    """
    chosen = {name: value for name, value in FUSED[kind].items() if data.draw(st.booleans(), name)}
    ours, theirs = _weights(dtype), _weights(dtype)
    made = optimizers.build(optimizers.find(kind), {"lr": 0.1, **chosen}, ours)
    assert made.param_groups[0]["fused"] is True
    plain = optimizers.find(kind)(theirs, lr=0.1, foreach=False, **chosen)
    for one, other in zip(_moved(made, ours), _moved(plain, theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=bound, atol=bound)


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize(
    "chosen", [{"fused": False}, {"foreach": True}, {"foreach": False}, {"lr": 1e30}], ids=str
)
def test_a_task_may_choose_the_form(kind: str, chosen: dict[str, Any]) -> None:
    """A form that the task names is kept; and an absurd rate is left to the plain one, which
    refuses to overflow.
    """
    made = optimizers.build(optimizers.find(kind), chosen, _weights(torch.float32))
    assert not made.param_groups[0]["fused"]


def test_what_has_no_fused_form_is_built_plainly() -> None:
    """Weights that are complex, which the fused kernels refuse, take the plain form."""
    weights = [nn.Parameter(torch.ones(3, dtype=torch.complex64))]
    made = optimizers.build(optim.Adam, {}, weights)
    assert not made.param_groups[0]["fused"]
    weights[0].grad = torch.ones_like(weights[0])
    made.step()
    assert bool(weights[0].isfinite().all())
