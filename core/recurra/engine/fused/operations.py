"""What a kernel can compute for each element: operations of aten and how they are written in C.

`WRITTEN` gives the C of an operation from that of its arguments, in the type `real`; a condition is 1 or 0.
`REPLACED` says others in terms of these. The functions that the C calls stand in kernel.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def literal(value: float | bool) -> str:
    """Return a number in C."""
    value = float(value)
    if math.isnan(value):
        return "((real)NAN)"
    if math.isinf(value):
        return "((real)INFINITY)" if value > 0 else "(-(real)INFINITY)"
    return f"((real){value!r})"


def _call(name: str) -> Callable[..., str]:
    return lambda *args: f"{name}({', '.join(args)})"


def _test(sign: str) -> Callable[[str, str], str]:
    return lambda a, b: f"({a} {sign} {b} ? (real)1 : (real)0)"


def _joined(sign: str) -> Callable[[str, str], str]:
    return lambda a, b: f"(({a} != 0) {sign} ({b} != 0) ? (real)1 : (real)0)"


def _scaled(b: str, alpha: str) -> str:
    return b if alpha == literal(1) else f"{alpha} * {b}"


def _power(a: str, exponent: str) -> str:
    """Return a power; the usual exponents without a call."""
    ready = {2.0: f"{a} * {a}", 3.0: f"{a} * {a} * {a}", 1.0: a, -1.0: f"1 / {a}", 0.5: f"r_sqrt({a})"}
    ready |= {-0.5: f"1 / r_sqrt({a})", -2.0: f"1 / ({a} * {a})", 4.0: f"({a} * {a}) * ({a} * {a})"}
    return next((text for value, text in ready.items() if exponent == literal(value)), f"r_pow({a}, {exponent})")


def _clamped(a: str, low: str = "", high: str = "") -> str:
    if low:
        a = f"r_max({a}, {low})"
    return f"r_min({a}, {high})" if high else a


def _lerp(a: str, b: str, w: str) -> str:
    """Return torch's interpolation, which starts from the nearer end."""
    near = f"r_abs({w}) < (real)0.5"
    return f"({near} ? {a} : {b}) + ({near} ? {w} : {w} - 1) * ({b} - {a})"


ONE = literal(1)
SLOPE = literal(0.01)

