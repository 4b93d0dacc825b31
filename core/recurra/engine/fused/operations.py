"""What a kernel can compute for each element: operations of aten, and others said by them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

ELEMENTWISE = frozenset(
    """
    add sub rsub mul div true_divide neg reciprocal square pow exp exp2 expm1 log log1p log2 sqrt
    rsqrt sin cos erf abs sign sgn sigmoid tanh relu leaky_relu maximum minimum clamp clamp_min
    clamp_max lerp addcmul addcdiv where masked_fill fill eq ne lt le gt ge isnan logical_not
    logical_and logical_or logical_xor bitwise_not bitwise_and bitwise_or bitwise_xor __and__
    sigmoid_backward tanh_backward threshold_backward same condition
    """.split()
)
"""Operations of each element by name, without `aten.` and overload.

`same` repeats one element, and `condition` makes it 1 or 0. Every way of writing a kernel writes
all of them.
"""

FILLS = {"zeros_like": 0.0, "ones_like": 1.0, "empty_like": 0.0}
"""Operations that give a number repeated."""

IGNORED = {"dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking"}
"""Keyword arguments that change nothing of a value, where their types are what a kernel has."""


SIXTH = torch.tensor(1 / 6, dtype=torch.float32).item()
"""What torch takes for a sixth in the gradient of hardsigmoid, in float64 too."""


def _softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    scaled = x * beta
    return torch.where(scaled > threshold, x, torch.log1p(torch.exp(scaled)) / beta)


def _softplus_backward(grad: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    scaled = x * beta
    return torch.where(scaled > threshold, grad, grad * torch.sigmoid(scaled))


def _log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    least = torch.clamp_max(x, 0)
    y = least - torch.log1p(torch.exp(-torch.abs(x)))
    return y, torch.zeros_like(x)


def _silu_backward(grad: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return grad * (s * (1 + x * (1 - s)))


def _gelu(x: Tensor, approximate: str = "none") -> Tensor:
    return x * _normal(x, approximate)[0]


def _gelu_backward(grad: Tensor, x: Tensor, approximate: str = "none") -> Tensor:
    below, density = _normal(x, approximate)
    return grad * (below + x * density)


def _normal(x: Tensor, approximate: str) -> tuple[Tensor, Tensor]:
    """Return the normal distribution below x, and its density, or torch's approximation of both."""
    if approximate == "none":
        below = 0.5 * (1 + torch.erf(x * math.sqrt(0.5)))
        density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return below, density

    scale = math.sqrt(2 / math.pi)
    cubic = 0.044715
    t = torch.tanh(scale * (x + cubic * x * x * x))
    below = 0.5 * (1 + t)
    density = 0.5 * (1 - t * t) * scale * (1 + 3 * cubic * x * x)
    return below, density


def _layer_norm(
    x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    axes = list(range(-len(shape), 0))
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    scale = torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    y = centred * scale
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y, mean, scale


def _layer_norm_backward(
    grad: Tensor,
    x: Tensor,
    shape: list[int],
    mean: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    # The layer is y = normed * weight + bias, normed over the last axes.
    axes = list(range(-len(shape), 0))
    others = list(range(x.dim() - len(shape)))
    normed = (x - mean) * scale
    inner = grad if weight is None else grad * weight

    # A change of x along normed, or of all its elements alike, does not change normed.
    along = (inner * normed).mean(axes, keepdim=True)
    of_x = (inner - inner.mean(axes, keepdim=True) - normed * along) * scale
    return of_x, (grad * normed).sum(others), grad.sum(others)


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    e = torch.exp(x - x.amax([dim], keepdim=True))
    return e / e.sum([dim], keepdim=True)


def _softmax_backward(grad: Tensor, y: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    return y * (grad - (grad * y).sum([dim], keepdim=True))


def _leaky_relu_backward(grad: Tensor, x: Tensor, slope: float, of_result: bool) -> Tensor:
    return torch.where(x > 0, grad, grad * slope)


def _hardtanh_backward(grad: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    inside = (x > low) & (x < high)
    return torch.where(inside, grad, torch.zeros_like(grad))


def _hardsigmoid_backward(grad: Tensor, x: Tensor) -> Tensor:
    inside = (x > -3) & (x < 3)
    return torch.where(inside, grad * SIXTH, torch.zeros_like(grad))


REPLACED: dict[Any, Callable[..., Any]] = {
    aten.softplus.default: _softplus,
    aten.softplus_backward.default: _softplus_backward,
    aten.log_sigmoid_forward.default: _log_sigmoid,
    aten.log_sigmoid_backward.default: lambda grad, x, buffer: grad * torch.sigmoid(-x),
    aten.silu.default: lambda x: x * torch.sigmoid(x),
    aten.silu_backward.default: _silu_backward,
    aten.gelu.default: _gelu,
    aten.gelu_backward.default: _gelu_backward,
    aten.leaky_relu_backward.default: _leaky_relu_backward,
    aten.hardtanh.default: lambda x, low=-1, high=1: torch.clamp(x, low, high),
    aten.hardtanh_backward.default: _hardtanh_backward,
    aten.hardsigmoid.default: lambda x: torch.clamp(x + 3, 0, 6) / 6,
    aten.hardsigmoid_backward.default: _hardsigmoid_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
    aten._softmax.default: _softmax,
    aten._softmax_backward_data.default: _softmax_backward,
    aten.addmm.default: lambda bias, a, b: torch.mm(a, b) + bias,
}
"""Operations said in terms of those that a kernel knows; written from their definitions."""

ELEMENTWISE_REPLACED = {
    "softplus", "log_sigmoid_forward", "silu", "gelu", "hardtanh", "hardsigmoid",
}  # fmt: skip
"""Those of them that are elementwise in the forward pass."""
