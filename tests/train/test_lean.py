"""Optimizers without torch's compiler are torch's own, bit for bit."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

from recurra.train import optimizer as optimizers
from recurra.train.lean import lean

KINDS = optimizers.known()
SHAPES = (5, 3), (4,), (1, 1)


def weights_of(seed: int) -> list[nn.Parameter]:
    stream = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=stream)) for shape in SHAPES]


def step(made: optim.Optimizer, weights: list[nn.Parameter], seed: int) -> None:
    """Make an update with gradients of a seed, some of which are none."""
    stream = torch.Generator().manual_seed(seed)
    made.zero_grad()
    assert all(weight.grad is None for weight in weights)
    for weight in weights[seed % 2 :]:
        weight.grad = torch.randn(weight.shape, generator=stream)
    made.step()


def same(one: Any, other: Any) -> bool:
    """Tell whether two states hold the same, to the last bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def drawn(data: st.DataObject, name: str) -> dict[str, Any]:
    """Draw arguments of an optimizer: a rate, and some of its switches."""
    fields = optimizers.options_of(KINDS[name]).model_fields
    switches = [key for key, field in fields.items() if field.annotation is bool]
    arguments: dict[str, Any] = {
        key: data.draw(st.booleans(), key)
        for key in switches
        if key not in ("nesterov", "decoupled_weight_decay")
    }
    if "foreach" in fields and data.draw(st.booleans(), "a form"):
        arguments["foreach"] = data.draw(st.booleans(), "foreach")
    return arguments | {"lr": data.draw(st.floats(1e-4, 1.0), "lr")}


@pytest.mark.parametrize("name", sorted(KINDS))
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_updates_and_states_are_those_of_torch(name: str, data: st.DataObject) -> None:
    """Under any arguments, and on through a state that is saved and taken back."""
    arguments = drawn(data, name)
    ours, theirs = weights_of(1), weights_of(1)
    made, plain = lean(KINDS[name])(ours, **arguments), KINDS[name](theirs, **arguments)
    assert isinstance(made, KINDS[name]) and repr(made) == repr(plain)
    for seed in range(3):
        step(made, ours, seed)
        step(plain, theirs, seed)

    saved, known = copy.deepcopy(made.state_dict()), copy.deepcopy(plain.state_dict())
    assert same(saved, known)
    other = lean(KINDS[name])(ours, **arguments)
    other.load_state_dict(saved)
    for seed in range(3, 6):
        step(other, ours, seed)
        step(plain, theirs, seed)
    assert same(other.state_dict(), plain.state_dict()) and same(ours, theirs)
    assert not any(weight.requires_grad is False for weight in ours)


def test_it_is_made_once_and_torch_is_left_alone() -> None:
    """The class is the same each time; what torch offers has the methods that it had."""
    methods = ("step", "add_param_group", "state_dict", "load_state_dict", "zero_grad")
    before = {(kind, name): getattr(kind, name) for kind in KINDS.values() for name in methods[1:]}
    for kind in KINDS.values():
        assert lean(kind) is lean(kind) and lean(kind) is not kind
    assert all(getattr(kind, name) is method for (kind, name), method in before.items())


def test_a_hook_of_torch_is_called() -> None:
    """A step calls what was registered for it, before it and after it."""
    weights = weights_of(2)
    made, calls = optimizers.build(optim.SGD, {"lr": 0.1}, weights), list[str]()
    made.register_step_pre_hook(lambda *_: calls.append("before"))
    made.register_step_post_hook(lambda *_: calls.append("after"))
    step(made, weights, 0)
    assert calls == ["before", "after"]


def _noted(calls: list[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def note(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def noted(*arguments: Any, **named: Any) -> Any:
            calls.append(method.__name__)
            return method(*arguments, **named)

        return noted

    return note


def test_a_wrapper_that_is_not_known_stays() -> None:
    """What another version of torch may wrap its methods in is called as it stands."""
    calls: list[str] = []
    note = _noted(calls)

    class Other(optim.SGD):
        step = note(optim.SGD.step)
        state_dict = note(optim.SGD.state_dict)
        zero_grad = note(optim.SGD.zero_grad)

    weights = weights_of(3)
    made = optimizers.build(Other, {"lr": 0.1}, weights)
    step(made, weights, 0)
    made.state_dict()
    assert calls == ["zero_grad", "step", "state_dict"]


class Called:
    """A wrapper that is an object, and has no code of its own."""

    def __init__(self, method: Callable[..., Any]) -> None:
        functools.update_wrapper(self, method)
        self.count = 0

    def __get__(self, made: Any, kind: Any = None) -> Any:
        return self if made is None else functools.partial(self, made)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.count += 1
        return self.__wrapped__(*arguments, **named)  # type: ignore[attr-defined]


def test_a_wrapper_that_is_no_function_stays() -> None:
    zero_grad, add = Called(optim.SGD.zero_grad), Called(optim.SGD.add_param_group)
    kind = type("Other", (optim.SGD,), {"zero_grad": zero_grad, "add_param_group": add})
    step(optimizers.build(kind, {"lr": 0.1}, (weights := weights_of(3))), weights, 0)
    assert (zero_grad.count, add.count) == (1, 1)


def test_a_step_is_unwrapped_though_torch_has_put_its_hooks_round_it() -> None:
    """That is once an optimizer of the class was built; hooks are called once all the same."""
    kind: Any = type("Other", (optim.SGD,), {"step": optim.SGD.step})
    kind(weights_of(3), lr=0.1)
    assert kind.step.hooked and "step" in vars(lean(kind))
    weights, calls = weights_of(3), list[str]()
    made = lean(kind)(weights, lr=0.1)
    made.register_step_post_hook(lambda *_: calls.append("after"))
    step(made, weights, 0)
    assert calls == ["after"]


def test_a_closure_has_gradients() -> None:
    """A step that is given one calls it with gradients, and returns what it gives."""
    (weight,) = weights = [nn.Parameter(torch.tensor([2.0]))]
    made = lean(optim.SGD)(weights, lr=0.1)

    def closure() -> Tensor:
        loss = (3 * weight).sum()
        loss.backward()
        return loss.detach()

    loss: Any = made.step(closure)
    assert float(loss) == 6.0 and weight.item() == pytest.approx(1.7) and weight.requires_grad


PROBE = """
import sys
import torch
from recurra.train import optimizer as optimizers
for kind in optimizers.known().values():
    weights = [torch.nn.Parameter(torch.ones(3, 2))]
    made = optimizers.build(kind, {}, weights)
    weights[0].grad = torch.ones(3, 2)
    made.step()
    made.load_state_dict(made.state_dict())
    made.zero_grad()
    if "torch._dynamo" in sys.modules:
        sys.exit(kind.__name__)
"""


@pytest.mark.slow
def test_no_optimizer_imports_the_compiler() -> None:
    """All of them are built, stepped, saved and restored without torch._dynamo."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
