"""The state of an optimizer as a checkpoint holds it: tensors, and what is none."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def split_optimizer(state: dict[int, dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimizer's state as named tensors, and the rest as plain JSON."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for index, values in state.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain[f"{index}.{name}"] = value
    return tensors, plain


def in_form(saved: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return a saved group of an optimizer, fused only where it is so here: not every device has
    that form.
    """
    return saved if own.get("fused") or not saved.get("fused") else saved | {"fused": own["fused"]}


def join_optimizer(tensors: dict[str, Tensor], plain: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the state of which `split_optimizer` made tensors and what is none."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **plain}.items():
        index, _, field_name = name.partition(".")
        state.setdefault(int(index), {})[field_name] = value
    return state
