"""What goes on inside of a network while it reads one sequence: outputs, states and gates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recurra.contracts.cell import Cell
from recurra.engine.gates import Bounds, WatchedCell, watched
from recurra.model.layers import Bidirectional
from recurra.model.network import Network, States
from recurra.model.sequences import LONGEST
from recurra.shapes import Inputs

Arrays: TypeAlias = dict[str, NDArray[Any]]

FIELDS = 8
"""How many numbers are held for each that a layer gives, beside its states: its gates, about."""
BACK = "back."
"""What stands before the names of a cell that reads from right to left."""


@dataclass(frozen=True)
class Inside:
    """What goes on in a layer: its `output` `[T, W]`, and its `states` and `gates` by their names.

    These are `[T, ...]`, each state as it is after a step. A gate lies between its `bounds`.
    """

    output: NDArray[Any]
    states: Arrays
    gates: Arrays
    bounds: dict[str, Bounds]

    def between(self, begin: int, end: int) -> Inside:
        """Return what goes on from one step up to another."""
        states = {name: values[begin:end] for name, values in self.states.items()}
        gates = {name: values[begin:end] for name, values in self.gates.items()}
        return replace(self, output=self.output[begin:end], states=states, gates=gates)


def held(network: Network) -> int:
    """Return how many numbers are held of a step, about."""
    count = 0
    for state, layer in zip(network.initial_states(1)[1:], network.stack, strict=True):
        count += FIELDS * layer.output_size + sum(field.numel() for field in state)
    return count


def states_at(network: Network, x: Inputs, step: int, states: States | None = None) -> States:
    """Return the states before a step of a sequence `[1, T, ...]`, read as it is when it runs."""
    states = network.initial_states(1) if states is None else states
    with torch.no_grad():
        for at in range(0, step, LONGEST):
            _, states = network.hidden(x[:, at : min(at + LONGEST, step)], states)
    return states


def inside(network: Network, x: Inputs, states: States) -> list[Inside]:
    """Return what goes on in each layer while a sequence `[1, T, ...]` is read, lowest first."""
    cells = [module for module in network.layers.modules() if isinstance(module, Cell)]
    with watched(cells) as watches, _outputs(network) as outputs, torch.no_grad():
        network.hidden(x, states)
    seen = dict(zip(map(id, cells), watches, strict=True))
    return [
        _layer(layer, output, seen) for layer, output in zip(network.layers, outputs, strict=True)
    ]


def decoded(network: Network, left: Tensor, coming: Tensor | None) -> Inside | None:
    """Return what goes on in the cell of a decoder, if there is one, in the H steps ahead.

    `left` `[W]` is what the layers have left at the step from which it goes on, and `coming`
    `[H, Q]` what is known of the steps ahead, where covariates are read.
    """
    if network.decoder is None:
        return None
    known = None if coming is None else coming[None]
    with watched([network.decoder.cell]) as (watch,), torch.no_grad():
        output = network.decoder(left[None], known)
    return Inside(output[0].cpu().numpy(), watch.states(), watch.gates(), watch.bounds)


def left_at(network: Network, x: Inputs, step: int, states: States) -> Tensor:
    """Return what the layers leave at a step of a sequence `[1, T, ...]`, `[W]`.

    It begins with `states`.
    """
    with torch.no_grad():
        hidden, _ = network.hidden(x[:, : step + 1], states)
    left: Tensor = hidden[0, -1]
    return left


def _layer(layer: nn.Module, output: Tensor, watches: dict[int, WatchedCell]) -> Inside:
    """Return what goes on in a layer, of which each cell was watched."""
    result = Inside(output[0].cpu().numpy(), {}, {}, {})
    backs = {id(part.back) for part in layer.modules() if isinstance(part, Bidirectional)}
    for cell in layer.modules():
        watch = watches.get(id(cell))
        if watch is None:
            continue
        # A way back has read the last step first.
        turned, prefix = (-1, BACK) if id(cell) in backs else (1, "")
        for own, all_of_them in ((watch.states(), result.states), (watch.gates(), result.gates)):
            all_of_them |= {prefix + name: values[::turned] for name, values in own.items()}
        result.bounds.update({prefix + name: bounds for name, bounds in watch.bounds.items()})
    return result


@contextmanager
def _outputs(network: Network) -> Iterator[list[Tensor]]:
    """Collect what each layer gives meanwhile."""
    given: list[Tensor] = []

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        given.append(output[0])

    hooks = [layer.register_forward_hook(note) for layer in network.layers]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def saturation(values: NDArray[Any], bounds: Bounds, edge: float = 0.1) -> tuple[Any, Any]:
    """Return for each unit the share of steps at which a gate `[T, ...]` is shut, and is open.

    That is below `edge` of the way from its lower bound to its upper one, 0.1 of a sigmoid, and
    above 1 - `edge` of it (Karpathy et al. 2015, arXiv:1506.02078). Steps of nan do not count.
    """
    low, high = bounds
    way = (np.asarray(values, np.float64) - low) / (high - low)
    known = np.isfinite(way)
    count = np.maximum(known.sum(axis=0), 1)
    shut = (known & (way < edge)).sum(axis=0) / count
    open_ = (known & (way > 1 - edge)).sum(axis=0) / count
    return shut, open_
