"""The choice of an execution path: the fastest one that a cell allows and that has proved itself equal to `step`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from recurra.engine import chunkwise, eager, native, scan
from recurra.engine.proof import disagreement
from recurra.engine.recurrence import Recurrence, State, within
from recurra.shapes import Encoded, Flags, Hidden, Lengths

Path = Callable[[Recurrence, Encoded, State, Flags | None, Lengths | None], tuple[Hidden, State]]

WIDE = 256
"""Width from which one step is faster without torch's kernels."""

PATHS: dict[str, Path] = {
    "native": native.run,
    "scan": scan.run,
    "chunkwise": chunkwise.run,
    "eager": eager.run,
}
"""Every path by name, the fastest first; `eager` is last, always there and always right."""


WANTING = {
    "native": "torch has no kernel for {}, or for these options",
    "scan": "{} is not a ScanCell: its state does not go on linearly",
    "chunkwise": "{} has no form of its own over a whole window",
}
"""What is said of a cell that does not have what a path needs."""


@dataclass
class Choice:
    """The path that a cell runs on, and why the others were refused."""

    path: str
    refused: dict[str, str] = field(default_factory=dict)


_proved: dict[object, str | None] = {}  # what this process has already tried: a cell's identity and path -> objection


def choose(cell: Recurrence, wanted: str = "auto") -> Choice:
    """Return the path for a cell: the `wanted` one, or under `auto` the fastest that passes its proof."""
    choice = Choice("eager")
    candidates = list(PATHS) if wanted == "auto" else [wanted, "eager"]
    for path in candidates:
        objection = _objection(cell, path)
        if objection is None:
            choice.path = path
            break
        choice.refused[path] = objection
    return choice


def _objection(cell: Recurrence, path: str) -> str | None:
    """Return why a cell cannot run on a path, or nothing."""
    if path == "eager":
        return None
    if path not in PATHS:
        return f"this version has no path called {path}"
    if path in WANTING and getattr(cell, path)() is None:
        return WANTING[path].format(type(cell).__name__)
    device = next((str(weight.device.type) for weight in getattr(cell, "parameters", list)()), "cpu")
    if device == "meta":
        return "without values nothing is proved"
    options = repr(getattr(cell, "options", None))  # they may hold lists, which have no hash
    identity = (type(cell), getattr(cell, "input_size", 0), options, device, path)
    if identity not in _proved:
        _proved[identity] = disagreement(cell, PATHS[path])
        if reason := _proved[identity]:
            warnings.warn(f"{type(cell).__name__}: path {path} is dropped: {reason}", RuntimeWarning, stacklevel=2)
    return _proved[identity]


def run(
    cell: Recurrence,
    path: str,
    x: Encoded,
    state: State,
    *,
    reset: Flags | None = None,
    lengths: Lengths | None = None,
) -> tuple[Hidden, State]:
    """Execute a recurrence over a window.

    `reset` marks the steps before which a row's state starts afresh. `lengths` says how many steps of each row count:
    after them the row keeps its state and gives zeros, whatever is marked there. Returns the outputs `[B, T, H]` and
    the state after the window.
    """
    if reset is not None and lengths is not None:
        reset = reset & within(lengths, x.shape[1])
    if x.shape[1] == 1 and cell.output_size >= WIDE and not torch.is_grad_enabled():
        path = "eager"  # for one step torch's kernels repack their weights, which costs more than the step
    return PATHS[path](cell, x, state, reset, lengths)
