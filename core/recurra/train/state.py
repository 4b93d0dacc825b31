"""What a checkpoint must hold for training to go on from it.

It is looked at whole before anything of it is taken.
"""

from __future__ import annotations

import copy
import json
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, optim

from recurra.runs.checkpoints import Checkpoint
from recurra.runs.records import Count, Model, Written
from recurra.train.loop import Trainer
from recurra.train.saved import Group, split_optimizer

STREAMS = ("cpu", "cuda", "dropout")
"""The streams of random numbers that a checkpoint may hold."""


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
    pace: list[Annotated[list[float], Field(min_length=3, max_length=3)]] = []
    """Updates, scored steps and seconds, as often as a loss was recorded."""
    sampled: Count | None = None
    """How long samples.txt then was, as checkpoints of before have it."""
    written: dict[str, Written] = {}
    """How long the records then were, and the hash of so much of them."""


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
    _check_random(trainer.random(), checkpoint.tensors.get("random", {}))
    _check_optimizer(trainer.optimizer, checkpoint.tensors.get("optimizer", {}), state.optimizer)


def _check_random(own: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Refuse streams of random numbers that are none, or not all of them.

    What a device or a rate of dropout has left that is here no more is one.
    """
    for name in sorted(saved.keys() | {"cpu"}):
        if name not in saved:
            raise ValueError(f"the random stream {name} is missing")
        if name not in STREAMS:
            raise ValueError(f"random holds {name[:200]!r}, which is none of {', '.join(STREAMS)}")
        if name in own and not _alike(saved[name], own[name]):
            fact = f"{_shape(saved[name])}, not {_shape(own[name])}"
            raise ValueError(f"the random stream {name} is {fact}")


def _check_optimizer(
    optimizer: optim.Optimizer, moments: dict[str, Tensor], saved: OptimizerState
) -> None:
    """Compare an optimizer's saved state with what the same optimizer holds after one step."""
    tensors, plain = split_optimizer(_stepped(optimizer).state_dict()["state"])
    _check_slots({**moments, **saved.plain}, {**tensors, **plain})

    groups = optimizer.state_dict()["param_groups"]
    if len(groups) != len(saved.groups):
        raise ValueError(f"the optimizer has {len(groups)} groups, not {len(saved.groups)}")
    for own, group in zip(groups, saved.groups, strict=True):
        _check_group(group, own)


def keeps(optimizer: optim.Optimizer) -> set[str]:
    """Return the names of what an optimizer keeps of its weights, once it has made a step."""
    tensors, plain = split_optimizer(_stepped(optimizer).state_dict()["state"])
    return {key.partition(".")[2] for key in (*tensors, *plain)}


def _check_slots(saved: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare what is saved of each weight, by `weight.name`, with what is expected of it."""
    # A weight that no batch has reached is not saved at all.
    weights = {_weight(key) for key in saved}
    reached = {key for key in expected if _weight(key) in weights}
    for key in sorted(saved.keys() | reached):
        if key not in saved:
            raise ValueError(f"the optimizer's {key} is missing")
        if key not in expected:
            raise ValueError(f"the optimizer's {key} is not of it")
        if not _alike(saved[key], expected[key]):
            fact = f"{_shape(saved[key])}, not {_shape(expected[key])}"
            raise ValueError(f"the optimizer's {key} is {fact}")


def _weight(key: str) -> str:
    """Return the number of the weight, which a key begins with."""
    number, _, _ = key.partition(".")
    return number


def _check_group(saved: Group, own: Group) -> None:
    """Compare a saved group of arguments and weights with that of the optimizer."""
    for name, value in own.items():
        if name in ("lr", "params") and name not in saved:
            raise ValueError(f"the optimizer's {name} is missing")
        if name in saved and not _alike(saved[name], value):
            raise ValueError(f"the optimizer's {name} is {saved[name]!r:.80}")
    if saved["params"] != own["params"] or saved["lr"] < 0:
        raise ValueError("the optimizer's groups hold other weights or a rate below 0")


def _stepped(optimizer: optim.Optimizer) -> optim.Optimizer:
    """Return a copy of an optimizer that has made a step of length 0.

    So it holds all that it will ever hold.
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
    """Tell whether a saved value is of the kind of another.

    Of tensors that is shape and type, of a plain value its type.
    """
    if isinstance(like, Tensor) and isinstance(value, Tensor):
        return value.shape == like.shape and value.dtype == like.dtype
    if isinstance(like, Tensor) or isinstance(value, Tensor):
        return False

    # As JSON has them: a tuple is a list there.
    value = json.loads(json.dumps(value))
    like = json.loads(json.dumps(like))
    if isinstance(like, list):
        if not isinstance(value, list) or len(value) != len(like):
            return False
        return all(map(_alike, value, like))
    numbers = (int, float)
    if type(like) in numbers:
        return type(value) in numbers
    return value is None or like is None or type(value) is type(like)


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.dtype}"
    return f"{value!r:.80}"
