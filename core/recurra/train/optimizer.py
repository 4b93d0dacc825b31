"""Any optimizer of torch.optim by its name, and learning rates.

An optimizer's arguments are checked against its own signature.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from torch import nn, optim

from recurra.contracts.options import to_json
from recurra.errors import InputError, Problem, listing, nearest
from recurra.spec import checking
from recurra.spec.document import Document
from recurra.spec.kinds import Exchange
from recurra.spec.schedules import Constant, Cosine, Linear, Plateau
from recurra.train.lean import lean

_NEEDS_MORE = {
    "lbfgs": "it calls the loss several times a step",
    "muon": "it updates matrices alone, and a network has biases",
    "sparseadam": "gradients here are dense",
}
FUSED: dict[str, tuple[type[optim.Optimizer], ...]] = {
    "cpu": (optim.Adam, optim.AdamW, optim.Adagrad),
    "cuda": (optim.Adam, optim.AdamW),
}
"""What is faster in torch's fused form, by the kind of device.

That form makes a whole update in one kernel.
"""
LARGEST = 1e15
"""The largest argument but a rate.

Torch does not check, and a step whose square leaves float32 is a traceback.
"""
_BOUNDS: dict[str, tuple[float, float]] = {
    "alpha": (0, 1),
    "lr": (0, torch.finfo(torch.float32).max),
    **dict.fromkeys(("weight_decay", "eps", "momentum", "dampening", "lambd"), (0, LARGEST)),
}
_InPair = Annotated[float, Field(ge=0, le=LARGEST)]
_HIDDEN = {"params", "self", "capturable", "differentiable", "kwargs"}

Arguments: TypeAlias = dict[str, Any]
"""The arguments of an optimizer, by name; which there are its own signature says."""


def known() -> dict[str, type[optim.Optimizer]]:
    """Return the optimizers by folded name."""
    classes: dict[str, type[optim.Optimizer]] = {}
    for name, value in vars(optim).items():
        if not inspect.isclass(value) or not issubclass(value, optim.Optimizer):
            continue
        folded = name.lower()
        if value is not optim.Optimizer and folded not in _NEEDS_MORE:
            classes[folded] = value
    return classes


def find(kind: str) -> type[optim.Optimizer]:
    """Return the class of a name, in any case. Raises `InputError` (RC020)."""
    folded = kind.lower().replace("_", "").replace("-", "")
    if folded in _NEEDS_MORE:
        fact = f"optimizer {kind!r} cannot be used here: {_NEEDS_MORE[folded]}"
        raise InputError.of("RC031", fact)

    classes = known()
    if folded not in classes:
        fact = f"torch.optim has no {kind!r}"
        close = nearest(folded, classes)
        raise InputError.of("RC020", fact, allowed=listing(classes), nearest=close)
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
        low = high = None
        if annotation is float:
            low, high = _BOUNDS.get(name, (-LARGEST, LARGEST))
        description = f"{name} of torch.optim.{kind.__name__}"
        fields[name] = (annotation, Field(default, ge=low, le=high, description=description))

    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model: type[BaseModel] = create_model(f"{kind.__name__}Arguments", __config__=config, **fields)
    return model


def _without_tensor(annotation: Any) -> Any:
    """Return a type without Tensor, which a task file cannot hold, in it."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not torch.Tensor]
        plain = [_without_tensor(member) for member in members]
        return Union[tuple(plain)]  # noqa: UP007
    if get_origin(annotation) is tuple:
        plain = [_without_tensor(member) for member in get_args(annotation)]
        bounded = [_InPair if member is float else member for member in plain]
        return tuple[tuple(bounded)]  # type: ignore[misc]
    return annotation if annotation in (float, int, bool, str, type(None)) else Any