WRITTEN: dict[str, Callable[..., str]] = {
    "add": lambda a, b, alpha=ONE: f"{a} + {_scaled(b, alpha)}",
    "sub": lambda a, b, alpha=ONE: f"{a} - {_scaled(b, alpha)}",
    "rsub": lambda a, b, alpha=ONE: f"{b} - {_scaled(a, alpha)}",
    "mul": lambda a, b: f"{a} * {b}",
    "div": lambda a, b: f"{a} / {b}",
    "true_divide": lambda a, b: f"{a} / {b}",
    "neg": lambda a: f"-{a}",
    "reciprocal": lambda a: f"1 / {a}",
    "square": lambda a: f"{a} * {a}",
    "pow": _power,
    "exp": _call("r_exp"),
    "exp2": lambda a: f"r_exp({a} * {literal(math.log(2))})",
    "expm1": _call("r_expm1"),
    "log": _call("r_log"),
    "log1p": _call("r_log1p"),
    "log2": lambda a: f"r_log({a}) * {literal(1 / math.log(2))}",
    "sqrt": _call("r_sqrt"),
    "rsqrt": lambda a: f"1 / r_sqrt({a})",
    "sin": _call("r_sin"),
    "cos": _call("r_cos"),
    "erf": _call("r_erf"),
    "abs": _call("r_abs"),
    "sign": _call("r_sign"),
    "sgn": _call("r_sign"),
    "sigmoid": _call("r_sigmoid"),
    "tanh": _call("r_tanh"),
    "relu": lambda a: f"r_least({a}, 0)",
    "maximum": _call("r_max"),
    "minimum": _call("r_min"),
    "clamp": _clamped,
    "clamp_min": lambda a, low: _clamped(a, low=low),
    "clamp_max": lambda a, high: _clamped(a, high=high),
    "lerp": _lerp,
    "addcmul": lambda a, b, c, value=ONE: f"{a} + {_scaled(f'{b} * {c}', value)}",
    "addcdiv": lambda a, b, c, value=ONE: f"{a} + {_scaled(f'{b} / {c}', value)}",
    "where": lambda c, a, b: f"({c} != 0 ? {a} : {b})",
    "masked_fill": lambda a, c, b: f"({c} != 0 ? {b} : {a})",
    "eq": _test("=="),
    "ne": _test("!="),
    "lt": _test("<"),
    "le": _test("<="),
    "gt": _test(">"),
    "ge": _test(">="),
    "isnan": lambda a: f"({a} != {a} ? (real)1 : (real)0)",
    "logical_not": lambda a: f"({a} != 0 ? (real)0 : (real)1)",
    "bitwise_not": lambda a: f"({a} != 0 ? (real)0 : (real)1)",
    **dict.fromkeys(("logical_and", "bitwise_and", "__and__"), _joined("&&")),
    **dict.fromkeys(("logical_or", "bitwise_or"), _joined("||")),
    **dict.fromkeys(("logical_xor", "bitwise_xor"), _joined("^")),
    "sigmoid_backward": lambda g, y: f"{g} * ((1 - {y}) * {y})",
    "tanh_backward": lambda g, y: f"{g} * (1 - {y} * {y})",
    "threshold_backward": lambda g, a, at: f"({a} <= {at} ? (real)0 : {g})",
    "leaky_relu": lambda a, slope=SLOPE: f"({a} > 0 ? {a} : {a} * {slope})",
    "fill": lambda a, value: value,
    "same": lambda a: a,
    "condition": lambda a: f"({a} != 0 ? (real)1 : (real)0)",
}
"""Elementwise operations by name, without `aten.` and overload."""

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
    return torch.clamp_max(x, 0) - torch.log1p(torch.exp(-torch.abs(x))), torch.zeros_like(x)


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
        return 0.5 * (1 + torch.erf(x * math.sqrt(0.5))), torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    scale, cubic = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(scale * (x + cubic * x * x * x))
    return 0.5 * (1 + t), 0.5 * (1 - t * t) * scale * (1 + 3 * cubic * x * x)


def _layer_norm(
    x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    axes = list(range(-len(shape), 0))
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    scale = torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    y = centred * scale
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, mean, scale


def _layer_norm_backward(
    grad: Tensor, x: Tensor, shape: list[int], mean: Tensor, scale: Tensor, weight: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    axes = list(range(-len(shape), 0))
    others = list(range(x.dim() - len(shape)))
    normed = (x - mean) * scale
    inner = grad if weight is None else grad * weight
    along = (inner * normed).mean(axes, keepdim=True)
    of_x = (inner - inner.mean(axes, keepdim=True) - normed * along) * scale
    return of_x, (grad * normed).sum(others), grad.sum(others)


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    e = torch.exp(x - x.amax([dim], keepdim=True))
    return e / e.sum([dim], keepdim=True)


def _softmax_backward(grad: Tensor, y: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    return y * (grad - (grad * y).sum([dim], keepdim=True))


REPLACED: dict[Any, Callable[..., Any]] = {
    aten.softplus.default: _softplus,
    aten.softplus_backward.default: _softplus_backward,
    aten.log_sigmoid_forward.default: _log_sigmoid,
    aten.log_sigmoid_backward.default: lambda grad, x, buffer: grad * torch.sigmoid(-x),
    aten.silu.default: lambda x: x * torch.sigmoid(x),
    aten.silu_backward.default: _silu_backward,
    aten.gelu.default: _gelu,
    aten.gelu_backward.default: _gelu_backward,
    aten.leaky_relu_backward.default: lambda grad, x, slope, of_result: torch.where(x > 0, grad, grad * slope),
    aten.hardtanh.default: lambda x, low=-1, high=1: torch.clamp(x, low, high),
    aten.hardtanh_backward.default: lambda grad, x, low, high: torch.where(
        (x > low) & (x < high), grad, torch.zeros_like(grad)
    ),
    aten.hardsigmoid.default: lambda x: torch.clamp(x + 3, 0, 6) / 6,
    aten.hardsigmoid_backward.default: lambda grad, x: torch.where(
        (x > -3) & (x < 3), grad * SIXTH, torch.zeros_like(grad)
    ),
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
