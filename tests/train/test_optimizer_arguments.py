"""Every optimizer of torch.optim that a task may name: built, stepped, and strict about its
arguments.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from conftest import HELLO
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn, optim

from recurra.errors import InputError, Problem
from recurra.job.build import build_network, build_optimizer
from recurra.model.network import Network
from recurra.resolve import resolve
from recurra.train import optimizer as optimizers
from recurra.train.lean import lean

Write = Callable[..., Path]
KINDS = optimizers.known()
EVERY_KIND = pytest.mark.parametrize("name", sorted(KINDS))


def parameters() -> list[nn.Parameter]:
    """Return what every network has: a matrix and a bias."""
    return [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3))]


def step(made: optim.Optimizer, weights: list[nn.Parameter]) -> None:
    for weight in weights:
        weight.grad = torch.full_like(weight, 0.5)
    made.step()


def built(write: Write, table: dict[str, Any]) -> optim.Optimizer:
    """Return the optimizer of a task whose table this is."""
    line = tomli_w.dumps({"training": {"optimizer": table}}).replace("\n\n", "\n")
    text = (
        HELLO.replace('optimizer = { kind = "adam", lr = 0.01 }\n', "")
        + "\n"
        + line.replace("[training]\n", "")
    )
    resolved = resolve(write(text))
    network, _ = build_network(resolved, 4)
    assert isinstance(network, Network)
    return build_optimizer(resolved, network)


def faults(write: Write, table: dict[str, Any]) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        built(write, table)
    return list(caught.value.problems)


def test_all_of_torch_is_offered_or_refused_with_a_reason() -> None:
    """Each optimizer of torch.optim either can be used, or is refused with what it would need."""
    classes = [
        c for c in vars(optim).values() if inspect.isclass(c) and issubclass(c, optim.Optimizer)
    ]
    for each in set(classes) - {optim.Optimizer}:
        if each in KINDS.values():
            assert optimizers.find(each.__name__) is each
        else:
            with pytest.raises(InputError) as caught:
                optimizers.find(each.__name__)
            (problem,) = caught.value.problems
            assert problem.code == "RC031" and ": " in problem.fact


@EVERY_KIND
def test_every_optimizer_takes_a_step_by_its_defaults(name: str) -> None:
    """With no argument at all, every optimizer that a task may name moves a matrix and a bias, to
    finite values.
    """
    weights = parameters()
    step(optimizers.build(KINDS[name], {}, weights), weights)
    assert all(weight.isfinite().all() and not (weight == 1).all() for weight in weights)


@EVERY_KIND
def test_the_arguments_are_those_of_torch(name: str) -> None:
    """Defaults and names of the checked arguments are torch's own, so that leaving one out changes
    nothing.
    """
    model = optimizers.options_of(KINDS[name])
    signature = inspect.signature(KINDS[name]).parameters
    assert set(model.model_fields) <= set(signature) and "lr" in model.model_fields
    written = model.model_validate_json("{}").model_dump()
    assert written == {field: signature[field].default for field in model.model_fields}
    weights = parameters()
    step(
        optimizers.build(KINDS[name], {k: v for k, v in written.items() if v is not None}, weights),
        weights,
    )


@EVERY_KIND
def test_a_task_may_name_it_in_any_spelling(task: Write, name: str) -> None:
    """Case, `-` and `_` do not matter in the name, and the rate of the task is the rate of the
    optimizer.
    """
    for spelt in (
        name,
        name.upper(),
        KINDS[name].__name__,
        f"{name[:2]}_{name[2:]}",
        f"{name[:2]}-{name[2:]}",
    ):
        made = built(task, {"kind": spelt, "lr": 0.125})
        assert type(made) is lean(KINDS[name])
        assert {group["lr"] for group in made.param_groups} == {0.125}


@EVERY_KIND
def test_every_argument_is_checked(task: Write, name: str) -> None:
    """Every argument of every optimizer refuses a wrong type and a misspelt name, all at once, at
    its place.
    """
    fields = optimizers.options_of(KINDS[name]).model_fields
    found = {
        p.key: p
        for p in faults(
            task, {"kind": name, **dict.fromkeys(fields, "x")} | {f"{f}_": 1 for f in fields}
        )
    }
    for field in fields:
        wrong, unknown = found[f"training.optimizer.{field}"], found[f"training.optimizer.{field}_"]
        free = fields[field].annotation == str | None
        assert (wrong.code, wrong.got) == ("RC013" if free else "RC012", '"x"')
        assert (unknown.code, unknown.nearest) == ("RC011", field)
        assert wrong.place is not None and wrong.place.line and wrong.allowed


@pytest.mark.parametrize(
    ("table", "key", "code", "said"),
    [
        ({"kind": "adam", "lr": True}, "lr", "RC012", "a number"),
        ({"kind": "adam", "lr": "0.1"}, "lr", "RC012", "a number"),
        ({"kind": "adam", "lr": float("nan")}, "lr", "RC013", "a number"),
        ({"kind": "adam", "lr": float("inf")}, "lr", "RC013", "a number"),
        ({"kind": "adam", "lr": -0.1}, "lr", "RC013", "at least 0"),
        ({"kind": "sgd", "momentum": -1.0}, "momentum", "RC013", "at least 0"),
        ({"kind": "sgd", "nesterov": 1}, "nesterov", "RC012", "true or false"),
        ({"kind": "adam", "betas": 0.9}, "betas", "RC012", "a list"),
        ({"kind": "adam", "lr": 1e300}, "lr", "RC013", "at most 3.40282e+38"),
        ({"kind": "adam", "eps": 1e300}, "eps", "RC013", "at most 1e+15"),
        ({"kind": "adam", "betas": [0.9]}, "betas", "RC013", "a list of 2: a number"),
        ({"kind": "adam", "betas": [0.9, 0.9, 0.9]}, "betas", "RC013", "a list of 2"),
        ({"kind": "adam", "betas": [0.9, "x"]}, "betas[1]", "RC012", "a number"),
        ({"kind": "adam", "foreach": "yes"}, "foreach", "RC012", "true or false"),
        ({"kind": "adam", "momentun": 0.9}, "momentun", "RC011", "lr"),
        ({"kind": "adam", "weightdecay": 0.9}, "weightdecay", "RC011", "mean: weight_decay"),
        ({"kind": "adam", "params": []}, "params", "RC011", "lr"),
        ({"kind": "adamm"}, "kind", "RC020", "mean: adam"),
        ({"kind": ""}, "kind", "RC020", "sgd"),
        ({"kind": "lbfgs"}, "kind", "RC031", "several times"),
        ({"kind": "Muon"}, "kind", "RC031", "matrices"),
        ({"kind": "SparseAdam"}, "kind", "RC031", "dense"),
        ({"lr": 0.1}, "kind", "RC010", "kind is missing"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused(
    task: Write, table: dict[str, Any], key: str, code: str, said: str
) -> None:
    """A wrong argument is refused at its own place, with what is allowed or the nearest name."""
    (problem,) = faults(task, table)
    assert (problem.key, problem.code) == (f"training.optimizer.{key}", code)
    assert said in problem.render() and problem.place is not None and problem.place.line


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"kind": "adam", "betas": [1.5, 0.9]}, "1.5"),
        ({"kind": "sgd", "nesterov": True}, "momentum"),
        ({"kind": "adam", "foreach": True, "fused": True}, "fused"),
        ({"kind": "rprop", "etas": [2.0, 1.5]}, "2.0"),
    ],
    ids=str,
)
def test_what_torch_refuses_is_refused_in_its_words(
    task: Write, table: dict[str, Any], said: str
) -> None:
    """A value that torch alone knows to be wrong is refused as input, with torch's own reason."""
    (problem,) = faults(task, table)
    assert (problem.code, problem.key) == ("RC013", "training.optimizer") and said in problem.fact
    assert problem.place is not None and problem.place.line


