"""The linear recurrence in compiled kernels: one pass forward and one in reverse, which read and
write memory once.
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

_NOTHING, _EACH, _SUM = range(3)  # what is wanted of the gradient of a, as in the kernels
_LONGS, _PLACES = [ctypes.c_long] * 4, [ctypes.c_void_p]
_LYING = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
_PLAIN = (Tensor, nn.Parameter)
_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
_modes = torch._C._len_torch_dispatch_stack


@cache
def _kernels(real: str) -> ctypes.CDLL | None:
    """Return the compiled functions for a C type, or nothing where none can be had."""
    source = (resources.files("recurra.engine") / "scan.c").read_text(encoding="utf-8")
    try:
        found = library(f"typedef {real} real;\n{source}")
    except Unbuildable:
        return None
    for name in ("forward", "forward_pairs"):
        getattr(found, name).argtypes = _LONGS + _LYING * 2 + _PLACES * 4
    for name in ("backward", "backward_pairs"):
        getattr(found, name).argtypes = (
            _LONGS + _LYING * 2 + _PLACES * 4 + [ctypes.c_long] + _PLACES * 4
        )
    return found


def possible(h: Tensor, anew: Tensor | None, *others: Tensor | None) -> bool:
    """Tell whether there are kernels for tensors like `h`, `[B, T, ...]`: on a CPU, seen by no
    tracer, not empty.

    Flags have to be the same for all lanes of a step.
    """
    if torch.compiler.is_compiling() or h.dtype not in REALS or not h.numel() or _modes():
        return False
    for tensor in (h, anew, *others):
        if tensor is not None and (
            type(tensor) not in _PLAIN or not tensor.is_cpu or _wrapped(tensor)
        ):
            return False
    if any(
        tensor is not None and (tensor.dtype != h.dtype or tensor.layout != torch.strided)
        for tensor in others
    ):
        return False
    if anew is not None and (
        anew.dim() != h.dim() or math.prod(anew.shape[2:]) != 1 or anew.dtype != torch.bool
    ):
        return False
    return _kernels(REALS[h.dtype]) is not None


def forward(
    a: Tensor, b: Tensor, start: Tensor, anew: Tensor | None, fresh: Tensor | None
) -> Tensor:
    """Return every h_t, `[B, T, ...]`; the arguments are those of
    `recurra.engine.scan.linear_scan`.
    """
    decay, added = _lying(a, b.shape), _lying(b, b.shape)
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
    """Return the gradients of a, if it is wanted, b, start and fresh, from the states `h` and the
    gradient of them.

    That of an a which is the same at every step is added up on the way, and never `[B, T, ...]`.
    """
    decay, came = _lying(a, h.shape), _lying(grad, h.shape)
    begin = _beginnings(h.shape, start, anew, fresh)
    batch, steps, *rest = h.shape
    constant = a.dim() < h.dim() - 1 or a.shape[1 - h.dim()] == 1
    of_a = h.new_empty(batch, 1 if constant else steps, *rest) if wants_a else None
    of_b, of_start = h.new_empty(h.shape), h.new_empty(batch, *rest)
    of_fresh = None if begin[1] is None else h.new_empty(batch, *rest)
    wanted = (_SUM if constant else _EACH) if wants_a else _NOTHING
    function = _function("backward", h)
    function(
        *_size(h), *_where(decay), *_where(came), *map(_place, begin), _place(h),
        wanted, *map(_place, (of_a, of_b, of_start, of_fresh)),
    )  # fmt: skip
    return None if of_a is None else of_a.sum_to_size(a.shape), of_b, of_start, of_fresh


def _function(name: str, like: Tensor) -> Any:
    """Return a function of the kernels for tensors like this one."""
    return getattr(_kernels(REALS[like.dtype]), f"{name}_pairs" if like.is_complex() else name)


def _size(h: Tensor) -> tuple[int, int, int, int]:
    """Return rows, steps, lanes, and threads for states `[B, T, ...]`."""
    batch, steps = h.shape[:2]
    width = h.numel() // (batch * steps)
    shares = batch * -(-width * h.element_size() // LINE)
    return batch, steps, width, min(torch.get_num_threads(), shares) if h.numel() > LIGHT else 1


def _lying(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Return a tensor expanded to `[B, T, ...]`, with the lanes of a step side by side: a copy
    where they are not.
    """
    tensor = _spread(tensor, shape)
    if tensor.is_contiguous():
        return tensor
    strides, wide = tensor.stride(), 1
    for axis in range(len(shape) - 1, 1, -1):
        if shape[axis] != 1 and strides[axis] != wide:
            rows, steps = (1 if strides[i] == 0 else shape[i] for i in (0, 1))
            return tensor[:rows, :steps].contiguous().expand(shape)
        wide *= shape[axis]
    return tensor


def _where(tensor: Tensor) -> tuple[int, int, int]:
    """Return where a tensor of `_lying` is, and how many numbers lie from row to row and from step
    to step.
    """
    parity = 2 if tensor.is_complex() else 1
    return tensor.data_ptr(), tensor.stride(0) * parity, tensor.stride(1) * parity


def _beginnings(
    shape: torch.Size, start: Tensor, anew: Tensor | None, fresh: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return `start`, `anew` and `fresh` as they are passed: whole, with one flag a step."""
    state = shape[:1] + shape[2:]
    first = _spread(start, state).contiguous()
    if anew is None or fresh is None:
        return first, None, None
    return (
        first,
        anew.expand(*shape[:2], *anew.shape[2:]).contiguous(),
        _spread(fresh, state).contiguous(),
    )


def _spread(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Return a tensor of this shape whose memory holds what it says: no conjugate that is taken
    when it is read.
    """
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    return tensor if tensor.shape == shape else tensor.expand(shape)


def _place(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
