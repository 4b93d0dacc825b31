"""The choice among the paths: the fastest that is proved, by a small measurement made once.

paths.py tells the way of a call through these functions. What was measured is kept in the cache
folder (timings.py), so that the choice, and with it every bit of a result, is the same the next
time. `RECURRA_MEASURE=0` takes the path that is usually the fastest and measures nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from recurra.engine import load, proof, timings
from recurra.engine.isolated import is_isolated
from recurra.engine.measure import measure
from recurra.engine.recurrence import Recurrence
from recurra.engine.window import Window

TIE = 1.03
"""How many times slower than the best a path may be and be taken, as earlier in the order."""
CLEAR = 1.08
"""How many times faster than the best of the others the loop over `step` must be to be taken."""
WIDE = 256
"""Width from which short windows are faster without torch's kernels.

These repack their weights for each. A window with resets is many short ones to them.
"""
WIDEST = {"lstm": 1024}
"""Width from which any window is faster without one of torch's kernels, by its name."""
WIDER = 768
"""The same for the other kernels."""

ONLY = "not measured: the only one"
OFF = "not measured: RECURRA_MEASURE = 0"
TOO_LONG = "not measured: it takes too long"
FAILS = "it does not run on such a window"

_PLAIN = (Tensor, nn.Parameter)
_functorch_level = torch._C._functorch.peek_interpreter_stack
_tracing_state = torch._C._get_tracing_state


@dataclass
class Choice:
    """The path that a cell runs on, why others were refused, and what each costs.

    `seconds` holds the time a step of each path that was measured; where it is empty, `note` says
    why. `one_step` is the choice for windows of one step without gradients, where it was asked for.
    """

    path: str
    refused: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    note: str = ""
    one_step: Choice | None = None

    @classmethod
    def of(cls, cell: Recurrence, window: Window) -> Choice:
        """Return the choice for a class of windows: the fastest of the paths that are proved."""
        refused = proof.PROOFS.refused(cell)
        proved = proof.PROOFS.proved(cell)

        # Where nothing is measured, the note says why.
        if len(proved) == 1:
            return cls(proved[0], refused, note=ONLY)
        if os.environ.get("RECURRA_MEASURE") == "0":
            path = usually_the_fastest(cell, proved, window)
            return cls(path, refused, note=OFF)

        question = timings.question(cell, proved, window)
        measuring = partial(measure, cell, proved, window)
        measured = timings.TIMINGS.recall(question, proved, measuring, load.now)
        seconds = measured.seconds
        if not seconds:
            path = usually_the_fastest(cell, proved, window)
            return cls(path, refused, note=TOO_LONG)

        path = fastest(proved, seconds)
        failing = {name: FAILS for name in proved if name not in seconds}
        note = _disturbance(measured)
        return cls(path, refused | failing, seconds, note)

    @classmethod
    def named(cls, cell: Recurrence, path: str) -> Choice:
        """Return a path by name, if it is proved for the cell; eager otherwise, and why."""
        objection = proof.PROOFS.objection(cell, path)
        if objection is None:
            return cls(path)
        return cls("eager", {path: objection})


def pick(cell: Any, x: Tensor, reset: Tensor | None, lengths: Tensor | None) -> str:
    """Return the path for a call of a cell on inputs `[B, T, D]`.

    `cell.chosen_paths` holds the answers, by what the choice hangs on.

    A call that is compiled, exported, traced or transformed runs eager, and nothing is proved or
    measured.
    """
    if torch.compiler.is_compiling() or type(x) not in _PLAIN or x.is_meta:
        return "eager"
    if _functorch_level() is not None:
        return "eager"

    # This is passed at every call: the key says all that a `Window` does, and what else changes the
    # question, by what torch tells at once. Two sizes of as many bits round to one power of two.
    key = (
        x.shape[0].bit_length(),
        x.shape[1].bit_length(),
        x.dtype,
        x.device,
        torch.is_grad_enabled(),
        cell.training,
        reset is not None,
        lengths is not None,
        torch.get_num_threads(),
        torch.is_autocast_enabled(x.device.type),
    )
    path: str | None = cell.chosen_paths.get(key)
    if path is None:
        if not x.shape[0] or not x.shape[1] or _cannot_measure(x):
            return "eager"
        window = Window.of(x, reset, lengths)
        path = Choice.of(cell, window).path
        cell.chosen_paths[key] = path
    return path


def _cannot_measure(x: Tensor) -> bool:
    """Tell whether nothing can be measured now, though it may be at another call."""
    capturing = x.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    differentiating = forward_ad._current_level >= 0
    return is_isolated() or capturing or _tracing_state() is not None or differentiating


def explain(
    cell: Recurrence,
    batch: int,
    steps: int,
    *,
    grad: bool = True,
    reset: bool = False,
    lengths: bool = False,
) -> Choice:
    """Return the choice for windows `[batch, steps]`: what was measured, why paths are refused.

    `reset` and `lengths` tell whether sequences begin inside the window, and whether its rows
    differ in length.
    """
    window = Window.planned(cell, batch, steps, grad=grad, reset=reset, lengths=lengths)
    return Choice.of(cell, window)


def _disturbance(measured: timings.Timings) -> str:
    """Return what is to be said of timings that others have disturbed."""
    if not measured.disturbed:
        return ""
    return f"measured while others kept {measured.load:.1f} cores busy"


def fastest(proved: list[str], seconds: dict[str, float]) -> str:
    """Return the first path in the order that is as fast as the best, or nearly.

    So chance decides no tie. The loop over `step` has to be clearly faster than each other path,
    and torch's kernel than some: it asks for memory and packs its weights for each window, which
    takes longer amid other work than in the runs of a measurement.
    """
    others = {path: value for path, value in seconds.items() if path != "eager"}
    best = min(others.values(), default=inf)
    eager = seconds.get("eager", inf)
    if eager * CLEAR < best:
        return "eager"

    near = TIE * best
    torchs_last = sorted(proved, key="native".__eq__)
    return next(path for path in torchs_last if others.get(path, inf) <= near)


def usually_the_fastest(cell: Recurrence, proved: list[str], window: Window) -> str:
    """Return the first path in the order, but for torch's kernel where it repacks wide weights."""
    first, second, *_ = proved
    if first != "native":
        return first

    width = cell.output_size
    short = window.reset or (window.steps == 1 and not window.grad)
    if short:
        return second if width >= WIDE else first

    kernel = cell.native()
    widest = WIDER
    if kernel is not None:
        widest = WIDEST.get(kernel.kernel, WIDER)
    return second if width >= widest and second != "eager" else first
