"""Optimizers of torch without torch's compiler, which no update of a run goes through.

torch.optim keeps `torch.compile` out of what it does by wrappers that import torch._dynamo when
they are first called: as much processor time again as torch itself takes, of every process that
builds an optimizer. What they wrap does the same without them where nothing is compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import optim

_KEEPS_OUT = "_disable_dynamo.<locals>.inner"
"""The wrapper that runs what it wraps outside of any compiled graph."""
_BREAKS = "_use_grad_for_differentiable.<locals>._use_grad"
"""The wrapper of a step: a graph ends before it and after it, and it records no gradients."""
_METHODS = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")

_CLASSES: dict[type[optim.Optimizer], type[optim.Optimizer]] = {}


def lean(kind: type[optim.Optimizer]) -> type[optim.Optimizer]:
    """Return a class of an optimizer's name that makes the same updates, made once.

    A method that is wrapped in any other way than the two that are known here stays torch's own.
    Its arguments must not ask for `differentiable` updates, and none of it is to be compiled.
    """
    if kind not in _CLASSES:
        _CLASSES[kind] = _unwrapped(kind)
    return _CLASSES[kind]


def _unwrapped(kind: type[optim.Optimizer]) -> type[optim.Optimizer]:
    methods: dict[str, Any] = {name: getattr(kind, name) for name in _METHODS}
    own = {
        name: method.__wrapped__
        for name, method in methods.items()
        if _wrapper(method) == _KEEPS_OUT
    }
    step: Any = kind.step
    if getattr(step, "hooked", False):
        # One of that class was built before; torch puts its hooks round each class's step anew.
        step = step.__wrapped__
    if _wrapper(step) == _BREAKS:
        own["step"] = torch.no_grad()(step.__wrapped__)

    named = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {**named, **own})


def _wrapper(method: Any) -> str:
    """Return the name of a wrapper's own code; "" of what wraps nothing, or is no function."""
    code = getattr(method, "__code__", None)
    if code is None or not hasattr(method, "__wrapped__"):
        return ""
    name: str = code.co_qualname
    return name
