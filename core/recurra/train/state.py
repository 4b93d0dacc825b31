"""What a checkpoint must hold for training to go on from it: looked at whole before anything of it
is taken.
"""

from __future__ import annotations

import copy
import json
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, optim

from recurra.runs.checkpoints import Checkpoint
from recurra.runs.records import Count, Model
from recurra.train.loop import Trainer
from recurra.train.saved import split_optimizer


class ProgressState(Model):
    """Where training stood."""

    step: Count
    epoch: Count
    batch: Count
    rate: float
    tokens: Count
    seconds: float = Field(ge=0)


class WatchState(Model):
    """What early stopping remembers."""

    best: float
    waited: Count


class RateState(Model):
    """What the schedule remembers."""

    cut: float = Field(ge=0)
    best: float | None
    waited: Count


class OptimizerState(Model):
    """What of an optimizer is no tensor."""

    plain: dict[str, Any]
    groups: list[dict[str, Any]]


class State(Model):
    """state.json of a checkpoint."""

    progress: ProgressState
    watch: WatchState | None
    rate: RateState
    optimizer: OptimizerState
    pending: Annotated[list[float], Field(min_length=2, max_length=2)]
    sampled: Count | None = None


def check(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Raise `ValueError` that says what of a checkpoint does not fit a trainer."""
    state = State.model_validate(checkpoint.state)
    if state.progress.step != checkpoint.step:
        raise ValueError(f"state.json is of step {state.progress.step}")
    if state.progress.batch >= trainer.feed.batches:
        raise ValueError(f"batch {state.progress.batch} of an epoch of {trainer.feed.batches}")
    for name, tensor in checkpoint.tensors.get("carried", {}).items():
        if tensor.shape[:1] != (trainer.feed.batch_size,):
            raise ValueError(f"carried {name} is not of {trainer.feed.batch_size} rows")
    _check_optimizer(trainer.optimizer, checkpoint.tensors.get("optimizer", {}), state.optimizer)


def _check_optimizer(
    optimizer: optim.Optimizer, moments: dict[str, Tensor], saved: OptimizerState
) -> None:
    """Compare an optimizer's saved state with what the same optimizer holds after one step."""
    tensors, plain = split_optimizer(_stepped(optimizer).state_dict()["state"])
    expected: dict[str, Any] = {**tensors, **plain}
    held: dict[str, Any] = {**moments, **saved.plain}
    weights = {name.partition(".")[0] for name in held}
    for name in sorted(held.keys() | {n for n in expected if n.partition(".")[0] in weights}):
        if name not in held or name not in expected:
            raise ValueError(
                f"the optimizer's {name} is {'missing' if name in expected else 'not of it'}"
            )
        if not _alike(held[name], expected[name]):
            raise ValueError(
                f"the optimizer's {name} is {_shape(held[name])}, not {_shape(expected[name])}"
            )
    groups = optimizer.state_dict()["param_groups"]
    if len(groups) != len(saved.groups):
        raise ValueError(f"the optimizer has {len(groups)} groups, not {len(saved.groups)}")
    for group, other in zip(groups, saved.groups, strict=True):
        for name, value in group.items():
            if name in ("lr", "params") and name not in other:
                raise ValueError(f"the optimizer's {name} is missing")
            if name in other and not _alike(other[name], value):
                raise ValueError(f"the optimizer's {name} is {other[name]!r:.80}")
        if other["params"] != group["params"] or other["lr"] < 0:
            raise ValueError("the optimizer's groups hold other weights or a rate below 0")


def _stepped(optimizer: optim.Optimizer) -> optim.Optimizer:
    """Return a copy of an optimizer that has made a step of length 0, and so holds all that it will
    ever hold.
    """
    twin = copy.deepcopy(optimizer)
    for group in twin.param_groups:
        group["lr"] = 0.0
        # Torch asks a copy for it where there is CUDA, and not each has it.
        group.setdefault("capturable", False)
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    twin.step()
    return twin


def _alike(value: Any, like: Any) -> bool:
    """Tell whether a saved value is of the kind of another: shape and type of a tensor, type of a
    plain value.
    """
    if isinstance(like, Tensor) or isinstance(value, Tensor):
        both = isinstance(like, Tensor) and isinstance(value, Tensor)
        return both and value.shape == like.shape and value.dtype == like.dtype
    value, like = (json.loads(json.dumps(part)) for part in (value, like))
    if isinstance(like, list):
        return isinstance(value, list) and len(value) == len(like) and all(map(_alike, value, like))
    numbers = (int, float)
    if type(like) in numbers:
        return type(value) in numbers
    return value is None or like is None or type(value) is type(like)


def _shape(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else f"{value!r:.80}"
