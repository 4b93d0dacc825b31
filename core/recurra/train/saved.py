"""The state of an optimizer as a checkpoint holds it: tensors, and what is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

Slots: TypeAlias = dict[int, dict[str, Any]]
"""What an optimizer keeps of each weight, by the weight's number, as torch has it."""
Group: TypeAlias = dict[str, Any]
"""A group of an optimizer as torch has it: the arguments, and the numbers of its weights."""


class SavedOptimizer(NamedTuple):
    """An optimizer's state: its tensors, and the rest as plain JSON, each as `weight.name`."""

    tensors: dict[str, Tensor]
    plain: dict[str, Any]


def split_optimizer(state: Slots) -> SavedOptimizer:
    """Return an optimizer's state as named tensors, and the rest as plain JSON."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for index, values in state.items():
        for name, value in values.items():
            key = f"{index}.{name}"
            if isinstance(value, Tensor):
                tensors[key] = value
            else:
                plain[key] = value
    return SavedOptimizer(tensors, plain)


def in_form(saved: Group, own: Group, said: Iterable[str] = ()) -> Group:
    """Return a saved group of an optimizer, with its own value of each argument that is `said`.

    It is fused only where it is so here: not every device has that form. The rate is set anew at
    each update.
    """
    group = saved | {name: own[name] for name in said if name in own and name != "lr"}
    if own.get("fused") or not group.get("fused"):
        return group
    return group | {"fused": own["fused"]}


def join_optimizer(tensors: dict[str, Tensor], plain: dict[str, Any]) -> Slots:
    """Return the state of which `split_optimizer` made tensors and what is none."""
    state: Slots = {}
    for key, value in {**tensors, **plain}.items():
        index, _, name = key.partition(".")
        values = state.setdefault(int(index), {})
        values[name] = value
    return state
