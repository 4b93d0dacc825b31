"""How elementwise operations are written in C, in the type `real`; a condition is 1 or 0.

The functions that the C calls stand in kernel.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable


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
    return lambda a, b: f"(real)({a} {sign} {b})"


def _joined(sign: str) -> Callable[[str, str], str]:
    return lambda a, b: f"(real)(({a} != 0) {sign} ({b} != 0))"


def _scaled(b: str, alpha: str) -> str:
    return b if alpha == literal(1) else f"{alpha} * {b}"


def _power(a: str, exponent: str) -> str:
    """Return a power; the usual exponents without a call."""
    usual = {
        -2.0: f"1 / ({a} * {a})",
        -1.0: f"1 / {a}",
        -0.5: f"1 / r_sqrt({a})",
        0.5: f"r_sqrt({a})",
        1.0: a,
        2.0: f"{a} * {a}",
        3.0: f"{a} * {a} * {a}",
        4.0: f"({a} * {a}) * ({a} * {a})",
    }
    for value, text in usual.items():
        if exponent == literal(value):
            return text
    return f"r_pow({a}, {exponent})"


def _clamped(a: str, low: str = "", high: str = "") -> str:
    if low:
        a = f"r_max({a}, {low})"
    if high:
        a = f"r_min({a}, {high})"
    return a


def _lerp(a: str, b: str, w: str) -> str:
    """Return torch's interpolation, which starts from the nearer end."""
    near = f"r_abs({w}) < (real)0.5"
    return f"pick({near}, {a}, {b}) + pick({near}, {w}, {w} - 1) * ({b} - {a})"


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
    "log1p_of_decay": _call("r_log1p_of_decay"),
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
    "sigmoid_of_decay": _call("r_sigmoid_of_decay"),
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
    "where": lambda c, a, b: f"pick({c} != 0, {a}, {b})",
    "masked_fill": lambda a, c, b: f"pick({c} != 0, {b}, {a})",
    "eq": _test("=="),
    "ne": _test("!="),
    "lt": _test("<"),
    "le": _test("<="),
    "gt": _test(">"),
    "ge": _test(">="),
    "isnan": lambda a: f"(real)({a} != {a})",
    "logical_not": lambda a: f"(real)({a} == 0)",
    "bitwise_not": lambda a: f"(real)({a} == 0)",
    **dict.fromkeys(("logical_and", "bitwise_and", "__and__"), _joined("&")),
    **dict.fromkeys(("logical_or", "bitwise_or"), _joined("|")),
    **dict.fromkeys(("logical_xor", "bitwise_xor"), _joined("^")),
    "sigmoid_backward": lambda g, y: f"{g} * ((1 - {y}) * {y})",
    "tanh_backward": lambda g, y: f"{g} * (1 - {y} * {y})",
    "threshold_backward": lambda g, a, at: f"pick({a} <= {at}, 0, {g})",
    "leaky_relu": lambda a, slope=SLOPE: f"pick({a} > 0, {a}, {a} * {slope})",
    "fill": lambda a, value: value,
    "same": lambda a: a,
    "condition": lambda a: f"(real)({a} != 0)",
}
"""The C of each operation, from that of its arguments."""
