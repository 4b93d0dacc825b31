"""Every operation that a kernel knows, against torch's own, with its gradient, on ordinary numbers
and on hard ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from recurra import Cell, CellOptions
from recurra.engine import fused
from recurra.engine.fused.c_operations import WRITTEN
from recurra.engine.fused.operations import REPLACED
from recurra.engine.fused.plan import plan

aten = torch.ops.aten


@dataclass(frozen=True)
class Trial:
    """A function of some values; `exact`: to the last bit; `near`: how far off in eps beside the
    relative bound.
    """

    function: Callable[..., Tensor]
    values: int = 1
    ulps: float = 8
    near: float = 0
    steep: float = 0  # the same for its gradient


T = Trial
TRIALS: dict[str, list[Trial]] = {
    "add": [T(lambda a, b: a + b, 2), T(lambda a, b: torch.add(a, b, alpha=-1.5), 2, near=4),
        T(lambda a: a + 3)],
    "sub": [T(lambda a, b: a - b, 2), T(lambda a, b: torch.sub(a, b, alpha=0.25), 2, near=4),
        T(lambda a: a - 0.1)],
    "rsub": [T(lambda a: 1 - a), T(lambda a: torch.rsub(a, 2, alpha=3), near=8)],
    "mul": [T(lambda a, b: a * b, 2), T(lambda a: a * 1e30), T(lambda a, b: (a > b) * a, 2)],
    "div": [T(lambda a, b: a / b, 2, ulps=8), T(lambda a: a / 3), T(lambda a: 2 / a, ulps=8)],
    "neg": [T(lambda a: -a)],
    "reciprocal": [T(torch.reciprocal)],
    "square": [T(torch.square)],
    "pow": [T(lambda a, k=k: a**k, ulps=16) for k in (2, 3, 1, -1, 0.5, -0.5, -2, 4, 0, 5, 1.7, -3)]
    + [T(lambda a: 2.5**a, ulps=64)],
    "exp": [T(torch.exp)],
    "exp2": [T(torch.exp2, ulps=300)],
    "expm1": [T(torch.expm1, steep=4)],
    "log": [T(torch.log)],
    "log1p": [T(torch.log1p)],
    "log2": [T(torch.log2)],
    "sqrt": [T(torch.sqrt)],
    "rsqrt": [T(torch.rsqrt, ulps=16)],
    "sin": [T(torch.sin)],
    "cos": [T(torch.cos)],
    "erf": [T(torch.erf)],
    "abs": [T(torch.abs)],
    "sign": [T(torch.sign)],
    "sgn": [T(torch.sgn)],
    "sigmoid": [T(torch.sigmoid, steep=4)],
    "sigmoid of two": [
        T(lambda a: torch.where(a > 1, torch.sigmoid(-a), torch.sigmoid(a)), steep=4),
        T(lambda a: torch.where(a > -1, torch.sigmoid(a), torch.sigmoid(-a)), steep=4),
    ],
    "tanh": [T(torch.tanh, steep=8)],
    "relu": [T(torch.relu)],
    "maximum": [T(torch.maximum, 2)],
    "minimum": [T(torch.minimum, 2)],
    "clamp": [
        T(lambda a: a.clamp(-0.5, 2)), T(lambda a: a.clamp(max=0.5)), T(lambda a: a.clamp(min=0.0)),
        T(lambda a, b, c: a.clamp(b, c), 3), T(lambda a, b: a.clamp(min=b), 2),
        T(lambda a, b: a.clamp(max=b), 2),
    ],
    "clamp_min": [T(lambda a: torch.clamp_min(a, 0.25)), T(torch.clamp_min, 2)],
    "clamp_max": [T(lambda a: torch.clamp_max(a, 0.25)), T(torch.clamp_max, 2)],
    "lerp": [T(torch.lerp, 3, near=4), T(lambda a, b: torch.lerp(a, b, 0.3), 2, near=4)],
    "addcmul": [T(torch.addcmul, 3, near=4), T(lambda a, b, c: torch.addcmul(a, b, c, value=-2), 3,
        near=4)],
    "addcdiv": [T(torch.addcdiv, 3, near=4), T(lambda a, b, c: torch.addcdiv(a, b, c, value=0.5), 3,
        near=4)],
    "where": [T(lambda a, b: torch.where(a > b, a, b), 2), T(lambda a: torch.where(a > 0, a, 0.5))],
    "masked_fill": [T(lambda a, b: a.masked_fill(b > 0, 7.0), 2)],
    "eq": [T(lambda a, b: (a == b) * a, 2)],
    "ne": [T(lambda a, b: (a != b) * a, 2)],
    "lt": [T(lambda a, b: (a < b) * a, 2)],
    "le": [T(lambda a, b: (a <= b) * a, 2)],
    "gt": [T(lambda a, b: (a > b) * a, 2)],
    "ge": [T(lambda a, b: (a >= b) * a, 2)],
    "isnan": [T(lambda a: torch.where(a.isnan(), 3.0, a))],
    "logical_not": [T(lambda a: torch.where(a.logical_not(), 3.0, a)),
        T(lambda a: torch.where(~(a > 1), 3.0, a))],
    "logical_and": [T(lambda a, b: torch.where(torch.logical_and(a, b), a, 3.0), 2)],
    "logical_or": [T(lambda a, b: torch.where(torch.logical_or(a, b), a, 3.0), 2)],
    "bitwise_and": [T(lambda a, b: torch.where((a > 0) & (b > 0), a, 3.0), 2)],
    "bitwise_xor": [T(lambda a, b: torch.where((a > 0) ^ (b > 0), a, 3.0), 2)],
    "bitwise_or": [T(lambda a, b: torch.where((a > 0) | (b > 0), a, 3.0), 2)],
    "conditions": [
        T(lambda a, b: ((a > 0) + (b > 0)) * a, 2), T(lambda a, b: torch.logical_and(a, b) * a, 2),
        T(lambda a, b: (a > b).to(a.dtype) + a, 2), T(lambda a: torch.logical_xor(a, a > 0) * a),
        T(lambda a, b: torch.logical_or(a, b).to(a.dtype) + a, 2), T(lambda a: a.isinf() * 1.0 + a),
        T(lambda a: a.bool() * 2.0 + a),
    ],
    "copy": [T(lambda a, b: (a * 2).copy_(b) + a, 2), T(lambda a: (a * 2).fill_(3.0) * a)],
    "leaky_relu": [T(functional.leaky_relu), T(lambda a: functional.leaky_relu(a, 0.3))],
    "fills": [
        T(lambda a: torch.zeros_like(a) + a), T(lambda a: torch.ones_like(a) * a),
        T(lambda a: torch.full_like(a, 0.5) * a), T(lambda a: a.new_full(a.shape, 2.0) + a),
        T(lambda a: torch.zeros(a.shape, dtype=a.dtype) + a), T(lambda a: a.new_ones(a.shape) + a),
    ],
    "softplus": [
        T(functional.softplus, ulps=16, steep=4),
        T(lambda a: functional.softplus(a, beta=2, threshold=5), ulps=16, steep=4),
    ],
    "logsigmoid": [T(functional.logsigmoid, ulps=16, steep=4)],
    "silu": [T(functional.silu, ulps=16, steep=16)],
    "gelu": [
        T(functional.gelu, ulps=16, near=16, steep=16),
        T(lambda a: functional.gelu(a, approximate="tanh"), ulps=16, near=16, steep=64),
    ],
    "hardtanh": [T(functional.hardtanh), T(lambda a: functional.hardtanh(a, -0.5, 2.0)),
        T(functional.relu6)],
    "hardsigmoid": [T(functional.hardsigmoid, near=4)],
    "decays": [
        T(lambda a: functional.logsigmoid(-a) * torch.sigmoid(a), ulps=16, steep=8),
        T(lambda a: torch.log1p(torch.exp(-torch.abs(a)))),
    ],
}  # fmt: skip
"""By name; an entry says how near to torch's a kernel is, where that is not a few units in the last
place.
"""

ROWS = 2
GROUP = 12
"""Trials in one kernel: compiling is what takes time."""


def hard(dtype: torch.dtype) -> list[float]:
    """Return numbers on which elementwise functions go wrong: of each range, each sign, and each
    limit of a branch.
    """
    info = torch.finfo(dtype)
    found = [
        0.0,
        info.smallest_normal,
        info.smallest_normal / 8,
        1e-6,
        0.25,
        0.5,
        1.0,
        3.0,
        17.5,
        88.5,
        info.max / 4,
    ]
    return [sign * value for value in found for sign in (1, -1)] + [math.inf, -math.inf, math.nan]


def ordinary(count: int, seed: int) -> Tensor:
    """Return random numbers of many magnitudes."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.exp(2 * torch.randn(count, generator=generator, dtype=torch.float64))
    return size * torch.randn(count, generator=generator, dtype=torch.float64).sign()


