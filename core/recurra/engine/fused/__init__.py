"""The fused path: a kernel for the loop over time, made from `step` by recording it once and printing it as C."""

from __future__ import annotations

import threading
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from recurra.engine import eager
from recurra.engine.build import Unbuildable, library
from recurra.engine.fused.emit_c import typed
from recurra.engine.fused.kernel import kernel
from recurra.engine.fused.plan import plan
from recurra.engine.fused.record import Unsupported
from recurra.engine.fused.window import Compiled, Window, loop
from recurra.engine.recurrence import Recurrence, State, rebuild, within
from recurra.engine.threads import single
from recurra.shapes import Encoded, Flags, Hidden, Lengths

_compiled: dict[Any, Compiled | str] = {}  # by kind, options, widths and type; or why there is none
_alone = threading.Lock()  # no kernel is made twice
_bound: WeakKeyDictionary[nn.Module, dict[Any, tuple[Compiled, list[Any]]]] = WeakKeyDictionary()


def refusal(cell: Recurrence) -> str | None:
    """Return why a cell has no kernel, or nothing."""
    module = cast(nn.Module, cell)
    device = next((weight.device.type for weight in module.parameters()), "cpu")
    if device != "cpu":
        return f"kernels are compiled for a CPU, and the weights are on {device}"
    found = _of(cell, torch.float32)
    return found if isinstance(found, str) else None


def _of(cell: Recurrence, dtype: torch.dtype) -> Compiled | str:
    """Return what was compiled for a cell, or why nothing was."""
    module: Any = cell
    key = (type(cell), module.input_size, repr(module.options), module.training, dtype)
    if key not in _compiled:
        with _alone:
            if key not in _compiled:
                try:
                    _compiled[key] = _made(module, dtype)
                except (Unsupported, Unbuildable) as error:
                    _compiled[key] = str(error)
    return _compiled[key]


def _made(module: nn.Module, dtype: torch.dtype) -> Compiled:
    planned = plan(module, dtype)
    made = kernel(planned.joint)
    double = dtype == torch.float64
    return Compiled(planned, made, library(typed(made.source, double)), double)


def _of_cell(cell: Recurrence, dtype: torch.dtype) -> tuple[Compiled, list[Any]]:
    """Return what was compiled, and where the cell holds each tensor that a step reads."""
    module = cast(nn.Module, cell)
    bound = _bound.setdefault(module, {})
    kind = type(module), dtype, module.training  # a parametrised module becomes one of another type
    if kind not in bound:
        found = _of(cell, dtype)
        if isinstance(found, str):
            raise Unsupported(found)
        places = []
        for path, name in found.plan.weights:
            holder = module.get_submodule(path)
            places.append((holder._parameters if name in holder._parameters else holder._buffers, name))
        bound[kind] = found, places
    return bound[kind]


def _watched() -> bool:
    """Tell whether torch has to see every operation: to compile them, for `torch.func`, or for gradients forward."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


def run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    """Run over the window in a compiled loop; see `recurra.engine.paths.run` for the meaning of the arguments.

    Types narrower than float32 are computed in float32, but for the products before and after the loop.
    """
    batch, steps, _ = x.shape
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    if not batch or not steps or x.device.type != "cpu" or _watched():
        return eager.run(cell, x, state, reset, lengths)
    compiled, places = _of_cell(cell, wide)
    made = compiled.plan
    weights = [held.get(name) for held, name in places]
    if not made.fits(batch, weights, state):
        return eager.run(cell, x, state, reset, lengths)
    with single(compiled.light(batch, steps)):
        return _run(cell, compiled, weights, x, state, reset, lengths)


def _run(
    cell: Recurrence,
    compiled: Compiled,
    weights: list[Any],
    x: Encoded,
    state: State,
    reset: Flags | None,
    lengths: Lengths | None,
) -> tuple[Hidden, State]:
    """Run over a window that is not empty, on a kernel that fits it."""
    made, (batch, steps, width) = compiled.plan, x.shape
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    if lengths is not None:
        live = within(lengths, steps).unsqueeze(-1)
        x = torch.where(live, x, torch.zeros_like(x))
    given = made.before(batch * steps, x.reshape(batch * steps, width), *weights)
    first, ready = len(made.parts.sequences), len(made.parts.sequences) + len(made.parts.aside)
    sequences, aside, shared = given[:first], given[first:ready], given[ready:]
    by_row = [t.movedim(axis, 0) if axis else t for t, axis in zip(sequences, made.sequence_axes, strict=True)]
    tensors = [*by_row, *shared, *state]
    if reset is not None:
        tensors += cell.initial_state(batch, device=x.device, dtype=x.dtype)
    if any(t.dtype != wide for t in tensors):
        tensors = [t.to(wide) if t.is_floating_point() else t for t in tensors]
    window = Window(
        batch,
        steps,
        None if reset is None else reset.contiguous().view(torch.uint8),
        None if lengths is None else lengths.to(torch.int64).contiguous(),
        *compiled.shared_out(batch, steps),
    )
    found = loop(compiled, window, tensors)
    fields = len(made.widths)
    after = [new.to(old.dtype) for new, old in zip(found[:fields], state, strict=True)]
    extras = found[fields:]
    if made.after is None:
        return extras[0].to(x.dtype), rebuild(state, after)
    rows = [extra.reshape(batch * steps, *extra.shape[2:]).to(x.dtype) for extra in extras]
    rows = [t.movedim(0, axis) if axis else t for t, axis in zip(rows, made.extra_axes, strict=True)]
    y: Tensor = made.after(batch * steps, *aside, *rows)[0].view(batch, steps, -1)
    return (y if lengths is None else torch.where(live, y, torch.zeros_like(y))), rebuild(state, after)
