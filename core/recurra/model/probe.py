"""One step on two rows of zeros, before training: a wrong shape is told as the plugin's fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder, StatefulEncoder
from recurra.contracts.loss import Loss
from recurra.contracts.target import Elements
from recurra.errors import PluginError
from recurra.model.network import Network, names
from recurra.model.scoring import scores_elements

ROWS = 2
ZEROS: Mapping[Elements, Callable[[int], Tensor]] = {
    "symbols": lambda size: torch.zeros(ROWS, dtype=torch.long),
    "numbers": lambda size: torch.zeros(ROWS, size),
}
"""A step of two rows, `[B]` or `[B, F]`."""

CPU = torch.device("cpu")
Shape: TypeAlias = tuple[int, ...]


def encoder(module: Encoder[Any], elements: Elements, owner: str) -> None:
    """Try an encoder on one step.

    Raises `PluginError` (RC071) if what it gives is not `[B, T, D]`.
    """
    x = ZEROS[elements](module.size).unsqueeze(1)
    shape = (ROWS, 1, module.output_size)
    output = _tried(lambda: module(x), owner)
    _check_shape(output, shape, "forward gives", "[B, T, D]", owner)
    if not isinstance(module, StatefulEncoder):
        return

    position = torch.zeros(ROWS, dtype=torch.long)
    state = _tried(
        lambda: module.initial_state(ROWS, position=position, device=CPU, dtype=torch.float32),
        owner,
    )
    _check_state(state, owner)
    reset = torch.zeros(ROWS, 1, dtype=torch.bool)
    pair = _tried(lambda: module.advance(x, state, reset=reset), owner)
    _check_pair(pair, state, shape, "advance", "[B, T, D]", owner)


def shared(module: Encoder[Any], owner: str) -> None:
    """Look at the weight that an encoder shares with the head.

    Raises `PluginError` (RC071) if it is none of its own, or not `[size, D]`.
    """
    weight = module.head_weight()
    if not any(weight is own for own in module.parameters()):
        raise _broken(owner, "head_weight gives what is no parameter of the encoder")
    shape = (module.size, module.output_size)
    _check_shape(weight, shape, "head_weight gives a weight", "[size, output_size]", owner)


def cell(module: Cell[Any], owner: str) -> None:
    """Try a cell on one step.

    Raises `PluginError` (RC071) if its output or its state has another shape.
    """
    state = _tried(lambda: module.initial_state(ROWS, device=CPU, dtype=torch.float32), owner)
    _check_state(state, owner)
    pair = _tried(lambda: module.step(torch.zeros(ROWS, module.input_size), state), owner)
    _check_pair(pair, state, (ROWS, module.output_size), "step", "[B, H]", owner)


def _check_pair(pair: Any, before: Any, shape: Shape, method: str, legend: str, owner: str) -> None:
    """Check that a method gives an output of a shape, and a state like the one before."""
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise _broken(owner, f"{method} gives {type(pair).__name__}, not the pair (output, state)")
    output, after = pair
    _check_shape(output, shape, f"{method} gives an output", legend, owner)
    _check_state(after, owner)
    if len(after) != len(before):
        fact = f"{method} gives a state of {len(after)} fields, and initial_state one of"
        raise _broken(owner, f"{fact} {len(before)}")

    for name, old, new in zip(names(before), before, after, strict=True):
        what = f"{method} gives state {name}"
        _check_shape(new, tuple(old.shape), what, "that of initial_state", owner)


def loss(module: Loss[Any], elements: Elements, owner: str) -> None:
    """Try a loss on two scored steps.

    Raises `PluginError` (RC071) if it does not give one number for each. A loss has no weights of
    its own: they would be neither trained nor saved.
    """
    if next(module.parameters(), None) is not None:
        fact = "a loss must have no parameters: only the network is trained and saved"
        raise _broken(owner, fact)

    output = torch.zeros(ROWS, module.output_size)
    target = ZEROS[elements](module.size)
    values = _tried(lambda: module(output, target), owner)
    _check_shape(values, (ROWS,), "forward gives", "[N]", owner)
    if target.is_floating_point() and scores_elements(module):
        each = _tried(lambda: module.elementwise(output, target), owner)
        _check_shape(each, (ROWS, module.size), "elementwise gives", "[N, size]", owner)
    point = _tried(lambda: module.point(output), owner)
    _check_shape(point, (ROWS, module.size), "point gives", "[N, size]", owner)


def counts_steps(network: Network) -> bool:
    """Tell whether a network's encoder has a clock.

    Its state then depends on where in its sequence it begins.
    """
    encoder = network.encoder
    if not isinstance(encoder, StatefulEncoder):
        return False

    device, dtype = network.device, network.dtype
    states = []
    for at in (0, 1, 1000):
        position = torch.full((1,), at, device=device)
        state = encoder.initial_state(1, position=position, device=device, dtype=dtype)
        states.append(state)

    first, *others = states
    for other in others:
        pairs = zip(first, other, strict=True)
        if not all(torch.equal(one, two) for one, two in pairs):
            return True
    return False


def _tried(call: Callable[[], Any], owner: str) -> Any:
    """Call a method of a plugin.

    One that takes other arguments than the contract's is the plugin's fault.
    """
    try:
        with torch.no_grad():
            return call()
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise _broken(owner, str(error)) from error


def _check_state(state: Any, owner: str) -> None:
    if not isinstance(state, tuple) or not all(_has_rows(field) for field in state):
        raise _broken(owner, "a state must be a NamedTuple of tensors [B, ...]")


def _has_rows(field: Any) -> bool:
    return isinstance(field, Tensor) and len(field) == ROWS


def _check_shape(value: Any, shape: Shape, what: str, legend: str, owner: str) -> None:
    if not isinstance(value, Tensor):
        raise _broken(owner, f"{what} of type {type(value).__name__}, not a tensor {legend}")
    if tuple(value.shape) != shape:
        raise _broken(owner, f"{what} of shape {list(value.shape)}, not {legend} = {list(shape)}")


def _broken(owner: str, fact: str) -> PluginError:
    return PluginError.of("RC071", f"{owner}: {fact}")