def chosen(table: dict[str, Any]) -> tuple[type[optim.Optimizer], Arguments]:
    """Return the class and the arguments of an optimizer's table.

    Raises `InputError` (RC020, RC031) for its kind, and `pydantic.ValidationError` for its
    arguments.
    """
    kind = find(table["kind"])
    written = {name: value for name, value in table.items() if name != "kind"}
    options = options_of(kind).model_validate_json(to_json(written))
    arguments = {name: getattr(options, name) for name in options.model_fields_set}
    return kind, arguments


def exchange(before: Any, after: Any) -> Exchange | None:
    """Compare two optimizers by their names.

    They share the arguments that every one of torch's has, `lr` above all.
    """
    try:
        classes = [find(kind) for kind in (before, after) if isinstance(kind, str)]
    except InputError:
        return None
    if len(classes) < 2 or classes[0] is classes[1]:
        return None

    old, _ = classes
    arguments = [set(options_of(kind).model_fields) for kind in known().values()]
    everywhere = set.intersection(*arguments)
    return Exchange(options_of(old).model_fields.keys(), everywhere)


def check(document: Document) -> list[Problem]:
    """Return every fault of a task's table `training.optimizer`.

    One that is no table is told elsewhere.
    """
    key = ("training", "optimizer")
    training = document.data.get("training")
    table = training.get("optimizer") if isinstance(training, dict) else None
    if not isinstance(table, dict):
        return []

    name = "training.optimizer.kind"
    place = document.place((*key, "kind"))
    kind = table.get("kind")
    if kind is None:
        fact = "kind is missing"
        return [Problem("RC010", fact, name, place, allowed=listing(known()))]
    if not isinstance(kind, str):
        fact = "kind must be a name, in quotes"
        return [Problem("RC012", fact, name, place, allowed=listing(known()))]

    try:
        chosen(table)
    except InputError as error:
        return [replace(problem, key=name, place=place) for problem in error.problems]
    except ValidationError as error:
        model = options_of(find(kind))
        return checking.problems(error, document, key, model, f"optimizer {kind}")
    return []


def build(
    kind: type[optim.Optimizer], arguments: Arguments, parameters: Iterable[nn.Parameter]
) -> optim.Optimizer:
    """Return an optimizer, in its fused form where that is faster and the arguments leave it open.

    Raises `InputError` (RC013) with torch's own words if it refuses its arguments.
    """
    weights = list(parameters)
    if _fused_is_better(kind, arguments, weights):
        arguments = {**arguments, "fused": True}
    try:
        return lean(kind)(weights, **arguments)
    except (ValueError, TypeError, RuntimeError) as error:
        fact = f"torch.optim.{kind.__name__} refuses its arguments: {error}"
        raise InputError.of("RC013", fact, key="training.optimizer") from error


def _fused_is_better(
    kind: type[optim.Optimizer], arguments: Arguments, weights: Sequence[nn.Parameter]
) -> bool:
    """Tell whether torch has a fused form for these weights, and the task has chosen no form.

    A rate above `LARGEST` keeps the plain form, which refuses what leaves float32 before it changes
    a weight.
    """
    if {"fused", "foreach"} & arguments.keys() or arguments.get("lr", 0) > LARGEST:
        return False

    for weight in weights:
        fused = FUSED.get(weight.device.type, ())
        if kind not in fused or not weight.is_floating_point():
            return False
    return True


class Rate:
    """The learning rate over the run, as a share of the optimizer's own.

    It remembers what a plateau has cut.
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

        left = max(1, self.total - warmup)
        done = min(1.0, (step - warmup) / left)
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
            self.best = value
            self.waited = 0
            return
        self.waited += 1
        if self.waited > self.schedule.patience:
            self.cut *= self.schedule.factor
            self.waited = 0

    def save(self) -> dict[str, Any]:
        """Return what it remembers, as plain JSON."""
        return {
            "cut": self.cut,
            "best": None if math.isinf(self.best) else self.best,
            "waited": self.waited,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back what `save` gave, by a plateau: another schedule remembers nothing."""
        if not isinstance(self.schedule, Plateau):
            return
        self.cut, self.waited = saved["cut"], saved["waited"]
        self.best = math.inf if saved["best"] is None else saved["best"]
