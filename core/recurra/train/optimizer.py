"""Any optimizer of torch.optim by its name, its arguments checked against its own signature; and
learning rates.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from torch import nn, optim

from recurra.contracts.options import to_json
from recurra.errors import InputError, Problem, listing, nearest
from recurra.spec import checking
from recurra.spec.document import Document
from recurra.spec.kinds import Exchange
from recurra.spec.tables import Constant, Cosine, Linear, Plateau

_NEEDS_MORE = {
    "lbfgs": "it calls the loss several times a step",
    "muon": "it updates matrices alone, and a network has biases",
    "sparseadam": "gradients here are dense",
}
FUSED: dict[str, tuple[type[optim.Optimizer], ...]] = {
    "cpu": (optim.Adam, optim.AdamW, optim.Adagrad),
    "cuda": (optim.Adam, optim.AdamW),
}
"""What is faster in torch's fused form, which makes a whole update in one kernel, by the kind of
device.
"""
LARGEST = 1e15
"""The largest argument but a rate: torch does not check, and a step whose square leaves float32 is
a traceback.
"""
_BOUNDS: dict[str, tuple[float, float]] = {
    "alpha": (0, 1),
    "lr": (0, torch.finfo(torch.float32).max),
    **dict.fromkeys(("weight_decay", "eps", "momentum", "dampening", "lambd"), (0, LARGEST)),
}
_InPair = Annotated[float, Field(ge=0, le=LARGEST)]
_HIDDEN = {"params", "self", "capturable", "differentiable", "kwargs"}


def known() -> dict[str, type[optim.Optimizer]]:
    """Return the optimizers by folded name."""
    found = {
        name.lower(): value
        for name, value in vars(optim).items()
        if inspect.isclass(value)
        and issubclass(value, optim.Optimizer)
        and value is not optim.Optimizer
    }
    return {name: value for name, value in found.items() if name not in _NEEDS_MORE}


def find(kind: str) -> type[optim.Optimizer]:
    """Return the class of a name, in any case. Raises `InputError` (RC020)."""
    folded = kind.lower().replace("_", "").replace("-", "")
    if folded in _NEEDS_MORE:
        raise InputError.of(
            "RC031", f"optimizer {kind!r} cannot be used here: {_NEEDS_MORE[folded]}"
        )
    classes = known()
    if folded not in classes:
        close = nearest(folded, classes)
        raise InputError.of(
            "RC020", f"torch.optim has no {kind!r}", allowed=listing(classes), nearest=close
        )
    return classes[folded]


_MODELS: dict[type[optim.Optimizer], type[BaseModel]] = {}


def options_of(kind: type[optim.Optimizer]) -> type[BaseModel]:
    """Return a strict pydantic model of an optimizer's arguments, made once, from its signature."""
    if kind not in _MODELS:
        _MODELS[kind] = _made_of_signature(kind)
    return _MODELS[kind]


def _made_of_signature(kind: type[optim.Optimizer]) -> type[BaseModel]:
    hints = get_type_hints(kind.__init__)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in _HIDDEN:
            continue
        annotation = _without_tensor(hints.get(name, type(parameter.default)))
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        low, high = _BOUNDS.get(name, (-LARGEST, LARGEST)) if annotation is float else (None, None)
        described = Field(
            default, ge=low, le=high, description=f"{name} of torch.optim.{kind.__name__}"
        )
        fields[name] = (annotation, described)
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return cast(
        type[BaseModel], create_model(f"{kind.__name__}Arguments", __config__=config, **fields)
    )


def _without_tensor(annotation: Any) -> Any:
    """Return a type without Tensor, which a task file cannot hold, in it."""
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [_without_tensor(part) for part in get_args(annotation) if part is not torch.Tensor]
        return Union[tuple(kept)]  # noqa: UP007
    if get_origin(annotation) is tuple:
        kept = [_without_tensor(part) for part in get_args(annotation)]
        return tuple[tuple(_InPair if part is float else part for part in kept)]  # type: ignore[misc]
    return annotation if annotation in (float, int, bool, str, type(None)) else Any


def chosen(table: dict[str, Any]) -> tuple[type[optim.Optimizer], dict[str, Any]]:
    """Return the class and the arguments of an optimizer's table.

    Raises `InputError` (RC020, RC031) for its kind, and `pydantic.ValidationError` for its
    arguments.
    """
    kind = find(table["kind"])
    options = options_of(kind).model_validate_json(
        to_json({k: v for k, v in table.items() if k != "kind"})
    )
    return kind, {name: getattr(options, name) for name in options.model_fields_set}