NUMBERS = st.sampled_from([-1.0, -0.5, 0.0, 1e-300, 0.5, 1.0, 2.0, 1e15])


@settings(deadline=None, max_examples=100, report_multiple_bugs=False)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_no_argument_ends_in_a_traceback(name: str, data: st.DataObject) -> None:
    """Whatever passes the types either builds an optimizer that steps, or is refused as input."""
    arguments: dict[str, Any] = {}
    model = optimizers.options_of(KINDS[name])
    for field, info in model.model_fields.items():
        if data.draw(st.booleans()):
            pairs = isinstance(info.default, tuple)
            arguments[field] = data.draw(
                st.tuples(NUMBERS, NUMBERS)
                if pairs
                else st.booleans()
                if "bool" in str(info.annotation)
                else NUMBERS
            )
    weights = parameters()
    try:
        model.model_validate_json(json.dumps(arguments))
    except ValidationError:
        return
    try:
        made = optimizers.build(KINDS[name], arguments, weights)
    except InputError as error:
        assert error.problems[0].code == "RC013"
    else:
        step(made, weights)


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        (["training.optimizer.betas=[2.0,0.1]"], "-o #1"),
        (["training.optimizer.fused=true", "training.optimizer.foreach=true"], "-o #2"),
        (["training.optimizer={kind='adam',betas=[2.0,0.1]}"], "-o #1"),
        ([], "task.toml:"),
    ],
)
def test_what_torch_refuses_is_placed_where_it_was_said(
    task: Write, overrides: list[str], place: str
) -> None:
    """An argument of an override is told as that of the override, one of the file at its line."""
    text = HELLO if overrides else HELLO.replace("lr = 0.01", "lr = 0.01, betas = [2.0, 0.1]")
    resolved = resolve(task(text), overrides)
    network, _ = build_network(resolved, 4)
    with pytest.raises(InputError) as caught:
        build_optimizer(resolved, network)
    assert place in str(caught.value.problems[0].place)
