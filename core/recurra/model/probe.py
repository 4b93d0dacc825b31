"""One step on two rows of zeros, before training: shapes that a plugin gets wrong are its own
fault, and said so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder, StatefulEncoder
from recurra.contracts.loss import Loss
from recurra.contracts.target import Elements
from recurra.errors import PluginError
from recurra.model.network import Network

ROWS = 2
ZEROS: Mapping[Elements, Callable[[int], Tensor]] = {
    "symbols": lambda size: torch.zeros(ROWS, dtype=torch.long),
    "numbers": lambda size: torch.zeros(ROWS, size),
}
"""A step of two rows, `[B]` or `[B, F]`."""


def encoder(found: Encoder[Any], elements: Elements, owner: str) -> None:
    """Try an encoder on one step. Raises `PluginError` (RC071) if what it gives is not
    `[B, T, D]`.
    """
    x = ZEROS[elements](found.size).unsqueeze(1)
    wanted = (ROWS, 1, found.output_size)
    _shaped(_tried(lambda: found(x), owner), wanted, "forward gives", "[B, T, D]", owner)
    if isinstance(found, StatefulEncoder):
        place: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}
        position = torch.zeros(ROWS, dtype=torch.long)
        state = _tried(lambda: found.initial_state(ROWS, position=position, **place), owner)
        _state(state, owner)
        reset = torch.zeros(ROWS, 1, dtype=torch.bool)
        given = _tried(lambda: found.advance(x, state, reset=reset), owner)
        _goes_on(given, state, wanted, "advance", "[B, T, D]", owner)


def cell(found: Cell[Any], owner: str) -> None:
    """Try a cell on one step. Raises `PluginError` (RC071) if its output or its state has another
    shape.
    """
    state = _tried(
        lambda: found.initial_state(ROWS, device=torch.device("cpu"), dtype=torch.float32), owner
    )
    _state(state, owner)
    given = _tried(lambda: found.step(torch.zeros(ROWS, found.input_size), state), owner)
    _goes_on(given, state, (ROWS, found.output_size), "step", "[B, H]", owner)


def _goes_on(
    given: Any, state: Any, wanted: tuple[int, ...], method: str, legend: str, owner: str
) -> None:
    """Check that a method gives an output of a shape, and a state like the one before."""
    if not (isinstance(given, tuple) and len(given) == 2):
        raise _broken(owner, f"{method} gives {type(given).__name__}, not the pair (output, state)")
    _shaped(given[0], wanted, f"{method} gives an output", legend, owner)
    _state(given[1], owner)
    if len(given[1]) != len(state):
        raise _broken(
            owner,
            f"{method} gives a state of {len(given[1])} fields, and initial_state one of"
            f" {len(state)}",
        )
    for name, old, new in zip(
        getattr(state, "_fields", range(len(state))), state, given[1], strict=True
    ):
        _shaped(
            new, tuple(old.shape), f"{method} gives state {name}", "that of initial_state", owner
        )


def loss(found: Loss[Any], elements: Elements, owner: str) -> None:
    """Try a loss on two scored steps. Raises `PluginError` (RC071) if it does not give one number
    for each.

    A loss has no weights of its own: they would be neither trained nor saved.
    """
    if next(found.parameters(), None) is not None:
        raise _broken(
            owner, "a loss must have no parameters: only the network is trained and saved"
        )
    output = torch.zeros(ROWS, found.output_size)
    target = ZEROS[elements](found.size)
    _shaped(_tried(lambda: found(output, target), owner), (ROWS,), "forward gives", "[N]", owner)
    _shaped(
        _tried(lambda: found.point(output), owner),
        (ROWS, found.size),
        "point gives",
        "[N, size]",
        owner,
    )


def counts_steps(network: Network) -> bool:
    """Tell whether a network's encoder has a clock: whether its state depends on where in its
    sequence it begins.
    """
    encoder = network.encoder
    if not isinstance(encoder, StatefulEncoder):
        return False
    place: dict[str, Any] = {"device": network.device, "dtype": network.dtype}
    states = [
        encoder.initial_state(1, position=torch.full((1,), at, device=network.device), **place)
        for at in (0, 1, 1000)
    ]
    return any(
        not torch.equal(one, other)
        for state in states[1:]
        for one, other in zip(states[0], state, strict=True)
    )


def _tried(call: Callable[[], Any], owner: str) -> Any:
    """Call a method of a plugin; one that takes other arguments than the contract's is the plugin's
    fault.
    """
    try:
        with torch.no_grad():
            return call()
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise _broken(owner, str(error)) from error


def _state(state: Any, owner: str) -> None:
    if not (
        isinstance(state, tuple)
        and all(isinstance(part, Tensor) and len(part) == ROWS for part in state)
    ):
        raise _broken(owner, "a state must be a NamedTuple of tensors [B, ...]")


def _shaped(given: Any, wanted: tuple[int, ...], what: str, legend: str, owner: str) -> None:
    if not isinstance(given, Tensor):
        raise _broken(owner, f"{what} of type {type(given).__name__}, not a tensor {legend}")
    if tuple(given.shape) != wanted:
        raise _broken(owner, f"{what} of shape {list(given.shape)}, not {legend} = {list(wanted)}")


def _broken(owner: str, fact: str) -> PluginError:
    return PluginError.of("RC071", f"{owner}: {fact}")