def operands(dtype: torch.dtype) -> Tensor:
    """Return three values for every trial, `[3, ROWS, W]`: all pairs of hard numbers, then ordinary
    ones.
    """
    special = torch.tensor(hard(dtype), dtype=torch.float64)
    pairs = torch.cartesian_prod(special, special)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(5))
    third = pairs[order, 0]
    found = []
    for row in range(ROWS):
        more = torch.stack([ordinary(101, 3 * row + k) for k in range(3)])
        found.append(torch.cat((torch.stack((pairs[:, 0], pairs[:, 1], third)), more), 1))
    return torch.stack(found, 1).to(dtype)


class Options(CellOptions):
    """`start` is the first trial of the group."""

    start: int = 0


class Held(NamedTuple):
    """The operands, one block for each trial."""

    a: Tensor
    b: Tensor
    c: Tensor


ALL = [(name, trial) for name, trials in TRIALS.items() for trial in trials]


class Calculator(Cell[Options]):
    """Each step applies the functions of a group to a block of the state each, and leaves the state
    as it is.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(1, options)
        self.group = ALL[options.start : options.start + GROUP]

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Held:
        shape = batch_size, len(self.group) * self.hidden_size
        return Held(*(torch.zeros(shape, device=device, dtype=dtype) for _ in range(3)))

    def step(self, x_t: Tensor, state: Held) -> tuple[Tensor, Held]:
        blocks = zip(*(field.split(self.hidden_size, -1) for field in state), strict=True)
        found = [
            trial.function(*block[: trial.values])
            for (_, trial), block in zip(self.group, blocks, strict=True)
        ]
        return torch.cat(found, -1), state


class Found(NamedTuple):
    """What came of a trial: its values, and their gradients."""

    value: Tensor
    grads: list[Tensor]


@cache
def results(start: int, dtype: torch.dtype) -> tuple[list[Found], list[Found]]:
    """Return what torch and the kernel make of each trial of a group."""
    given = operands(dtype)
    width = given.shape[-1]
    cell = Calculator(Options(hidden_size=width, start=start))
    count = len(cell.group)
    seed = ordinary(ROWS * count * width, 99).to(dtype).view(ROWS, count * width)

    def run(kernel: bool) -> list[Found]:
        state = Held(*(field.repeat(1, count).requires_grad_() for field in given))
        x = torch.zeros(ROWS, 1, 1, dtype=dtype)
        y = (
            fused.run(cell, x, state, None, None)[0][:, 0]
            if kernel
            else cell.step(x[:, 0], state)[0]
        )
        grads = torch.autograd.grad(y, state, seed, allow_unused=True)
        grads = [
            torch.zeros_like(field) if grad is None else grad
            for field, grad in zip(state, grads, strict=True)
        ]
        by_trial = zip(*(part.split(width, -1) for part in (y.detach(), *grads)), strict=True)
        return [Found(parts[0], list(parts[1:])) for parts in by_trial]

    return run(kernel=False), run(kernel=True)


def compare(
    found: Tensor, wanted: Tensor, ulps: float, near: float, said: str, given: Tensor
) -> None:
    """Require the same NaN and infinities, and all else close."""
    info = torch.finfo(wanted.dtype)
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    gap = (found - wanted).abs()
    bound = ulps * info.eps * wanted.abs() + near * info.eps + info.smallest_normal
    wrong = ~(same | (gap <= bound))
    at = wrong.nonzero().tolist()[:6]
    text = [
        f"{[v[r, j].item() for v in given]} -> {found[r, j].item()!r}, not {wanted[r, j].item()!r}"
        for r, j in at
    ]
    assert not at, f"{said}: {int(wrong.sum())} wrong\n" + "\n".join(text)


CASES = [
    pytest.param(
        index,
        dtype,
        id=f"{name}-{index}-{str(dtype).removeprefix('torch.')}",
        marks=[] if (index // GROUP + turn) % 2 == 0 else [pytest.mark.slow],
    )
    for turn, dtype in enumerate((torch.float32, torch.float64))
    for index, (name, _) in enumerate(ALL)
]
"""Each operation in both types; by default in one, the kernels of groups in turns."""


@pytest.mark.parametrize(("index", "dtype"), CASES)
def test_an_operation_and_its_gradient_are_torch_s(index, dtype):
    """On all pairs of hard numbers and on ordinary ones: the same NaN and infinities, and close
    elsewhere.
    """
    name, trial = ALL[index]
    eager, kernel = results(index - index % GROUP, dtype)
    want, have = eager[index % GROUP], kernel[index % GROUP]
    given = operands(dtype)
    compare(have.value, want.value, trial.ulps, trial.near, name, given)
    for place in range(trial.values):
        said = f"gradient {place} of {name}"
        compare(
            have.grads[place],
            want.grads[place],
            2 * trial.ulps,
            trial.near + trial.steep,
            said,
            given,
        )


class Seen(TorchDispatchMode):
    """Notes the operations of aten that are run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.add(func)
        return func(*args, **(kwargs or {}))


OTHERWISE = {"true_divide", "square", "same", "condition", "sigmoid_of_decay", "log1p_of_decay"}
"""Names that torch gives to nothing that users write, and those of the kernel alone."""


def test_no_operation_is_left_out():
    """Each name in the tables is reached by a trial, forward or backward; rows' normalisations have
    their own tests.
    """
    names: set[str] = set()
    seen = Seen()
    for start in range(0, len(ALL), GROUP):
        cell = Calculator(Options(hidden_size=4, start=start))
        names |= {
            node.name.removeprefix("aten.")
            for node in plan(cell, torch.float32).joint.program.nodes
        }
        state = Held(*(torch.ones(2, 4 * len(cell.group), requires_grad=True) for _ in range(3)))
        with seen:
            y = cell.step(torch.zeros(2, 1), state)[0]
            torch.autograd.grad(y.sum(), state, allow_unused=True)
    by_row = {
        aten.native_layer_norm.default, aten.native_layer_norm_backward.default,
        aten._softmax.default,
        aten._softmax_backward_data.default, aten.addmm.default,
    }  # fmt: skip
    assert set(REPLACED) - seen.found - by_row == set()
    assert set(WRITTEN) - names - OTHERWISE == set()
