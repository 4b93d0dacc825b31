"""The choice among the paths that are proved for a cell: the fastest, by a small measurement that is made once.

The figures are kept in the cache folder, by what they depend on: the cell's kind, options and input size, the size of
the window in powers of two, types, gradients, device, threads, machine and torch. So the choice, and with it every bit
of a result, is the same the next time; but those that were measured while others kept the machine busy are measured
again when it is quieter. `RECURRA_MEASURE=0` takes the path that is usually the fastest and measures nothing.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from recurra.engine import load, paths
from recurra.engine.apart import is_apart
from recurra.engine.figures import Figures, machine, recalled
from recurra.engine.paths import Choice
from recurra.engine.recurrence import Recurrence
from recurra.engine.timing import Window, measure

TIE = 1.03
"""How many times slower than the best a path may be and be taken because it is earlier in the order."""
CLEAR = 1.08
"""How many times faster than the best of the others the loop over `step` must be to be taken."""
WIDE = 256
"""Width from which short windows are faster without torch's kernels, which repack their weights for each.

A window with resets is many short ones to them.
"""
WIDEST = {"lstm": 1024}
"""Width from which any window is faster without one of torch's kernels, and for those that are not named here:"""
WIDER = 768
FORMAT = 2
"""Raised when figures that are kept mean nothing to this version any more."""
ONLY = "not measured: the only one"
OFF = "not measured: RECURRA_MEASURE = 0"

_PLAIN = (Tensor, nn.Parameter)
_peek = torch._C._functorch.peek_interpreter_stack
_tracing = torch._C._get_tracing_state


def pick(cell: Any, x: Tensor, reset: Tensor | None, lengths: Tensor | None) -> str:
    """Return the path for a call of a cell on inputs `[B, T, D]`; what was found stands in `cell.taken`.

    A call that is compiled, exported, traced or transformed runs eager, and nothing is proved or measured.
    """
    if torch.compiler.is_compiling() or type(x) not in _PLAIN or x.is_meta or _peek() is not None:
        return "eager"
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
    found: str | None = cell.taken.get(key)
    if found is None:
        if not x.shape[0] or not x.shape[1] or _special(x):
            return "eager"
        window = _window(x, torch.is_grad_enabled(), reset is not None, lengths is not None)
        found = cell.taken[key] = decide(cell, window).path
    return found


def _special(x: Tensor) -> bool:
    """Tell whether nothing can be measured now, though it may be at another call."""
    capturing = x.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    return is_apart() or capturing or _tracing() is not None or forward_ad._current_level >= 0


def explain(
    cell: Recurrence, batch: int, steps: int, *, grad: bool = True, reset: bool = False, lengths: bool = False
) -> Choice:
    """Return the choice for windows `[batch, steps]`, with what was measured and why other paths are refused.

    `reset` and `lengths` tell whether sequences begin inside the window, and whether its rows differ in length.
    """
    weight = next(iter(cast(Any, cell).parameters()), torch.zeros(()))
    like = torch.empty(max(batch, 1), max(steps, 1), 0, dtype=weight.dtype, device=weight.device)
    return decide(cell, _window(like, grad, reset, lengths))


def _window(x: Tensor, grad: bool, reset: bool, lengths: bool) -> Window:
    """Return the class that a window belongs to: rows and steps rounded down to powers of two."""
    kind = x.device.type
    batch, steps = (1 << (size.bit_length() - 1) for size in x.shape[:2])
    narrow = torch.get_autocast_dtype(kind) if not x.is_meta and torch.is_autocast_enabled(kind) else None
    return Window(batch, steps, x.dtype, x.device, grad, reset, lengths, narrow)


def decide(cell: Recurrence, window: Window) -> Choice:
    """Return the choice among the proved paths for a class of windows."""
    names, refused = paths.candidates(cell)
    if len(names) == 1:
        return Choice(names[0], refused, note=ONLY)
    if os.environ.get("RECURRA_MEASURE") == "0":
        return Choice(_first(cell, names, window), refused, note=OFF)
    figures = recalled(_question(cell, names, window), names, partial(measure, cell, names, window), load.now)
    seconds = figures.seconds
    if not seconds:
        return Choice(_first(cell, names, window), refused, note="not measured: it takes too long")
    silent = {name: "it does not run on such a window" for name in names if name not in seconds}
    return Choice(fastest(names, seconds), refused | silent, seconds, note=_mark(figures))


def _mark(figures: Figures) -> str:
    """Return what is to be said of figures that others have disturbed."""
    if not figures.disturbed:
        return ""
    return f"measured while others kept {figures.load:.1f} cores busy"


def fastest(names: list[str], seconds: dict[str, float]) -> str:
    """Return the first path in the order that is as fast as the best, or nearly: chance decides no tie.

    The loop over `step` has to be clearly faster than each other path.
    """
    others = {name: value for name, value in seconds.items() if name != "eager"}
    best = min(others.values(), default=float("inf"))
    if seconds.get("eager", float("inf")) * CLEAR < best:
        return "eager"
    return next(name for name in names if others.get(name, float("inf")) <= TIE * best)


def _first(cell: Recurrence, names: list[str], window: Window) -> str:
    """Return the path that is usually the fastest."""
    first, second, *_ = names
    if first != "native":
        return first
    if window.reset or (window.steps == 1 and not window.grad):
        return second if cell.output_size >= WIDE else first
    kernel = cell.native()
    widest = WIDEST.get(kernel.kernel, WIDER) if kernel is not None else WIDER
    return second if cell.output_size >= widest and second != "eager" else first


def _question(cell: Recurrence, names: list[str], window: Window) -> dict[str, Any]:
    """Return all that the figures depend on, as plain data."""
    device = window.device
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "format": FORMAT,
        "cell": f"{type(cell).__module__}:{type(cell).__qualname__}",
        "options": repr(getattr(cell, "options", None)),
        "input_size": getattr(cell, "input_size", 0),
        "paths": names,
        "window": [window.batch, window.steps],
        "dtype": [str(window.dtype), str(window.narrow)],
        "grad": window.grad,
        "training": bool(getattr(cell, "training", False)),
        "reset": window.reset,
        "lengths": window.lengths,
        "device": place,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "torch": str(torch.__version__),
    }
