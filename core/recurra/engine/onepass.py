"""The linear recurrence in compiled kernels: one pass forward and one in reverse.

Each reads and writes memory once.
"""

from __future__ import annotations

import ctypes
import math
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor, nn

from recurra.engine.build import Unbuildable, library

LIGHT = 32_768
"""Numbers of a window below which a second thread costs more than it saves."""
LINE = 64
"""Bytes that no two threads write to, as in the kernels."""
REALS = {
    torch.float32: "float",
    torch.float64: "double",
    torch.complex64: "float",
    torch.complex128: "double",
}

# What of the gradient of a is asked for, as in the kernels.
_NOTHING, _EACH, _SUM = range(3)

# The types of arguments: rows, steps, channels and threads; a tensor as `_where` gives it; places.
_SIZE = [ctypes.c_long] * 4
_STRIDED = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
_PLACES = [ctypes.c_void_p] * 4
_FORWARD = _SIZE + _STRIDED * 2 + _PLACES
_BACKWARD = _FORWARD + [ctypes.c_long] + _PLACES

_PLAIN = (Tensor, nn.Parameter)
_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
_modes = torch._C._len_torch_dispatch_stack


@cache
def _kernels(real: str) -> ctypes.CDLL | None:
    """Return the compiled functions for a C type, or nothing where none can be had."""
    source = (resources.files("recurra.engine") / "scan.c").read_text(encoding="utf-8")
    try:
        functions = library(f"typedef {real} real;\n{source}", f"scans of {real}")
    except Unbuildable:
        return None

    for name in ("forward", "forward_pairs"):
        getattr(functions, name).argtypes = _FORWARD
    for name in ("backward", "backward_pairs"):
        getattr(functions, name).argtypes = _BACKWARD
    return functions


def possible(h: Tensor, anew: Tensor | None, *others: Tensor | None) -> bool:
    """Tell whether there are kernels for tensors like `h`, `[B, T, ...]`.

    They have to be on a CPU, seen by no tracer, and not empty. Flags have to be the same for all
    channels of a step.
    """
    if torch.compiler.is_compiling() or h.dtype not in REALS or not h.numel() or _modes():
        return False

    # The kernels read memory as it lies: what wraps a tensor, or lays it out, would be missed.
    for tensor in (h, anew, *others):
        if tensor is None:
            continue
        if type(tensor) not in _PLAIN or not tensor.is_cpu or _wrapped(tensor):
            return False

    for tensor in others:
        if tensor is None:
            continue
        if tensor.dtype != h.dtype or tensor.layout != torch.strided:
            return False

    if anew is not None:
        if anew.dim() != h.dim() or anew.dtype != torch.bool:
            return False
        if math.prod(anew.shape[2:]) != 1:
            return False
    return _kernels(REALS[h.dtype]) is not None


def forward(
    a: Tensor, b: Tensor, start: Tensor, anew: Tensor | None, fresh: Tensor | None
) -> Tensor:
    """Return every h_t, `[B, T, ...]`; the arguments are those of `scan.linear_scan`."""
    decay = _by_steps(a, b.shape)
    added = _by_steps(b, b.shape)
    begin = _beginnings(b.shape, start, anew, fresh)
    h = b.new_empty(b.shape)

    function = _function("forward", b)
    function(*_size(h), *_where(decay), *_where(added), *map(_place, begin), _place(h))
    return h


def backward(
    a: Tensor,
    start: Tensor,
    anew: Tensor | None,
    fresh: Tensor | None,
    h: Tensor,
    grad: Tensor,
    wants_a: bool,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor | None]:
    """Return the gradients of a, b, start and fresh, from the states `h` and their gradient.

    That of a is left out unless it is wanted. Where a is the same at every step, its gradient is
    added up on the way, and never `[B, T, ...]`.
    """
    decay = _by_steps(a, h.shape)
    incoming = _by_steps(grad, h.shape)
    begin = _beginnings(h.shape, start, anew, fresh)

    # An a of [W] has no axis of steps, one of [B, 1, W] has it of one: either is constant.
    batch, steps, *rest = h.shape
    constant = a.dim() < h.dim() - 1 or a.shape[1 - h.dim()] == 1
    of_a = None
    kind = _NOTHING
    if wants_a:
        kind = _SUM if constant else _EACH
        of_a = h.new_empty(batch, 1 if constant else steps, *rest)

    of_b = h.new_empty(h.shape)
    of_start = h.new_empty(batch, *rest)
    of_fresh = None if begin[1] is None else h.new_empty(batch, *rest)
    results = (of_a, of_b, of_start, of_fresh)

    function = _function("backward", h)
    function(
        *_size(h), *_where(decay), *_where(incoming), *map(_place, begin), _place(h),
        kind, *map(_place, results),
    )  # fmt: skip

    if of_a is not None:
        of_a = of_a.sum_to_size(a.shape)
    return of_a, of_b, of_start, of_fresh


def _function(name: str, like: Tensor) -> Any:
    """Return a function of the kernels for tensors like this one."""
    if like.is_complex():
        name = f"{name}_pairs"
    return getattr(_kernels(REALS[like.dtype]), name)


def _size(h: Tensor) -> tuple[int, int, int, int]:
    """Return rows, steps, channels, and threads for states `[B, T, ...]`."""
    batch, steps = h.shape[:2]
    numbers = h.numel()
    width = numbers // (batch * steps)
    if numbers <= LIGHT:
        return batch, steps, width, 1

    # No more threads than there are lines of memory for them to write to.
    lines = -(-width * h.element_size() // LINE)
    threads = min(torch.get_num_threads(), batch * lines)
    return batch, steps, width, threads


def _by_steps(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Return a tensor expanded to `[B, T, ...]`, with the channels of a step side by side.

    It is a copy where they are not.
    """
    tensor = _spread(tensor, shape)
    if tensor.is_contiguous():
        return tensor

    # From the last axis to the third, each must step over exactly what lies within it.
    strides = tensor.stride()
    within = 1
    for axis in range(len(shape) - 1, 1, -1):
        if shape[axis] != 1 and strides[axis] != within:
            # Rows or steps that are all the same are copied once.
            rows = 1 if strides[0] == 0 else shape[0]
            steps = 1 if strides[1] == 0 else shape[1]
            return tensor[:rows, :steps].contiguous().expand(shape)
        within *= shape[axis]
    return tensor


def _where(tensor: Tensor) -> tuple[int, int, int]:
    """Return where a tensor of `_by_steps` is, and how far apart its rows and its steps are.

    The distances are in reals, of which a complex number has two.
    """
    parity = 2 if tensor.is_complex() else 1
    of_row, of_step = tensor.stride(0), tensor.stride(1)
    return tensor.data_ptr(), of_row * parity, of_step * parity


def _beginnings(
    shape: torch.Size, start: Tensor, anew: Tensor | None, fresh: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return `start`, `anew` and `fresh` as they are passed: whole, with one flag a step."""
    state = shape[:1] + shape[2:]
    first = _spread(start, state).contiguous()
    if anew is None or fresh is None:
        return first, None, None

    flags = anew.expand(*shape[:2], *anew.shape[2:]).contiguous()
    again = _spread(fresh, state).contiguous()
    return first, flags, again


def _spread(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Return a tensor of this shape whose memory holds what it says.

    torch conjugates some tensors, and negates some, only when it reads them.
    """
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    return tensor if tensor.shape == shape else tensor.expand(shape)


def _place(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