def exchange(before: Any, after: Any) -> Exchange | None:
    """Compare two optimizers by their names: they share the arguments that every one of torch's
    has, `lr` above all.
    """
    try:
        classes = [find(kind) for kind in (before, after) if isinstance(kind, str)]
    except InputError:
        return None
    if len(classes) < 2 or classes[0] is classes[1]:
        return None
    everywhere = set.intersection(
        *(set(options_of(kind).model_fields) for kind in known().values())
    )
    return Exchange(options_of(classes[0]).model_fields.keys(), everywhere)


def check(document: Document) -> list[Problem]:
    """Return every fault of a task's table `training.optimizer`; one that is no table is told
    elsewhere.
    """
    key = ("training", "optimizer")
    training = document.data.get("training")
    table = training.get("optimizer") if isinstance(training, dict) else None
    if not isinstance(table, dict):
        return []
    name, place = "training.optimizer.kind", document.place((*key, "kind"))
    kind = table.get("kind")
    if not isinstance(kind, str):
        code, fact = (
            ("RC010", "kind is missing")
            if kind is None
            else ("RC012", "kind must be a name, in quotes")
        )
        return [Problem(code, fact, name, place, allowed=listing(known()))]
    try:
        chosen(table)
    except InputError as error:
        return [replace(problem, key=name, place=place) for problem in error.problems]
    except ValidationError as error:
        return checking.problems(error, document, key, options_of(find(kind)), f"optimizer {kind}")
    return []


def build(
    kind: type[optim.Optimizer], arguments: dict[str, Any], parameters: Iterable[nn.Parameter]
) -> optim.Optimizer:
    """Return an optimizer, in its fused form where that is faster and the arguments leave it open.

    Raises `InputError` (RC013) with torch's own words if it refuses its arguments.
    """
    weights = list(parameters)
    if _fused_is_better(kind, arguments, weights):
        arguments = {**arguments, "fused": True}
    try:
        return kind(weights, **arguments)
    except (ValueError, TypeError, RuntimeError) as error:
        fact = f"torch.optim.{kind.__name__} refuses its arguments: {error}"
        raise InputError.of("RC013", fact, key="training.optimizer") from error


def _fused_is_better(
    kind: type[optim.Optimizer], arguments: dict[str, Any], weights: Sequence[nn.Parameter]
) -> bool:
    """Tell whether torch has a fused form of an optimizer for these weights, and the task has not
    chosen a form.

    A rate above `LARGEST` keeps the plain form, which refuses what leaves float32 before it changes
    a weight.
    """
    if {"fused", "foreach"} & arguments.keys() or arguments.get("lr", 0) > LARGEST:
        return False
    return all(
        weight.is_floating_point() and kind in FUSED.get(weight.device.type, ())
        for weight in weights
    )


class Rate:
    """The learning rate over the run, as a share of the optimizer's own; remembers what a plateau
    has cut.
    """

    def __init__(self, schedule: Constant | Cosine | Linear | Plateau, total: int) -> None:
        self.schedule = schedule
        self.total = total
        self.cut = 1.0
        self.best = math.inf
        self.waited = 0

    def share(self, step: int) -> float:
        """Return the share of the rate for an update, counted from 0."""
        schedule = self.schedule
        warmup = schedule.warmup_steps
        if step < warmup:
            return self.cut * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, self.total - warmup))
        if isinstance(schedule, Cosine):
            return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * done))
        if isinstance(schedule, Linear):
            return 1 - (1 - schedule.final) * done
        return self.cut

    def observe(self, value: float) -> None:
        """Tell the result of a validation, of which a plateau takes note."""
        if not isinstance(self.schedule, Plateau):
            return
        if value < self.best:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.schedule.patience:
            self.cut, self.waited = self.cut * self.schedule.factor, 0

    def save(self) -> dict[str, Any]:
        """Return what it remembers, as plain JSON."""
        return {
            "cut": self.cut,
            "best": None if math.isinf(self.best) else self.best,
            "waited": self.waited,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back what `save` gave."""
        self.cut, self.waited = saved["cut"], saved["waited"]
        self.best = math.inf if saved["best"] is None else saved["best"]
