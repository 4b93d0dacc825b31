"""How equality is measured: in float64 first, where rounding is 1e-13 and a bug is 1e-2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recurra.testing.check import Broken, Measured

EXACT = 0.0
FLOAT64 = 1e-9
ROWS = 1e-12
"""Bound in float64 where the same numbers are only grouped otherwise."""
BFLOAT16 = 2e-2
"""Bound of the ratio of root mean squares, bfloat16 against float32."""


def float32(steps: int) -> float:
    """Return the bound in float32 after a number of steps: rounding grows with them."""
    return min(max(2e-7 * steps, 1e-5), 1e-3)


def gap(actual: Tensor, expected: Tensor, what: str = "a value") -> float:
    """Return the greatest absolute difference over max(1, the greatest expected).

    It is infinite where nan and inf do not stand in the same places. Raises `Broken` if shapes or
    types differ.
    """
    if actual.shape != expected.shape:
        raise Broken(f"{what} has shape {list(actual.shape)}, not {list(expected.shape)}")
    if actual.dtype != expected.dtype:
        raise Broken(f"{what} is {actual.dtype}, not {expected.dtype}")

    if not actual.numel():
        return 0.0
    if not actual.is_floating_point():
        return float((actual != expected).any())

    # What is not finite must stand in the same places, and has no difference of its own.
    finite = torch.isfinite(expected)
    if not torch.equal(torch.isfinite(actual), finite):
        return float("inf")
    if not finite.any():
        return 0.0

    difference = (actual - expected)[finite].abs().max().item()
    greatest = expected[finite].abs().max().item()
    return difference / max(1.0, greatest)


def gaps(actual: Sequence[Tensor], expected: Sequence[Tensor], what: str = "value") -> float:
    """Return the greatest gap of several tensors, such as the fields of a state."""
    if len(actual) != len(expected):
        raise Broken(f"there are {len(actual)} of {what}, not {len(expected)}")
    worst = 0.0
    for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
        worst = max(worst, gap(one, other, f"{what} {index}"))
    return worst


def worst(findings: Sequence[Measured]) -> Measured:
    """Return the finding that uses most of its bound."""
    return max(findings, key=lambda found: found.margin)
