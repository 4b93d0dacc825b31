"""Gradients against differences: the slope along random directions, from both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

STEP = 1e-6
"""How far each side lies from the point, in float64: rounding and curvature are both below 1e-8
there.
"""
SLOPE = 1e-6
"""Bound of the difference of slopes in float64."""


def slope_gap(
    function: Callable[[], Tensor],
    tensors: Sequence[Tensor],
    generator: torch.Generator,
    directions: int = 4,
) -> float:
    """Return the greatest difference between the gradient and (f(p + e d) - f(p - e d)) / 2e, over
    max(1, the slope).

    `tensors` are leaves in float64 that `function` reads; the direction d moves all of them at
    once, and what the function gives is summed with random weights. One that gives no graph has
    gradient 0.
    """
    y = function()
    weights = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    slopes = [torch.zeros_like(leaf) for leaf in tensors]
    if y.requires_grad:
        found = torch.autograd.grad((y * weights).sum(), tensors, allow_unused=True)
        slopes = [zero if grad is None else grad for zero, grad in zip(slopes, found, strict=True)]
    worst = 0.0
    for _ in range(directions):
        ways = [torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype) for leaf in tensors]
        told = sum(float((slope * way).sum()) for slope, way in zip(slopes, ways, strict=True))
        above, below = (_moved(function, tensors, ways, side * STEP, weights) for side in (1, -1))
        true = (above - below) / (2 * STEP)
        gap = abs(told - true) / max(1.0, abs(true))
        worst = max(worst, gap) if gap == gap else float("inf")
    return worst


def _moved(
    function: Callable[[], Tensor],
    tensors: Sequence[Tensor],
    ways: Sequence[Tensor],
    far: float,
    weights: Tensor,
) -> float:
    """Return the function's weighted sum with every tensor moved, and put them back."""
    held = [leaf.detach().clone() for leaf in tensors]
    with torch.no_grad():
        for leaf, way in zip(tensors, ways, strict=True):
            leaf.add_(way, alpha=far)
        value = float((function() * weights).sum())
        for leaf, old in zip(tensors, held, strict=True):
            leaf.copy_(old)
    return value
