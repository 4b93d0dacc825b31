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


def gap(found: Tensor, wanted: Tensor, what: str = "a value") -> float:
    """Return the greatest absolute difference over max(1, the greatest wanted).

    It is infinite where nan and inf do not stand in the same places. Raises `Broken` if shapes or
    types differ.
    """
    if found.shape != wanted.shape:
        raise Broken(f"{what} has shape {list(found.shape)}, not {list(wanted.shape)}")
    if found.dtype != wanted.dtype:
        raise Broken(f"{what} is {found.dtype}, not {wanted.dtype}")
    if not found.numel():
        return 0.0
    if not found.is_floating_point():
        return float((found != wanted).any())
    finite = torch.isfinite(wanted)
    if not torch.equal(torch.isfinite(found), finite):
        return float("inf")
    difference = (found - wanted)[finite].abs()
    scale = max(1.0, wanted[finite].abs().max().item()) if difference.numel() else 1.0
    return difference.max().item() / scale if difference.numel() else 0.0


def gaps(found: Sequence[Tensor], wanted: Sequence[Tensor], what: str = "value") -> float:
    """Return the greatest gap of several tensors, such as the fields of a state."""
    if len(found) != len(wanted):
        raise Broken(f"there are {len(found)} of {what}, not {len(wanted)}")
    pairs = enumerate(zip(found, wanted, strict=True))
    return max((gap(one, other, f"{what} {index}") for index, (one, other) in pairs), default=0.0)


def worst(findings: Sequence[Measured]) -> Measured:
    """Return the finding that uses most of its bound."""
    return max(findings, key=lambda found: found.margin)
