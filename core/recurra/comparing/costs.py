"""What the recurrent layers of a task cost at a width: parameters, state, operations, time."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import ValidationError
from torch.utils.flop_counter import flop_registry

from recurra.contracts.cell import Cell
from recurra.contracts.options import validate_options
from recurra.engine.measure import wait
from recurra.engine.onlooker import Onlooker
from recurra.errors import RecurraError
from recurra.job.build import fresh_network, layers_of, sized
from recurra.job.data import Data
from recurra.job.summary import first_batch, loss_of
from recurra.model.layers import Bidirectional
from recurra.model.network import Network
from recurra.randomness import seeded
from recurra.resolved import Part, Resolved

ROUNDS = 9
"""Timings of each, in turns."""
LEAST = 0.02
"""Seconds of one timing, at least: a shorter step is repeated within it."""


def at_width(resolved: Resolved, width: int) -> Resolved | None:
    """Return a task with another hidden size; nothing where its cell does not allow that."""
    (part,) = resolved.cells
    table = {name: value for name, value in part.table().items() if name != "kind"}
    try:
        options = validate_options(
            part.entry.options, table | {"hidden_size": width}, lambda value, _: value
        )
    except (ValidationError, RecurraError):
        return None
    return replace(resolved, cells=[Part(part.entry, options)])


def layers(resolved: Resolved, inputs: int) -> list[Any] | None:
    """Return the recurrent layers of a task over inputs of a width; nothing where none can be."""
    try:
        with seeded(0, "init"), resolved.placing():
            return layers_of(resolved, inputs)
    except (RecurraError, ValueError):
        return None


def parameters(layers: Sequence[Any]) -> float:
    """Return how many weights layers have."""
    return float(sum(weight.numel() for layer in layers for weight in layer.parameters()))


def state(layers: Sequence[Any]) -> float:
    """Return how many numbers layers carry from step to step, of one sequence.

    A layer that reads both ways carries one state each way.
    """
    parts = [layer for layer in layers]
    for layer in layers:
        parts += [part.back for part in layer.modules() if isinstance(part, Bidirectional)]
    like = {"device": torch.device("cpu"), "dtype": torch.float32}
    return float(sum(field.numel() for part in parts for field in part.initial_state(1, **like)))


def flops(layers: Sequence[Any]) -> float:
    """Return the operations of one step of layers, forward, as its specification makes them.

    A product counts two a multiplication and addition; elementwise, each result counts one.
    """
    counter = _Counter()
    for layer in layers:
        cells = [module for module in layer.modules() if isinstance(module, Cell)]
        for cell in cells:
            cell.path = "eager"
        weight = next(layer.parameters())
        width = _inputs(layer)
        with torch.no_grad(), counter:
            layer(torch.zeros(1, 1, width, dtype=weight.dtype))
    return counter.total


def _inputs(layer: Any) -> int:
    """Return how wide the inputs of a layer are: a block gives as much as it reads."""
    if isinstance(layer, Cell):
        return layer.input_size
    inner = next(module for module in layer.modules() if isinstance(module, Cell))
    return int(inner.input_size)


class _Counter(Onlooker):
    """Counts operations while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        elif torch.Tag.pointwise in func.tags and isinstance(result, torch.Tensor):
            self.total += result.numel()
        return result


COSTS: dict[str, Callable[[Sequence[Any]], float]] = {
    "parameters": parameters,
    "state": state,
    "flops": flops,
}
"""What can be matched without a clock."""


class Timed:
    """A network whose steps forward and back are timed, on the paths that it takes."""

    def __init__(self, resolved: Resolved, data: Data, network: Network | None = None) -> None:
        self.resolved = resolved
        self.network = fresh_network(resolved, data)[0] if network is None else network
        self.batch = first_batch(data).to(self.network.device)
        self.repeats = 1
        with sized(resolved, self.network):
            self._turn()
            self.repeats = math.ceil(LEAST / max(self._turn(), 1e-6))

    def seconds(self) -> float:
        """Return the seconds of a step: the network's, encoder and head with it."""
        with sized(self.resolved, self.network):
            return self._turn()

    def _turn(self) -> float:
        length, begun = self.resolved.task.sequence.length, self._now()
        for _ in range(self.repeats):
            torch.autograd.backward(loss_of(self.network, self.batch, length))
            self.network.zero_grad(set_to_none=True)
        wait(self.network.device)
        return (self._now() - begun) / self.repeats

    def _now(self) -> float:
        # A step has one thread, whose own time is that of a machine that does nothing else.
        alone = self.network.device.type == "cpu" and os.name == "posix"
        return time.thread_time() if alone else time.perf_counter()


def in_turns(timed: Sequence[Timed], rounds: int = ROUNDS) -> list[float]:
    """Return the median seconds of a step of each, timed in turns, A B A B.

    So whatever else the machine does falls on all of them.
    """
    seconds = [[each.seconds() for each in timed] for _ in range(rounds)]
    return [statistics.median(each) for each in zip(*seconds, strict=True)]


def share_of_time(
    resolved: Resolved, data: Data, reference: Timed
) -> Callable[[int], float | None]:
    """Return what tells the time of a width as a share of a reference's, timed in turns with it.

    Widths are looked at in steps of an eighth or less, for noise hides what is finer.
    """

    def cost(width: int) -> float | None:
        coarse = 1 << max(0, width.bit_length() - 4)
        task = None if width % coarse else at_width(resolved, width)
        if task is None:
            return None
        try:
            other = Timed(task, data)
        except (RecurraError, ValueError):
            return None
        seconds = [(reference.seconds(), other.seconds()) for _ in range(ROUNDS)]
        return statistics.median(ours / base for base, ours in seconds)

    return cost
