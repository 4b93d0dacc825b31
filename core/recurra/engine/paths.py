"""The execution paths: which of them a cell can take, which are proved to equal `step`, and how one runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import torch

from recurra.engine import chunkwise, eager, native, scan
from recurra.engine.apart import apart
from recurra.engine.proof import ITSELF, Runner, disagreement, inability
from recurra.engine.recurrence import Recurrence, State, within
from recurra.shapes import Encoded, Flags, Hidden, Lengths


@dataclass(frozen=True)
class Path:
    """A way of computing a window: `run` computes it, `refusal` says in a few words why a cell cannot take it.

    `declared`: the author of a cell gives what it rests on, and answers for it; else the engine finds it in `step`.
    """

    run: Runner
    refusal: Callable[[Recurrence], str | None] = lambda cell: None
    declared: bool = True


@dataclass
class Choice:
    """The path that a cell runs on, why others were refused, and what each costs.

    `seconds` holds the time a step of each path that was measured; where it is empty, `note` says why. `one_step` is
    the choice for windows of one step without gradients, where it was asked for.
    """

    path: str
    refused: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    note: str = ""
    one_step: Choice | None = None


def _wants(form: str, reason: str) -> Callable[[Recurrence], str | None]:
    """Return what refuses a cell whose method `form` gives none."""

    def refusal(cell: Recurrence) -> str | None:
        return reason.format(type(cell).__name__) if getattr(cell, form)() is None else None

    return refusal


def _fused() -> Any:
    """Return the module of compiled kernels, imported when a cell is first asked about."""
    return import_module("recurra.engine.fused")


def _fused_refusal(cell: Recurrence) -> str | None:
    module = _fused()
    if not hasattr(module, "refusal"):
        return "this version compiles no kernels"
    try:
        found: str | None = module.refusal(cell)
    except Exception as error:  # `step` may hold anything
        return f"no kernel can be made of {type(cell).__name__}: {type(error).__name__}: {error}"
    return found


def _run_fused(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    found: tuple[Hidden, State] = _fused().run(cell, x, state, reset, lengths)
    return found


PATHS: dict[str, Path] = {
    "native": Path(native.run, _wants("native", "torch has no kernel for {}, or for these options")),
    "fused": Path(_run_fused, _fused_refusal, declared=False),
    "scan": Path(scan.run, _wants("scan", "{} is not a ScanCell: its state does not go on linearly")),
    "chunkwise": Path(chunkwise.run, _wants("chunkwise", "{} has no form of its own over a whole window")),
    "eager": Path(eager.run),
}
"""Every path by name, the one that is usually faster first; `eager` is last, always there and always right."""

_proved: dict[object, str | None] = {}  # what this process has already tried: a cell's identity and path -> objection


def accepting(cell: Recurrence) -> list[str]:
    """Return the paths that do not refuse a cell: those that its author declares, right or wrong, the others proved."""
    found = [name for name, path in PATHS.items() if path.refusal(cell) is None]
    return [name for name in found if PATHS[name].declared or _objection(cell, name, silent=True) is None]


def candidates(cell: Recurrence) -> tuple[list[str], dict[str, str]]:
    """Return the paths that are proved for a cell, in order, and why each other one is refused."""
    objections = {name: _objection(cell, name) for name in PATHS}
    refused = {name: reason for name, reason in objections.items() if reason is not None}
    return [name for name in PATHS if name not in refused], refused


def choose(cell: Recurrence, wanted: str = "auto") -> Choice:
    """Return the path for a cell: the `wanted` one, or under `auto` the first in the order that passes its proof."""
    choice = Choice("eager")
    names = list(PATHS) if wanted == "auto" else [wanted, "eager"]
    for path in names:
        objection = _objection(cell, path)
        if objection is None:
            choice.path = path
            break
        choice.refused[path] = objection
    return choice


def _objection(cell: Recurrence, path: str, silent: bool = False) -> str | None:
    """Return why a cell cannot run on a path, or nothing."""
    if path == "eager":
        return None
    if path not in PATHS:
        return f"this version has no path called {path}"
    if refusal := PATHS[path].refusal(cell):
        return refusal
    weight = next(iter(getattr(cell, "parameters", list)()), torch.zeros(()))
    device = weight.device.type
    if device == "meta":
        return "without values nothing is proved"
    options = repr(getattr(cell, "options", None))  # they may hold lists, which have no hash
    identity = (type(cell), getattr(cell, "input_size", 0), options, device, path)
    if identity not in _proved:
        _proved[identity] = apart(partial(disagreement, cell, PATHS[path].run))
        if (reason := _proved[identity]) and not silent and not reason.startswith(ITSELF):
            warnings.warn(f"{type(cell).__name__}: path {path} is dropped: {reason}", RuntimeWarning, stacklevel=2)
    if _proved[identity] is not None or weight.dtype in (torch.float32, torch.float64):
        return _proved[identity]
    narrow = (*identity, weight.dtype)  # not every kernel is there in every type
    if narrow not in _proved:
        _proved[narrow] = apart(partial(inability, cell, PATHS[path].run))
    return _proved[narrow]


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
    return PATHS[path].run(cell, x, state, reset, lengths)
